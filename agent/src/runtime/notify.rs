//! Lets people elsewhere be told: hands events to the core's notifier, carries out what it says,
//! and keeps what waits on disk, where it survives the agent.

use std::collections::BTreeMap;
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
use tokio::sync::{mpsc, oneshot};

use super::ledger_file::LedgerFile;
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
/// Answers on their way: no more than there are targets.
const ANSWERS_MAX: usize = 64;
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
    answers: mpsc::Sender<Delivered>,
    pub(super) answered: mpsc::Receiver<Delivered>,
    redactor: Redactor,
    pipelines: PipelineWatch,
    /// What processes said of their own end, until it has come.
    crashes: BTreeMap<ProcessId, (Run, Crash)>,
    /// Whether nobody is told anything.
    idle: bool,
}

/// What a process said before it ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Crash {
    pub message: String,
    pub stack: String,
}

impl Telling {
    pub(super) fn open(
        config: &HostConfig,
        ledger_file: &LedgerFile,
        ledger: &Ledger,
        seed: u64,
    ) -> Result<Self, RuntimeError> {
        let (secrets, same_boot) = (secrets(config), ledger_file.same_boot);
        let host = super::host().name;
        let environment = config.environment.to_string();
        let place = Place { environment, host: host.clone() };
        let delivery = Delivery::open(place, &config.notify, config.errors.clone())?;
        let path = config.state_dir.join("outbox.json");
        let outbox = read(&path)?;
        let place =
            groundcrew_core::notify::Place { environment: config.environment.clone(), host };
        let rules: Vec<_> = config.notify.iter().map(|target| target.rules.clone()).collect();
        let errors = config.errors.as_ref().map(|errors| errors.rules);
        let idle = rules.is_empty() && errors.is_none();
        let mut notifier =
            Notifier::new(place, rules, errors, outbox, (clock::at(), same_boot), seed);
        // What was told before the agent before this one could hand it on.
        notifier.catch_up(clock::at(), &ledger.events);
        let (answers, answered) = mpsc::channel(ANSWERS_MAX);
        let redactor =
            Redactor::new(&config.logs.redact, &secrets).map_err(RuntimeError::Redaction)?;
        let (pipelines, crashes) = (PipelineWatch::default(), BTreeMap::new());
        let delivery = Arc::new(delivery);
        Ok(Self { notifier, delivery, path, answers, answered, redactor, pipelines, crashes, idle })
    }

    /// When there is something to deliver without news.
    pub(super) fn next_wake(&self) -> Option<Moment> {
        self.notifier.next_wake()
    }

    /// What a process says of its end.
    pub(super) fn crashing(&mut self, id: &ProcessId, run: Run, crash: Crash) {
        self.crashes.insert(id.clone(), (run, crash));
    }

    pub(super) fn forget(&mut self, id: &ProcessId) {
        self.crashes.remove(id);
    }

    fn hide(&self, text: &str) -> String {
        let mut scratch = Vec::new();
        String::from_utf8_lossy(self.redactor.apply(text.as_bytes(), &mut scratch)).into_owned()
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
        let text = self.telling.hide(&told.text);
        let heard = self.telling.notifier.hear(clock::at(), &Told { text, ..told.clone() });
        let reported = self.report(told);
        if heard || reported {
            tokio::task::block_in_place(|| self.telling.save());
        }
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
        let telling = &mut self.telling;
        let crash = telling.crashes.remove(process).map(|(_, crash)| crash);
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
            let (delivery, answers) =
                (Arc::clone(&self.telling.delivery), self.telling.answers.clone());
            let (id, instance) = (pending.id, instance.clone());
            self.tasks.spawn(async move {
                let answer = answer(delivery.deliver(&target, instance, pending).await);
                drop(answers.send(Delivered::Note { target, id, answer }).await);
            });
        }
        if let Some(pending) = self.telling.notifier.due_error(now) {
            let (delivery, answers) =
                (Arc::clone(&self.telling.delivery), self.telling.answers.clone());
            let id = pending.id;
            self.tasks.spawn(async move {
                let answer = answer(delivery.report(pending).await);
                drop(answers.send(Delivered::Error { id, answer }).await);
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
            let answered = tokio::time::timeout(pause, self.telling.answered.recv());
            if let Ok(Some(delivered)) = answered.await {
                self.delivered(delivered);
            }
        }
    }

    /// Tells what a look at the pipelines shows.
    pub(super) fn watch_pipelines(&mut self) {
        let mut pipelines = self.pipelines();
        for pipeline in &mut pipelines {
            // What a tier's own rules leave out is not lost.
            if pipeline.name == "logs" {
                pipeline.dropped = self.logs.usage().lines_lost;
            }
        }
        for told in self.telling.pipelines.look(clock::now(), &pipelines) {
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
        let instance = self.lifecycle.instance_id();
        self.tasks.spawn(async move {
            let all = targets.into_iter().map(|(target, kind)| {
                let (delivery, instance) = (Arc::clone(&delivery), instance.clone());
                async move {
                    let failed = try_out(&delivery, &target, instance).await.err();
                    NotifyTest { name: target, kind: kind.to_owned(), failed }
                }
            });
            drop(answer.send(Ok(futures_util::future::join_all(all).await)));
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
