//! Lets people elsewhere be told: hands events to the core's notifier, carries out what it says,
//! and keeps what waits on disk, where it survives the agent.

use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::effect::{Effect, Level, Subject, Told, Topic};
use groundcrew_core::ledger::Ledger;
use groundcrew_core::notify::errors::{ErrorReport, LINES_MAX};
use groundcrew_core::notify::watch::PipelineWatch;
use groundcrew_core::notify::{Action, Answer, Note, Notifier, Outbox, Pending, oldest_ms};
use groundcrew_core::status::PipelineStatus;
use groundcrew_core::time::{Moment, Wall};
use groundcrew_core::types::{ProcessId, Run};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::crashes::{Crash, Crashes};
use super::pipelines::secrets;
use super::{Agent, RuntimeError};
use crate::clock;
use crate::config::HostConfig;
use crate::control::NotifyTest;
use crate::errors::chain;
use crate::fsx::{self, FileError};
use crate::logs::events::Redactor;
use crate::notify::{Delivery, Place};

/// It may hold what processes printed.
const MODE: u32 = 0o600;
/// How long an agent that goes tries to get rid of what waits. It is on disk, but the disk may go
/// with the host.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// How a delivery went.
#[derive(Debug)]
pub(super) enum Delivered {
    /// Of a message.
    Note { target: String, id: u64, answer: Answer },
    /// Of an error.
    Error { id: u64, answer: Answer },
}

/// What the runtime needs to tell people.
pub(super) struct Telling {
    notifier: Notifier,
    delivery: Arc<Delivery>,
    path: Utf8PathBuf,
    /// Those under way: at most one for each target, and one error.
    deliveries: JoinSet<Delivered>,
    redactor: Redactor,
    pipelines: PipelineWatch,
    pub(super) crashes: Crashes,
    /// Whether nobody is told anything.
    idle: bool,
}

impl Telling {
    pub(super) fn open(
        config: &HostConfig,
        ledger: &Ledger,
        same_boot: bool,
        seed: u64,
    ) -> Result<Self, RuntimeError> {
        let redactor = Redactor::new(&config.logs.redact, &secrets(config))
            .map_err(RuntimeError::Redaction)?;
        let host = super::host().name;
        let environment = config.environment.to_string();
        let place = Place { environment, host: host.clone() };
        let delivery = Arc::new(Delivery::new(place, &config.notify, config.errors.clone()));
        let path = config.state_dir.join("outbox.json");
        let outbox = read(&path)?;
        let place =
            groundcrew_core::notify::Place { environment: config.environment.clone(), host };
        let rules: Vec<_> = config.notify.iter().map(|target| target.rules.clone()).collect();
        let errors = config.errors.as_ref().map(|errors| errors.rules);
        let idle = rules.is_empty() && errors.is_none();
        let notifier = Notifier::new(place, rules, errors, outbox, (clock::at(), same_boot), seed);
        let (pipelines, crashes) = (PipelineWatch::default(), Crashes::default());
        let deliveries = JoinSet::new();
        let mut telling =
            Self { notifier, delivery, path, deliveries, redactor, pipelines, crashes, idle };
        // What was told before the agent before this one could hand it on.
        let told: Vec<_> = ledger.events.iter().map(|told| telling.hidden(told)).collect();
        if telling.notifier.catch_up(clock::at(), &told) {
            telling.save();
        }
        Ok(telling)
    }

    /// When there is something to deliver without news.
    pub(super) fn next_wake(&self) -> Option<Moment> {
        self.notifier.next_wake()
    }

    /// How the next delivery went; for ever when none is under way.
    pub(super) async fn answered(&mut self) -> Delivered {
        match self.ended().await {
            Some(delivered) => delivered,
            None => std::future::pending().await,
        }
    }

    /// How the next delivery went that was not given up; `None`: none is under way.
    async fn ended(&mut self) -> Option<Delivered> {
        while let Some(ended) = self.deliveries.join_next().await {
            match ended {
                Ok(delivered) => return Some(delivered),
                Err(error) if error.is_cancelled() => {}
                Err(error) => tracing::error!("a delivery failed: {error}"),
            }
        }
        None
    }

    fn hide(&self, text: &str) -> String {
        let mut scratch = Vec::new();
        String::from_utf8_lossy(self.redactor.apply(text.as_bytes(), &mut scratch)).into_owned()
    }

    /// The event as it may leave the host.
    fn hidden(&self, told: &Told) -> Told {
        Told { text: self.hide(&told.text), ..told.clone() }
    }

    /// Blocking.
    fn save(&self) {
        let saved = serde_json::to_vec(self.notifier.outbox()).map_err(std::io::Error::from);
        let saved = fsx::About::about(saved, "write", &self.path)
            .and_then(|bytes| fsx::write_atomic(&self.path, &bytes, MODE));
        if let Err(error) = saved {
            tracing::error!("what people are to be told would not survive: {}", chain(&error));
        }
    }
}

/// What waited when the agent before ended. What cannot be read is put aside: it is no reason not
/// to serve.
fn read(path: &Utf8Path) -> Result<Outbox, FileError> {
    let Some(bytes) = fsx::read_if_exists(path)? else { return Ok(Outbox::default()) };
    serde_json::from_slice(&bytes).or_else(|error| {
        let aside = path.with_extension("broken");
        tracing::error!("{path} is broken ({error}); it is kept as {aside}");
        fsx::About::about(std::fs::rename(path, &aside), "put aside", path)?;
        Ok(Outbox::default())
    })
}

impl Agent {
    /// Takes in what people are told, in time for it to survive whatever comes next.
    pub(super) fn notify(&mut self, told: &Told) {
        if self.telling.idle {
            return;
        }
        let hidden = self.telling.hidden(told);
        let heard = self.telling.notifier.hear(clock::at(), &hidden);
        let reported = self.report(told);
        if heard || reported {
            tokio::task::block_in_place(|| self.telling.save());
        }
    }

    /// What a process says of its end.
    pub(super) fn crashing(&mut self, id: &ProcessId, run: Run, crash: Crash) {
        let known = self.known.get(id).map(|known| known.run);
        self.telling.crashes.say(id, run, known, crash);
    }

    /// An end that was not asked for is an error of the application.
    fn report(&mut self, told: &Told) -> bool {
        if !matches!(told.topic, Topic::ProcessCrashed | Topic::CrashLoop) {
            return false;
        }
        let subject = &told.subject;
        let (Some(process), Some(release)) = (&subject.process, &subject.release) else {
            return false;
        };
        let lines = tokio::task::block_in_place(|| self.log_files.last_errors(process, LINES_MAX));
        let lines = lines.unwrap_or_else(|error| {
            tracing::warn!("{}", chain(&error));
            Vec::new()
        });
        let run = self.known.get(process).map(|known| known.run);
        let telling = &mut self.telling;
        let crash = telling.crashes.take(process, run);
        let Crash { message, stack } = crash
            .unwrap_or_else(|| Crash { message: ended(&told.text, process), stack: String::new() });
        let report = ErrorReport {
            at: told.at,
            tier: process.tier.clone(),
            process: process.clone(),
            release: release.clone(),
            message: telling.hide(&message),
            stack: telling.hide(&stack),
            lines: lines.iter().map(|line| telling.hide(line)).collect(),
        };
        telling.notifier.report(clock::at(), report)
    }

    /// Begins every delivery that is due.
    pub(super) fn deliver(&mut self) {
        let now = clock::at();
        let instance = self.lifecycle.instance_id();
        for (target, pending) in self.telling.notifier.due(now) {
            let delivery = Arc::clone(&self.telling.delivery);
            let (id, instance) = (pending.id, instance.clone());
            self.telling.deliveries.spawn(async move {
                let answer = answer(delivery.deliver(&target, instance, pending).await);
                Delivered::Note { target, id, answer }
            });
        }
        if let Some(pending) = self.telling.notifier.due_error(now) {
            let (delivery, id) = (Arc::clone(&self.telling.delivery), pending.id);
            self.telling.deliveries.spawn(async move {
                let answer = answer(delivery.report(pending).await);
                Delivered::Error { id, answer }
            });
        }
    }

    /// Takes in how a delivery went.
    pub(super) fn delivered(&mut self, delivered: Delivered) {
        let now = clock::now();
        let (name, answer) = match &delivered {
            Delivered::Note { target, answer, .. } => (target.as_str(), answer),
            Delivered::Error { answer, .. } => ("the tracker of errors", answer),
        };
        let ended = !matches!(answer, Answer::Failed { .. });
        match answer {
            Answer::Sent => tracing::debug!("{name} was told"),
            Answer::Failed { reason, .. } => {
                tracing::warn!("{name} was not told, and will be later: {reason}");
            }
            Answer::Refused(reason) => tracing::error!("{name} is not told: {reason}"),
        }
        match delivered {
            Delivered::Note { target, id, answer } => {
                self.telling.notifier.answered(now, &target, id, answer);
            }
            Delivered::Error { id, answer } => {
                self.telling.notifier.error_answered(now, id, answer);
            }
        }
        if ended {
            // Or an agent after this one would tell it again.
            tokio::task::block_in_place(|| self.telling.save());
        }
    }

    /// Delivers what waits, as far as there is time before the agent goes.
    pub(super) async fn flush_notifications(&mut self) {
        let by = clock::at().plus(FLUSH_WITHIN);
        loop {
            self.deliver();
            let waits = self.telling.notifier.standings().any(|standing| standing.waiting > 0);
            let left = by.since(clock::at());
            if !waits || left.is_zero() {
                return;
            }
            let wake = self.telling.next_wake().map_or(left, |wake| wake.since(clock::at()));
            let pause = left.min(wake.max(Duration::from_millis(10)));
            let answered = tokio::time::timeout(pause, self.telling.answered());
            if let Ok(delivered) = answered.await {
                self.delivered(delivered);
            }
        }
    }

    /// Gives up the deliveries under way, but not the answers that are there. What was not
    /// answered is told by the agent after this one.
    pub(super) async fn end_deliveries(&mut self) {
        self.telling.deliveries.abort_all();
        while let Some(delivered) = self.telling.ended().await {
            self.delivered(delivered);
        }
    }

    /// Tells what a look at the pipelines shows.
    pub(super) fn watch_pipelines(&mut self) {
        // What a tier's own rules leave out is not lost, and what goes nowhere cannot be.
        let lines_lost = self.logs.shipped().map_or(0, |_| self.logs.usage().lines_lost);
        let pipelines = self.pipelines();
        for told in self.telling.pipelines.look(clock::now(), &pipelines, lines_lost) {
            self.answer(groundcrew_core::event::Event::Noticed(told));
        }
    }

    /// How each target does, as the status shows pipelines.
    pub(super) fn targets(&self) -> Vec<PipelineStatus> {
        let now = clock::at();
        let status = |standing: groundcrew_core::notify::Standing<'_>| PipelineStatus {
            name: format!("notify.{}", standing.name),
            sent: standing.counts.sent,
            backlog_bytes: standing.bytes,
            oldest_ms: oldest_ms(now, &standing),
            last_ok: standing.last_ok,
            dropped: standing.counts.dropped,
            rejected: standing.counts.failed,
            reason: standing.reason.map(str::to_owned),
            ..PipelineStatus::default()
        };
        self.telling.notifier.standings().map(status).collect()
    }

    /// What became of everything, by target.
    pub(super) fn notifications(&self) -> Vec<groundcrew_core::metrics::Point> {
        use groundcrew_core::metrics::{Point, catalog::NOTIFICATIONS};
        let points = self.telling.notifier.standings().flat_map(|standing| {
            let counts = standing.counts;
            let name = standing.name.to_owned();
            [
                ("sent", counts.sent),
                ("failed", counts.failed),
                ("suppressed", counts.suppressed),
                ("dropped", counts.dropped),
            ]
            .map(|(word, count)| Point::new(&NOTIFICATIONS, [name.as_str(), word], count as f64))
        });
        points.collect()
    }

    /// Sends a test message through one target or all, and says how each answered.
    pub(super) fn test_notifications(
        &mut self,
        name: Option<String>,
        answer: oneshot::Sender<Result<Vec<NotifyTest>, String>>,
    ) {
        let delivery = Arc::clone(&self.telling.delivery);
        let wanted = |target: &str| name.as_ref().is_none_or(|name| name == target);
        let targets: Vec<_> = delivery
            .targets()
            .filter(|(target, _)| wanted(target))
            .map(|(target, kind)| (target.to_owned(), kind))
            .collect();
        if targets.is_empty() {
            let why = match name {
                Some(name) => format!("the configuration has no [[notify]] of the name {name}"),
                None => "the configuration has no [[notify]]".to_owned(),
            };
            // Whoever asked may have gone.
            drop(answer.send(Err(why)));
            return;
        }
        let (instance, cancel) = (self.lifecycle.instance_id(), self.cancel.clone());
        self.tasks.spawn(async move {
            let all = targets.into_iter().map(|(target, kind)| {
                let (delivery, instance) = (Arc::clone(&delivery), instance.clone());
                async move {
                    let failed = try_out(&delivery, &target, instance).await.err();
                    NotifyTest { name: target, kind: kind.to_owned(), failed }
                }
            });
            tokio::select! {
                // An agent that goes waits for nobody.
                () = cancel.cancelled() => {}
                tests = futures_util::future::join_all(all) => drop(answer.send(Ok(tests))),
            }
        });
    }
}

/// An alarm, and its end, so that nobody is left with one.
async fn try_out(
    delivery: &Delivery,
    target: &str,
    instance: Option<String>,
) -> Result<(), String> {
    let now = clock::now();
    let text = "a test: somebody tries out whether this arrives".to_owned();
    let Effect::Tell(told) = Subject::host().tell(now, Level::Warning, Topic::Test, text) else {
        return Err("there is nothing to tell".to_owned());
    };
    for (id, action) in [(1, Action::Trigger), (2, Action::Resolve)] {
        let key = format!("groundcrew/test/{}", now.wall.0);
        let what = Note { told: told.clone(), action, key };
        let pending = Pending { id, queued: now.at, suppressed: 0, more: 0, what };
        let delivered = delivery.deliver(target, instance.clone(), pending).await;
        delivered.map_err(|error| chain(&error))?;
    }
    Ok(())
}

fn answer(delivered: Result<(), crate::notify::DeliveryError>) -> Answer {
    delivered.map_or_else(|error| error.answer(), |()| Answer::Sent)
}

/// How a process ended, from the sentence that people are told: without its name, and without what
/// is done about it.
fn ended(text: &str, process: &ProcessId) -> String {
    let name = process.to_string();
    let text = text.strip_prefix(&name).unwrap_or(text).trim_start();
    text.split("; ").next().unwrap_or(text).to_owned()
}

/// When the agent began, for people.
pub(super) fn began(at: Wall) -> Told {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("the agent {version} began");
    Told { topic: Topic::AgentStarted, ..Told::new(at, Level::Normal, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = r#"
[[notify]]
name = "ops"
kind = "webhook"
url = "https://127.0.0.1:9/hook"
dedupe = "0s"
"#;

    fn told(at: i64, text: &str) -> Told {
        Told { topic: Topic::HookProblem, ..Told::new(Wall(at), Level::Warning, text.to_owned()) }
    }

    /// What an agent with these targets makes of what the ledger remembers.
    fn open(directory: &Utf8Path, targets: &str, events: &[Told]) -> Telling {
        let text = format!(
            "environment = \"test\"\nsource = \"file:///none\"\nstate_dir = \"{directory}\"\n\
             [logs.redact]\npatterns = [\"hunter[0-9]+\"]\n{targets}"
        );
        let config = crate::config::host::parse("test.toml", &text).unwrap();
        let ledger = Ledger { events: events.to_vec(), ..Ledger::default() };
        Telling::open(&config, &ledger, true, 1).unwrap()
    }

    fn waiting(telling: &mut Telling) -> Vec<String> {
        let due = telling.notifier.due(clock::at());
        due.into_iter().map(|(_, pending)| pending.what.told.text).collect()
    }

    #[test]
    fn what_is_caught_up_hides_secrets_and_is_not_of_the_time_before_there_were_targets() {
        let directory = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(directory.path()).unwrap();
        let events = [told(1, "heard"), told(2, "it said hunter2"), told(3, "much later")];
        let mut before = open(directory, TARGET, &[]);
        before.notifier.hear(clock::at(), &events[0]);
        assert_eq!(waiting(&mut before), ["heard"]);
        before.notifier.answered(clock::now(), "ops", 1, Answer::Sent);
        before.save();
        let mut after = open(directory, TARGET, &events[..2]);
        let caught = waiting(&mut after);
        assert!(caught.len() == 1 && caught[0].starts_with("it said "), "{caught:?}");
        assert!(!caught[0].contains("hunter2"), "{caught:?}");
        // What was caught up is remembered at once.
        after = open(directory, TARGET, &events[..2]);
        assert_eq!(waiting(&mut after), caught);
        drop(open(directory, "", &events));
        assert_eq!(waiting(&mut open(directory, TARGET, &events)), [""; 0]);
    }
}
