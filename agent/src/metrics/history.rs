//! The last hour in memory, for the status page and `groundcrew top`. Pure: the runtime measures
//! and brings the time. Never guesses: what is not known of a moment is a gap, not a nought and not
//! a line from before to after.

mod rows;
mod seen;
mod story;

use std::collections::BTreeMap;
use std::time::Duration;

use groundcrew_core::metrics::Point;
use groundcrew_core::status::{HistoryDocument, HostColumns, StatusDocument};
use groundcrew_core::time::{Moment, Now, ms};

use rows::Rows;
use story::Story;

/// How far apart rows are. Six a minute show a peak of ten seconds.
pub const EVERY: Duration = Duration::from_secs(10);

/// The last hour.
#[derive(Debug)]
pub struct History {
    agent: Moment,
    rows: Rows,
    story: Story,
}

impl History {
    /// An empty one of the agent that began at `agent`.
    #[must_use]
    pub fn new(agent: Moment) -> Self {
        Self { agent, rows: Rows::default(), story: Story::default() }
    }

    /// Takes what was measured now.
    pub fn measure(&mut self, at: Moment, points: &[Point]) {
        self.rows.add(at, points);
    }

    /// Notes what has happened to releases since the last look. Costs little, and is best done at
    /// every step: a stage that nobody looks at leaves no trace.
    pub fn note(&mut self, now: Now, status: &StatusDocument) {
        self.story.note(now, status);
    }

    /// The rows after number `after`, which is 0 for all, and everything that was noted.
    #[must_use]
    pub fn document(&self, now: Now, after: u64) -> HistoryDocument {
        let (marks, rollout) = self.story.told(now.at);
        let mut document = HistoryDocument {
            agent: self.agent,
            at: now.at,
            now: now.wall,
            every_ms: ms(EVERY),
            last: 0,
            times: Vec::new(),
            host: HostColumns::default(),
            tiers: BTreeMap::new(),
            marks,
            rollout,
            tiers_left_out: 0,
        };
        self.rows.write(after, &mut document);
        document
    }
}
