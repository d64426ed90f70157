//! `[fleet]` of the host's file: what `groundcrew fleet` does not need to be told. The agent does
//! nothing with it. Whether there is such a group or such an alarm is not looked up.

use groundcrew_core::fleet::{ALARMS_MAX, AwsName};

use super::reader::{Node, Read};

/// The keys of `[fleet]`.
pub(super) const KEYS: &[&str] = &["group", "region", "alarms"];

/// Which group is meant, and which alarms watch its refreshes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetConfig {
    /// The Auto Scaling group; `None`: the instance's own.
    pub group: Option<AwsName>,
    /// Its region; `None`: the environment's, or the instance's own.
    pub region: Option<AwsName>,
    /// CloudWatch alarms that end a refresh.
    pub alarms: Vec<AwsName>,
}

/// `[fleet]` of the host's file.
pub(super) fn fleet(node: &Node<'_, '_>) -> Read<FleetConfig> {
    let section = node.section(KEYS)?;
    let group = section.optional("group", |node| name(node, "the name of an Auto Scaling group"));
    let region = section.optional("region", |node| name(node, "a region, such as \"eu-west-1\""));
    let alarms = section.or("alarms", Vec::new(), alarms);
    Ok(FleetConfig { group: group?, region: region?, alarms: alarms? })
}

fn name(node: &Node<'_, '_>, wanted: &str) -> Read<AwsName> {
    node.parse(wanted, str::parse)
}

fn alarms(node: &Node<'_, '_>) -> Read<Vec<AwsName>> {
    let items = node.items("an array of names of alarms, such as [\"shop-web-5xx\"]")?;
    if items.len() > ALARMS_MAX {
        let message = format!("{} alarms are more than {ALARMS_MAX}", items.len());
        return Err(node.refuse(message, "make one composite alarm of some of them"));
    }
    items.iter().map(|item| name(item, "the name of an alarm")).collect()
}
