//! Notices when a way out of the host is stuck, moves again, or loses something. Pure: looks at
//! what the status says of it.

use std::collections::BTreeMap;

use crate::effect::{Effect, Level, Subject, Told, Topic};
use crate::status::PipelineStatus;
use crate::time::Now;

/// Remembers what was told of each.
#[derive(Debug, Clone, Default)]
pub struct PipelineWatch {
    known: BTreeMap<String, Known>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    stuck: bool,
    dropped: u64,
}

impl PipelineWatch {
    /// What people should be told after a look at all of them, whose `dropped` are only what should
    /// not have been.
    pub fn look(&mut self, now: Now, pipelines: &[PipelineStatus]) -> Vec<Told> {
        let mut told = Vec::new();
        self.known.retain(|name, _| pipelines.iter().any(|pipeline| pipeline.name == *name));
        for pipeline in pipelines {
            let name = &pipeline.name;
            let known = self.known.entry(name.clone()).or_default();
            let mut tell = |level, topic, text| {
                if let Effect::Tell(new) = Subject::pipeline(name).tell(now, level, topic, text) {
                    told.push(new);
                }
            };
            let stuck = pipeline.is_stuck();
            if stuck && !known.stuck {
                let reason = pipeline.reason.as_deref().unwrap_or_default();
                tell(Level::Error, Topic::PipelineStuck, format!("{name}: stuck, {reason}"));
            } else if !stuck && known.stuck {
                tell(Level::Normal, Topic::PipelineMoving, format!("{name}: moves again"));
            }
            known.stuck = stuck;
            let lost = pipeline.dropped.saturating_sub(known.dropped);
            if lost > 0 {
                let text = format!("{name}: {lost} lines were lost");
                tell(Level::Warning, Topic::LinesDropped, text);
            }
            known.dropped = pipeline.dropped;
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told_once() {
        let mut watch = PipelineWatch::default();
        let mut look = |oldest_ms, dropped| {
            let reason = (oldest_ms > 0).then(|| "throttled".to_owned());
            let name = "logs".to_owned();
            let oldest_ms = Some(oldest_ms);
            let pipeline =
                PipelineStatus { name, oldest_ms, dropped, reason, ..Default::default() };
            let told = watch.look(Now::default(), &[pipeline]);
            told.into_iter().map(|told| told.topic).collect::<Vec<_>>()
        };
        assert_eq!(look(1000, 0), []);
        assert_eq!(look(900_001, 0), [Topic::PipelineStuck]);
        assert_eq!(look(910_001, 7), [Topic::LinesDropped]);
        assert_eq!(look(0, 7), [Topic::PipelineMoving]);
        assert_eq!(look(0, 7), []);
    }
}
