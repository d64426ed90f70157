//! What is said about being told.

use std::time::Duration;

use groundcrew_core::effect::{Level, Topic};
use groundcrew_core::notify::Rate;
use groundcrew_core::notify::settings::{Kind, Secret};

use super::{bad_host, host, parse_host};

const NOTIFY: &str = r#"
[[notify]]
name = "ops"
kind = "slack"
url_file = "/etc/groundcrew/slack-url"
topics = ["deployment", "crash-loop"]
min_level = "warning"
rate = "10/h"
dedupe = "5m"
title = "{{ level|upper }}: {{ text }}"
text = "{{ environment }}"
[[notify]]
name = "pager"
kind = "pagerduty"
key_file = "pagerduty-key"
[[notify]]
name = "genie"
kind = "opsgenie"
key_file = "/k"
url = "https://api.eu.opsgenie.com"
[[notify]]
name = "hook"
kind = "webhook"
url = "https://example.com/hook?token=hunter2"
secret_file = "/s"
[[notify]]
name = "mail"
kind = "sns"
topic_arn = "arn:aws:sns:eu-west-1:123456789012:ops.fifo"
[errors]
dsn_file = "/etc/groundcrew/dsn"
sample = "10%"
environment = "live"
rate = "100/d"
dedupe = "1h"
"#;

#[test]
fn the_usual_targets() {
    let config = parse_host(NOTIFY);
    let ops = &config.notify[0];
    assert!(ops.rules.topics.contains(&Topic::DeploymentSettled));
    assert!(ops.rules.topics.contains(&Topic::CrashLoop));
    assert!(!ops.rules.topics.contains(&Topic::ProcessCrashed));
    assert_eq!(ops.rules.min_level, Level::Warning);
    assert_eq!(ops.rules.pace.rate, Rate { count: 10, per: Duration::from_hours(1) });
    assert_eq!(ops.rules.pace.dedupe, Duration::from_mins(5));
    assert!(!ops.rules.keeps_alarms);
    let pager = &config.notify[1];
    assert_eq!((pager.rules.min_level, pager.rules.keeps_alarms), (Level::Error, true));
    assert_eq!(pager.rules.topics.len(), Topic::ALL.len());
    let Kind::PagerDuty { key, url } = &pager.kind else { panic!("{pager:?}") };
    assert_eq!(*key, Secret::File("pagerduty-key".to_owned()));
    assert_eq!(url, "https://events.pagerduty.com");
    let words: Vec<_> = config.notify.iter().map(|target| target.kind.word()).collect();
    assert_eq!(words, ["slack", "pagerduty", "opsgenie", "webhook", "sns"]);
    let errors = config.errors.as_ref().unwrap();
    assert_eq!((errors.rules.sample_ppm, errors.environment.as_deref()), (100_000, Some("live")));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn without_the_tables_nobody_is_told() {
    let config = parse_host("");
    assert!(config.notify.is_empty() && config.errors.is_none());
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_no_secret_is() {
    let said = bad_host(
        r#"[[notify]]
name = "Ops"
kind = "slack"
url = "https://hooks.slack.com/services/secret"
topics = ["deploymnt", 7]
[[notify]]
name = "a"
kind = "teams"
[[notify]]
kind = "webhook"
url = "http://example.com/secret"
rate = "many"
dedupe = "25h"
title = "{{ text }}\n{{ relaese }}"
text = "{% if %}"
[[notify]]
name = "errors"
kind = "sns"
topic_arn = "ops"
min_level = "fatal"
[[notify]]
name = "genie"
kind = "opsgenie"
key_file = "the secret itself"
topics = []
[errors]
sample = "all"
[[notify]]
name = "here"
kind = "sns"
topic_arn = "arn:aws:sns::123456789012:ops"
"#,
    );
    assert!(!said.contains("services/secret") && !said.contains("the secret itself"));
    for expected in [
        "4: notify[0].name: \"Ops\" is not a name; use 1 to 32 lower-case letters",
        "6: notify[0].url: does not belong to this kind; it has url_file",
        "7: notify[0].topics[0]: \"deploymnt\" is no topic; the groups are agent, backup,",
        "7: notify[0].topics[1]: found the number 7, wanted a topic, such as \"deployment\"",
        "10: notify[1].kind: \"teams\" is not \"sns\" or \"slack\"",
        "11: notify[2].name: is missing; name it, such as name = \"ops\"",
        "13: notify[2].url: the address is not one of HTTPS",
        "14: notify[2].rate: \"many\" is not a rate, such as \"10/h\"",
        "15: notify[2].dedupe: 1d1h is not within 0s to 1d",
        "16: notify[2].title: line 2 of the template: undefined value",
        "17: notify[2].text: line 1 of the template: syntax error",
        "19: notify[3].name: is the name of the tracker of errors; take another",
        "21: notify[3].topic_arn: \"ops\" is not the ARN of a topic; write it like",
        "22: notify[3].min_level: \"fatal\" is not \"normal\" or \"warning\" or \"error\"",
        "26: notify[4].key_file: is not an absolute path, or the name of a systemd credential",
        "27: notify[4].topics: names no topic; leave it out for all of them",
        "28: errors.dsn_file: is missing; say which file has the DSN",
        "29: errors.sample: \"all\" is not a percentage",
        "33: notify[5].topic_arn: \"arn:aws:sns::123456789012:ops\" is not the ARN of a topic",
    ] {
        assert!(said.contains(&format!("groundcrew.toml:{expected}")), "{expected}\n{said}");
    }
    assert_eq!(said.lines().count(), 19, "{said}");
}

#[test]
fn two_of_one_name_are_refused() {
    let one = "[[notify]]\nname = \"a\"\nkind = \"slack\"\nurl_file = \"/u\"\n";
    let said = bad_host(&format!("{one}{one}"));
    assert_eq!(
        said,
        "groundcrew.toml:8: notify[1].name: \"a\" is the name of another one too; \
         each needs its own"
    );
}

#[test]
fn every_key_is_listed_once() {
    let keys: Vec<_> = host::keys().filter(|key| key.starts_with("notify.")).collect();
    assert_eq!(keys.len(), 13);
    assert!(keys.contains(&"notify.topic_arn".to_owned()));
}
