//! Notices when a way out of the host is stuck or moves again, and when lines of logs are lost.
//! Pure: looks at what the status says. Never tells what is dropped elsewhere: that is counted, and
//! a limit that does its work is no event.

use std::collections::BTreeSet;

use crate::effect::{Effect, Level, Subject, Told, Topic};
use crate::status::PipelineStatus;
use crate::time::Now;

/// The pipeline of logs.
const LOGS: &str = "logs";

/// Remembers what was told of each.
#[derive(Debug, Clone, Default)]
pub struct PipelineWatch {
    stuck: BTreeSet<String>,
    lines_lost: u64,
}

impl PipelineWatch {
    /// What people should be told after a look at all of them. `lines_lost` are the lines of logs
    /// that were lost since the agent began.
    pub fn look(&mut self, now: Now, pipelines: &[PipelineStatus], lines_lost: u64) -> Vec<Told> {
        let mut told = Vec::new();
        let mut tell = |name: &str, level, topic, text| {
            if let Effect::Tell(new) = Subject::pipeline(name).tell(now, level, topic, text) {
                told.push(new);
            }
        };
        self.stuck.retain(|name| pipelines.iter().any(|pipeline| pipeline.name == *name));
        for pipeline in pipelines {
            let name = &pipeline.name;
            if pipeline.is_stuck() {
                if self.stuck.insert(name.clone()) {
                    let reason = pipeline.reason.as_deref().unwrap_or_default();
                    let text = format!("{name}: stuck, {reason}");
                    tell(name, Level::Error, Topic::PipelineStuck, text);
                }
            } else if self.stuck.remove(name) {
                tell(name, Level::Normal, Topic::PipelineMoving, format!("{name}: moves again"));
            }
        }
        let lost = lines_lost.saturating_sub(self.lines_lost);
        if lost > 0 {
            let text = format!("{LOGS}: {lost} lines were lost");
            tell(LOGS, Level::Warning, Topic::LinesDropped, text);
        }
        self.lines_lost = lines_lost;
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told_once_and_what_other_pipelines_drop_is_not() {
        let mut watch = PipelineWatch::default();
        let mut look = |name: &str, oldest_ms, dropped, lines_lost| {
            let reason = (oldest_ms > 0).then(|| "throttled".to_owned());
            let (name, oldest_ms) = (name.to_owned(), Some(oldest_ms));
            let pipeline =
                PipelineStatus { name, oldest_ms, dropped, reason, ..Default::default() };
            let told = watch.look(Now::default(), &[pipeline], lines_lost);
            told.into_iter().map(|told| told.topic).collect::<Vec<_>>()
        };
        assert_eq!(look("logs", 1000, 0, 0), []);
        assert_eq!(look("logs", 900_001, 0, 0), [Topic::PipelineStuck]);
        assert_eq!(look("logs", 910_001, 7, 7), [Topic::LinesDropped]);
        assert_eq!(look("logs", 0, 7, 7), [Topic::PipelineMoving]);
        // A tier's own rules leave these out.
        assert_eq!(look("logs", 0, 9, 7), []);
        for name in ["metrics", "traces", "notify.ops"] {
            assert_eq!(look(name, 0, 0, 7), []);
            assert_eq!(look(name, 0, 150, 7), [], "{name}");
            assert_eq!(look(name, 900_001, 300, 7), [Topic::PipelineStuck], "{name}");
        }
    }
}
