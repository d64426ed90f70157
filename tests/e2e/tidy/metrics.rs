//! What is made of the list of metrics is as the list is: files for other programs, and the page
//! for people.

use std::fs;

use groundcrew::metrics::boards::{self, Place, prometheus_name};
use groundcrew_core::metrics::catalog;

use super::root;

#[test]
fn dashboards_alarms_and_rules_are_those_of_the_list() {
    let place =
        Place { namespace: "<namespace>", environment: "<environment>", region: "<region>" };
    for (name, made) in [
        ("cloudwatch-dashboard.json", boards::cloudwatch(place)),
        ("alarms.json", boards::alarms(place)),
        ("grafana-dashboard.json", boards::grafana()),
        ("prometheus-rules.json", boards::rules()),
    ] {
        let path = root().join("terraform/generated").join(name);
        let known = fs::read_to_string(&path).unwrap_or_default();
        assert!(known == format!("{made:#}\n"), "{name} is not of this list: run scripts/generate");
    }
}

#[test]
fn the_documentation_has_every_metric_and_no_other() {
    let text = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("| "));
    let names = rows.flat_map(|(cell, _)| cell.split('`').step_by(2).map(str::to_owned));
    let usual = |c: char| c.is_ascii_alphanumeric() || c == '_';
    // Tables of other things begin with lines of StatsD.
    let is_name = |name: &String| !name.is_empty() && name.chars().all(usual);
    let mut documented: Vec<String> = names.filter(is_name).collect();
    let mut listed: Vec<String> =
        catalog::ALL.iter().map(|metric| prometheus_name(metric)).collect();
    documented.sort();
    listed.sort();
    assert_eq!(documented, listed);
}
