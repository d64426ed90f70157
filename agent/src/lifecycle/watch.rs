//! Looks at the instance's metadata, again and again, and tells what is new. Never ends by itself.

use std::sync::Arc;
use std::time::Duration;

use groundcrew_core::event::Event;
use groundcrew_core::limits;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::known::{Item, Known};
use super::read;
use crate::aws::imds::{Imds, ImdsError};
use crate::errors::chain;

/// Where the instance's id is.
pub(super) const INSTANCE_ID: &str = "instance-id";

/// Where the instance's id goes, once it is known.
pub(super) type InstanceIds = Arc<watch::Sender<Option<String>>>;

/// The watch.
pub(super) struct Watch {
    imds: Arc<Imds>,
    instance: InstanceIds,
    events: mpsc::Sender<Event>,
    known: Known,
    /// When what changes seldom is to be read again.
    seldom_at: Option<Instant>,
    /// Looks in a row that read nothing.
    failures: u32,
    pace: Pace,
}

/// How often it looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Pause between two looks.
    pub(super) every: Duration,
    /// The longest pause while nothing answers.
    pub(super) every_max: Duration,
    /// Pause between two looks at what changes seldom.
    pub(super) seldom_every: Duration,
}

impl Watch {
    pub(super) fn new(
        imds: Arc<Imds>,
        instance: InstanceIds,
        events: mpsc::Sender<Event>,
        pace: Pace,
    ) -> Self {
        let known = Known::default();
        Self { imds, instance, events, known, seldom_at: None, failures: 0, pace }
    }

    /// Looks until `cancel` is cancelled, or nobody takes the news any more.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let looking = async {
            loop {
                let read = self.look().await;
                self.failures = if read { 0 } else { self.failures.saturating_add(1) };
                if let Some(news) = self.known.news(read)
                    && self.events.send(news).await.is_err()
                {
                    return;
                }
                tokio::time::sleep(self.pace.pause_after(self.failures)).await;
            }
        };
        cancel.run_until_cancelled(looking).await;
    }

    /// One look. Whether anything was read.
    async fn look(&mut self) -> bool {
        let seldom = self.seldom_at.is_none_or(|at| Instant::now() >= at);
        let mut read = false;
        for item in Item::ALL.into_iter().filter(|item| seldom || !item.is_seldom()) {
            let answer = self.imds.get(item.path()).await;
            let silence = answer.as_ref().is_err_and(ImdsError::is_silence);
            read |= answer.is_ok();
            if let Some(trouble) = self.known.take(item, answer) {
                tracing::debug!("{trouble}");
            }
            if silence {
                // The rest would wait as long, for as little.
                return read;
            }
        }
        if seldom {
            self.seldom_at = Some(Instant::now() + self.pace.seldom_every);
        }
        if self.instance.borrow().is_none() {
            self.learn_instance().await;
        }
        read
    }

    async fn learn_instance(&self) {
        match self.imds.get(INSTANCE_ID).await {
            Ok(text) => {
                let id = text.as_deref().and_then(read::instance_id);
                self.instance.send_replace(id);
            }
            Err(error) => tracing::debug!("{} ({INSTANCE_ID})", chain(&error)),
        }
    }
}

impl Pace {
    /// That of an agent.
    pub(super) const USUAL: Self = Self {
        every: limits::SIGHT_EVERY,
        every_max: limits::SIGHT_EVERY_MAX,
        seldom_every: limits::SIGHT_SELDOM_EVERY,
    };

    /// Pause after a look, when so many in a row have read nothing.
    fn pause_after(self, failures: u32) -> Duration {
        let doubled = self.every.saturating_mul(1 << failures.saturating_sub(1).min(8));
        doubled.min(self.every_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_while_nothing_is_read() {
        let pauses = (0..6).map(|failures| Pace::USUAL.pause_after(failures).as_secs());
        assert_eq!(pauses.collect::<Vec<_>>(), [2, 2, 4, 8, 10, 10]);
        assert_eq!(Pace::USUAL.pause_after(u32::MAX), limits::SIGHT_EVERY_MAX);
    }
}
