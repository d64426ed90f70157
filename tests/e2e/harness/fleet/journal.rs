//! The emulator's journal in the types of a test; tests/emulator/groundcrew_emulator/journal.py has
//! what is in it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::text;

/// A call of Auto Scaling or `ELBv2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it came, since the emulator's start.
    pub at: Duration,
    /// `autoscaling` or `elasticloadbalancing`.
    pub service: String,
    /// Such as `CompleteLifecycleAction`.
    pub action: String,
    /// As the query protocol has them, such as `TargetGroupARNs.member.1`.
    pub parameters: BTreeMap<String, String>,
    /// `None`: there is no answer yet, or never.
    pub status: Option<u16>,
    /// The error's code, if it is one.
    pub error: Option<String>,
    /// What a test made go wrong: `error`, `lost` or `hang`.
    pub fault: Option<String>,
}

impl Call {
    /// A parameter; empty if the call has none of that name.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

/// Something that happened to the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When, since the emulator's start.
    pub at: Duration,
    /// A lifecycle state as it is, such as `Terminating:Wait`; `target Standby` from the metadata;
    /// `registered` and `draining` as a target; `hook drain holding`, `hook drain CONTINUE by call`
    /// (or `timeout`, or `global timeout`).
    pub text: String,
}

pub fn calls(journal: &Value) -> Vec<Call> {
    let entries = entries(journal).filter(|entry| entry["what"] == "call");
    let optional = |value: &Value| value.as_str().map(str::to_owned);
    entries
        .map(|entry| {
            let parameters = entry["parameters"].as_object().expect("an object");
            Call {
                at: seconds(&entry["at"]),
                service: text(&entry["service"]),
                action: text(&entry["action"]),
                parameters: parameters.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
                status: entry["status"].as_u64().map(|status| status as u16),
                error: optional(&entry["error"]),
                fault: optional(&entry["fault"]),
            }
        })
        .collect()
}

pub fn steps(journal: &Value, instance_id: &str) -> Vec<Step> {
    let of_it = entries(journal).filter(|entry| entry["instance"] == instance_id);
    let step = |entry: &Value| {
        let (state, hook) = (text(&entry["state"]), text(&entry["hook"]));
        let text = match (text(&entry["what"]).as_str(), state.as_str()) {
            ("target", _) => format!("target {state}"),
            ("hook", "done") => {
                format!("hook {hook} {} by {}", text(&entry["result"]), text(&entry["by"]))
            }
            ("hook", _) => format!("hook {hook} {state}"),
            _ => state,
        };
        Step { at: seconds(&entry["at"]), text }
    };
    of_it.map(step).collect()
}

pub fn imds_requests(journal: &Value) -> BTreeMap<String, BTreeMap<String, u64>> {
    let counts = |statuses: &Value| {
        let statuses = statuses.as_object().expect("an object");
        statuses.iter().map(|(s, n)| (s.clone(), n.as_u64().unwrap_or_default())).collect()
    };
    let paths = journal["imds"].as_object().expect("an object");
    paths.iter().map(|(path, statuses)| (path.clone(), counts(statuses))).collect()
}

pub fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().expect("a number"))
}

fn entries(journal: &Value) -> impl Iterator<Item = &Value> {
    journal["entries"].as_array().expect("a list").iter()
}
