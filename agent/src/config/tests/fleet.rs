//! What the host's file says about the whole group.

use groundcrew_core::fleet::AwsName;

use super::{bad_host, parse_host};
use crate::config::FleetConfig;

#[test]
fn a_group_and_its_alarms() {
    assert_eq!(parse_host("").fleet, FleetConfig::default());
    let text =
        "[fleet]\ngroup = \"shop-web\"\nregion = \"eu-west-1\"\nalarms = [\"5xx\", \"slow\"]\n";
    let fleet = parse_host(text).fleet;
    assert_eq!(fleet.group.unwrap().as_str(), "shop-web");
    assert_eq!(fleet.region.unwrap().as_str(), "eu-west-1");
    let alarms: Vec<_> = fleet.alarms.iter().map(AwsName::as_str).collect();
    assert_eq!(alarms, ["5xx", "slow"]);
}

#[test]
fn mistakes_in_fleet() {
    let fleet = |lines: &str| bad_host(&format!("[fleet]\n{lines}\n"));
    insta::assert_snapshot!(fleet("group = 5"), @"groundcrew.toml:4: fleet.group: found the number 5, wanted the name of an Auto Scaling group");
    insta::assert_snapshot!(fleet("group = \"\""), @"groundcrew.toml:4: fleet.group: a name has 1 to 255 characters, and no control characters");
    insta::assert_snapshot!(fleet("alarms = [1]"), @"groundcrew.toml:4: fleet.alarms[0]: found the number 1, wanted the name of an alarm");
    insta::assert_snapshot!(fleet("grop = \"web\""), @"groundcrew.toml:4: fleet.grop: unknown key; did you mean group?");
    let eleven = format!("alarms = [{}]", ["\"5xx\""; 11].join(", "));
    insta::assert_snapshot!(fleet(&eleven), @"groundcrew.toml:4: fleet.alarms: 11 alarms are more than 10; make one composite alarm of some of them");
}
