//! Ships what is in the log files: tails them, makes up batches, has them accepted, remembers how
//! far. It reads files that others write; it is never in their way.

mod batch;
mod checkpoint;
mod engine;
mod escape;
mod leftovers;
mod progress;
mod quarantine;
mod reading;
mod replay;
mod shipped;
mod sink;
mod source;
mod streams;
#[cfg(test)]
mod tests;
mod units;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use groundcrew_core::event::ShipOutcome;
use groundcrew_core::logs::{Destination, LogSettings};
use groundcrew_core::status::AuditDocument;
use groundcrew_core::time::{Moment, Now, ms};
use tokio::sync::{mpsc, oneshot, watch as value};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use engine::Host;
pub(super) use engine::Living;
pub use leftovers::Leftovers;
pub(super) use progress::Progress;
pub use shipped::Shipped;

use super::error::LogError;
use super::files::LogFiles;
use super::journal::Entry;
use super::watch::{self, Events};
use crate::fsx::FileError;
use crate::{clock, errors};
use engine::{Answer, Engine, News, Plan, Request};
use replay::Replayed;
use sink::{Place, Sink};
use units::Units;

/// The longest time between two looks at everything, which find what events did not tell.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// Questions that wait for the shipper.
const ASKS_QUEUE: usize = 16;

/// What the shipper is asked to do.
#[derive(Debug)]
enum Ask {
    /// Everything that was written up to now is to be accepted, and to be told so by then.
    ShipAll { by: Moment, answer: oneshot::Sender<ShipOutcome> },
    /// What became of what was read is to be told.
    Audit(oneshot::Sender<AuditDocument>),
    /// What was not accepted is to be written to a file.
    Leftovers { by: Moment, answer: oneshot::Sender<Result<Leftovers, FileError>> },
    /// What the service did not take is to be sent again.
    Replay(oneshot::Sender<Result<String, String>>),
}

/// The shipper, from outside.
#[derive(Debug)]
pub(super) struct Shipper {
    asks: mpsc::Sender<Ask>,
    shipped: value::Receiver<Shipped>,
    living: value::Sender<Option<Living>>,
    task: JoinSet<()>,
}

/// What a shipper works with.
pub(super) struct Settings {
    pub(super) logs: Arc<LogSettings>,
    pub(super) secrets: Vec<String>,
}

impl Shipper {
    /// Starts it. Must be called within a runtime.
    pub(super) fn start(
        settings: Settings,
        host: impl Future<Output = Host> + Send + 'static,
        files: LogFiles,
        progress: Progress,
        cancellation: CancellationToken,
    ) -> Result<Self, LogError> {
        let (watches, events) = watch::watch()?;
        let (asks, asked) = mpsc::channel(ASKS_QUEUE);
        let (shipped_sender, shipped) = value::channel(Shipped::default());
        let (living, living_receiver) = value::channel(None);
        let to = settings.logs.to.clone();
        let format = match &to {
            Destination::CloudWatch => batch::Format::PutLogEvents,
            _ => batch::Format::Lines,
        };
        let logs = Arc::clone(&settings.logs);
        let parts = (progress, watches, format);
        let mut engine = Engine::open(settings.logs, files, &settings.secrets, parts)?;
        let inputs = Inputs { events, asked, living: living_receiver, cancellation };
        let mut task = JoinSet::new();
        task.spawn(async move {
            let sink = match to {
                Destination::CloudWatch => Sink::CloudWatch(Arc::default()),
                Destination::File(path) => Sink::File(Utf8PathBuf::from(path)),
                Destination::Stdout | Destination::Nowhere => Sink::Stdout,
            };
            engine.set_host(host.await);
            let run = Run {
                sink,
                replays: JoinSet::new(),
                logs,
                shipped: shipped_sender,
                waiting: Vec::new(),
                leftovers: None,
            };
            if let Err(error) = run.run(engine, inputs).await {
                let error = errors::chain(&error);
                tracing::error!(error, "the log shipper died: lines stay on this host");
            }
        });
        Ok(Self { asks, shipped, living, task })
    }

    /// Says which processes there are, with the rules of their tiers.
    pub(super) fn set_living(&self, living: Living) {
        self.living.send_if_modified(|known| {
            let new = known.as_ref() != Some(&living);
            if new {
                *known = Some(living);
            }
            new
        });
    }

    pub(super) fn shipped(&self) -> Shipped {
        self.shipped.borrow().clone()
    }

    /// Waits until everything that was written up to now is accepted, or until `by`.
    pub(super) async fn ship_all(&self, by: Moment) -> ShipOutcome {
        let (answer, answered) = oneshot::channel();
        let ended = || ShipOutcome::Left {
            bytes: self.shipped.borrow().backlog_bytes,
            kept: None,
            reason: "the log shipper has ended".to_owned(),
        };
        if self.asks.send(Ask::ShipAll { by, answer }).await.is_err() {
            return ended();
        }
        answered.await.unwrap_or_else(|_| ended())
    }

    /// What became of everything that was read; `None`: the shipper has ended.
    pub(super) async fn audit(&self) -> Option<AuditDocument> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Audit(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Writes what was not accepted to a file.
    pub(super) async fn write_leftovers(&self, by: Moment) -> Result<Leftovers, LogError> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Leftovers { by, answer };
        self.asks.send(ask).await.map_err(|_| LogError::ShipperEnded)?;
        Ok(answered.await.map_err(|_| LogError::ShipperEnded)??)
    }

    /// Sends again what the service did not take. Answers what came of it, for a person.
    pub(super) async fn replay(&self) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        let ended = || "the log shipper has ended".to_owned();
        self.asks.send(Ask::Replay(answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Waits until it has ended, after its cancellation.
    pub(super) async fn ended(&mut self) {
        // Its own failure was told when it happened.
        while self.task.join_next().await.is_some() {}
    }
}

struct Inputs {
    events: Events,
    asked: mpsc::Receiver<Ask>,
    living: value::Receiver<Option<Living>>,
    cancellation: CancellationToken,
}

/// Somebody waits for everything to be accepted.
struct Waiting {
    by: Moment,
    answer: oneshot::Sender<ShipOutcome>,
    /// Events sent before it was asked for.
    sent: u64,
}

struct Run {
    sink: Sink,
    replays: JoinSet<()>,
    logs: Arc<LogSettings>,
    shipped: value::Sender<Shipped>,
    waiting: Vec<Waiting>,
    leftovers: Option<(Moment, oneshot::Sender<Result<Leftovers, FileError>>)>,
}

impl Run {
    async fn run(mut self, mut engine: Engine, mut inputs: Inputs) -> Result<(), JoinError> {
        let mut sends: JoinSet<Answer> = JoinSet::new();
        let mut news = News { sweep: true, ..News::default() };
        inputs.living.mark_changed();
        let mut swept = clock::at();
        let mut units = Units::open(&self.logs, &engine);
        loop {
            if inputs.living.has_changed().unwrap_or(false) {
                news.living.clone_from(&inputs.living.borrow_and_update());
            }
            while let Some(answer) = sends.try_join_next() {
                news.answers.push(answer?);
            }
            let now = clock::at();
            news.sweep |= now.since(swept) >= SWEEP_EVERY;
            if news.sweep {
                swept = now;
            }
            let plan;
            (engine, plan) = self.look(engine, std::mem::take(&mut news)).await?;
            self.shipped.send_replace(engine.shipped().clone());
            let now = clock::now();
            let pause = self.pause(&plan, swept, now);
            let is_all = plan.pending == 0 && units.as_ref().is_none_or(|units| units.has_ended);
            self.answer(is_all, engine.shipped(), now);
            for request in plan.requests {
                sends.spawn(self.send(request));
            }
            tokio::select! {
                biased;
                () = inputs.cancellation.cancelled() => break,
                Some(ask) = inputs.asked.recv() => {
                    news.sweep = self.ask(ask, &engine);
                    if let Some(units) = units.as_mut().filter(|_| news.sweep) {
                        units.ask_for_end();
                    }
                }
                // Before answers, which keep coming while one stream is flooded.
                happened = inputs.events.next() => self.heard(happened, &mut news).await,
                entries = heard_of(&mut units), if engine.has_room_for_journal() => {
                    for entry in entries {
                        engine.push_journal(entry, clock::now());
                    }
                }
                Some(answer) = sends.join_next() => news.answers.push(answer?),
                Ok(()) = inputs.living.changed() => inputs.living.mark_changed(),
                () = std::future::ready(()), if plan.again => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        if let Some(units) = units {
            units.shutdown().await;
        }
        tokio::task::spawn_blocking(move || engine.close()).await
    }

    /// One look. It is never cut short: a half-done one would leave the counts wrong.
    async fn look(
        &mut self,
        mut engine: Engine,
        mut news: News,
    ) -> Result<(Engine, Plan), JoinError> {
        news.forced = !self.waiting.is_empty();
        let leftovers = self.leftovers.take();
        let look = move || {
            if let Some((by, answer)) = leftovers {
                // Whoever asked may have given up.
                drop(answer.send(engine.write_leftovers(by)));
            }
            let plan = engine.pass(news, clock::now());
            (engine, plan)
        };
        tokio::task::spawn_blocking(look).await
    }

    /// Takes in what the kernel said. An inotify object does not fail; should it, looking once a
    /// second is better than not at all.
    async fn heard(&self, happened: io::Result<watch::Happened>, news: &mut News) {
        match happened {
            Ok(happened) => news.happened = happened,
            Err(error) => {
                tracing::error!("could not read events of the log files: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                news.sweep = true;
            }
        }
    }

    fn send(&self, request: Request) -> impl Future<Output = Answer> + use<> {
        let sink = self.sink.clone();
        let retention_days = self.logs.retention_days;
        async move {
            let Request { stream, group, name, create, body } = request;
            let place = Place { group, stream: name, create, retention_days };
            Answer { stream, outcome: sink.send(&place, body).await }
        }
    }

    /// Does what is asked for; `true`: everything is to be looked at.
    fn ask(&mut self, ask: Ask, engine: &Engine) -> bool {
        match ask {
            Ask::ShipAll { by, answer } => {
                let sent = engine.shipped().sent_events;
                self.waiting.push(Waiting { by, answer, sent });
                return true;
            }
            // Whoever asked may have given up.
            Ask::Audit(answer) => drop(answer.send(engine.audit())),
            Ask::Replay(answer) => self.replay(engine, answer),
            Ask::Leftovers { by, answer } => self.leftovers = Some((by, answer)),
        }
        false
    }

    fn replay(&mut self, engine: &Engine, answer: oneshot::Sender<Result<String, String>>) {
        while self.replays.try_join_next().is_some() {}
        if !self.replays.is_empty() {
            drop(answer.send(Err("what was kept is being sent again already".to_owned())));
            return;
        }
        let (sink, quarantine) = (self.sink.clone(), engine.quarantine().clone());
        let logs = Arc::clone(&self.logs);
        let runtime = tokio::runtime::Handle::current();
        self.replays.spawn_blocking(move || {
            let replayed = replay::replay(&sink, &quarantine, &logs, &runtime);
            drop(answer.send(said(replayed)));
        });
    }

    /// Answers those who wait for everything, when it is so or their time is over.
    fn answer(&mut self, is_all: bool, shipped: &Shipped, now: Now) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let over = |waiting: &mut Waiting| is_all || now.at >= waiting.by;
        for done in waiting.extract_if(.., over) {
            let outcome = if is_all {
                ShipOutcome::Shipped { events: shipped.sent_events.saturating_sub(done.sent) }
            } else {
                let reason = shipped.reason.clone();
                let reason = reason.unwrap_or_else(|| "the time was too short".to_owned());
                ShipOutcome::Left { bytes: shipped.backlog_bytes, kept: None, reason }
            };
            // Whoever asked may have given up.
            drop(done.answer.send(outcome));
        }
        self.waiting = waiting;
    }

    /// How long nothing needs to be done, unless something happens.
    fn pause(&self, plan: &Plan, swept: Moment, now: Now) -> Duration {
        let mut until = swept.plus(SWEEP_EVERY);
        let asked = self.waiting.iter().map(|waiting| waiting.by);
        for wake in plan.wake.into_iter().chain(asked) {
            until = until.min(wake);
        }
        // The timer may fire a moment early by the boot clock; a look too soon costs little.
        Duration::from_millis(ms(until.since(now.at)).max(1))
    }
}

/// Waits for entries of the journal; for ever when none are read.
async fn heard_of(units: &mut Option<Units>) -> Vec<Entry> {
    match units {
        Some(units) => units.next().await,
        None => std::future::pending().await,
    }
}

/// What came of a replay, for a person.
fn said(replayed: Result<Replayed, FileError>) -> Result<String, String> {
    let replayed = replayed.map_err(|error| errors::chain(&error))?;
    let Replayed { sent, refused, damaged, stopped } = replayed;
    let text = match (sent, refused) {
        (0, 0) => "no events are kept".to_owned(),
        (sent, 0) => format!("{sent} events were sent again"),
        (sent, refused) => {
            format!("{sent} events were sent again; {refused} are still not taken, and kept")
        }
    };
    let text = match damaged {
        0 => text,
        damaged => format!("{text}; {damaged} lines of what was kept cannot be read"),
    };
    match stopped {
        Some(why) => Err(format!("{text}; the rest is still kept: {why}")),
        None => Ok(text),
    }
}
