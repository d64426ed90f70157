//! What processes say of their own end, until that has come and is reported. Never gives the words
//! of one run to the end of another.

use std::collections::BTreeMap;

use groundcrew_core::types::{ProcessId, Run};

/// What a process said before it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Crash {
    pub message: String,
    pub stack: String,
}

/// Those of all processes: one for each that the agent knows.
#[derive(Debug, Default)]
pub(super) struct Crashes(BTreeMap<ProcessId, (Run, Crash)>);

impl Crashes {
    /// A process says it in one of its runs; `known` is the one that the agent knows.
    pub(super) fn say(&mut self, id: &ProcessId, run: Run, known: Option<Run>, crash: Crash) {
        if known == Some(run) {
            self.0.insert(id.clone(), (run, crash));
        }
    }

    /// What was said in the run that ended.
    pub(super) fn take(&mut self, id: &ProcessId, run: Option<Run>) -> Option<Crash> {
        let (said, crash) = self.0.remove(id)?;
        (Some(said) == run).then_some(crash)
    }

    /// Before a process is started again, and when it will never be.
    pub(super) fn forget(&mut self, id: &ProcessId) {
        self.0.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_explained_by_what_was_said_in_its_own_run() {
        let id: ProcessId = "web.1.1".parse().unwrap();
        let crash = |message: &str| Crash { message: message.to_owned(), stack: String::new() };
        let mut crashes = Crashes::default();
        let runs = [Some(1), Some(2), None];
        crashes.say(&id, 1, runs[0], crash("of the first"));
        assert_eq!(crashes.take(&id, runs[0]), Some(crash("of the first")));
        assert_eq!(crashes.take(&id, runs[0]), None);
        // It comes when the next one runs already, or when there is none any more.
        for known in [runs[1], runs[2]] {
            crashes.say(&id, 1, known, crash("too late"));
            assert_eq!(crashes.take(&id, known), None);
        }
        // It comes after its end, and before the next start.
        crashes.say(&id, 1, runs[0], crash("after its end"));
        assert_eq!(crashes.take(&id, runs[1]), None);
        crashes.say(&id, 1, runs[0], crash("after its end"));
        crashes.forget(&id);
        assert_eq!(crashes.take(&id, runs[0]), None);
    }
}
