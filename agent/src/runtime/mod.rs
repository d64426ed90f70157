//! The agent: feeds what happens on the host to the controller, and does what it says.
//!
//! One task owns the controller and everything that is not thread-safe by nature; whatever takes
//! time runs beside it and comes back as an event. Nothing is decided here.

mod backups;
mod crashes;
mod effects;
mod fleet;
mod inputs;
mod ledger_file;
mod measured;
mod notify;
mod numbers;
mod pipelines;
mod reload;
mod sampling;
mod signals;
mod tell;
mod traces;
mod usages;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::controller::describe::Facts;
use groundcrew_core::controller::{Controller, Settings};
use groundcrew_core::event::Event;
use groundcrew_core::lifecycle::LifecycleSettings;
use groundcrew_core::spec::TierPlan;
use groundcrew_core::status::HostStatus;
use groundcrew_core::time::Moment;
use groundcrew_core::types::{Digest, ProcessId, Run, Version};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::HostConfig;
use crate::control::{self, Control, ControlError, Request};
use crate::fsx::FileError;
use crate::handoff::balance::Balancer;
use crate::handoff::channel::{Channel, ChannelEvent, Registry};
use crate::handoff::listener::Listeners;
use crate::handoff::stats::Board;
use crate::lifecycle::Lifecycle;
use crate::logs::{LogFiles, Logs};
use crate::metrics::cloudwatch::Sender as MetricsSender;
use crate::metrics::{History, Rollouts, Statsd, Totals};
use crate::releases::fetch::FetchProgress;
use crate::releases::source::Source;
use crate::releases::store::Store;
use crate::supervisor::image::Image;
use crate::supervisor::{Supervisor, SupervisorEvent};
use crate::traces::Traces;
use crate::{clock, handoff, procfs, random, supervisor, systemd};

use backups::Backups;
use ledger_file::{LedgerFile, LedgerFileError};
use measured::Measured;
use notify::Telling;
use reload::Reload;
use signals::Signals;
use usages::Usages;

pub use ledger_file::check_ledger;
pub use signals::block_signals;

/// Answers waiting for the controller: more than it ever has questions open.
const EVENTS_MAX: usize = 4096;
/// How long what is under way may take to end when the agent goes.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(10);

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Another agent runs on the same state.
    #[error("another agent runs on {state_dir}; stop it first, or use another state_dir")]
    Taken {
        /// The state directory of both.
        state_dir: Utf8PathBuf,
    },
    /// A file or a directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerFileError),
    /// The supervisor.
    #[error(transparent)]
    Supervisor(#[from] supervisor::SupervisorError),
    /// What runs could not be found out.
    #[error(transparent)]
    Adopt(#[from] supervisor::AdoptError),
    /// What must not leave the host.
    #[error("it is not known what must not leave the host")]
    Redaction(#[source] crate::logs::events::PatternError),
    /// The process channel.
    #[error(transparent)]
    Channel(#[from] handoff::channel::ChannelError),
    /// The log files.
    #[error(transparent)]
    Logs(#[from] crate::logs::LogError),
    /// What applications measure.
    #[error(transparent)]
    Statsd(#[from] crate::metrics::statsd::StatsdError),
    /// The releases on disk.
    #[error(transparent)]
    Store(#[from] crate::releases::store::StoreError),
    /// The control socket or the HTTP address.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A signal handler.
    #[error("could not wait for signals")]
    Signal(#[source] std::io::Error),
}

/// Runs the agent until it is told to leave and everything has ended. `image` is what it goes on as
/// when it is told to reload. Needs [`block_signals`].
pub async fn run(config: HostConfig, image: Image) -> Result<(), RuntimeError> {
    Box::pin(reload::run(config, image)).await
}

/// What the agent knows of a process beside what the controller knows.
struct Known {
    run: Run,
    plan: TierPlan,
    release: Version,
}

struct Agent {
    config: HostConfig,
    controller: Controller,
    ledger_file: LedgerFile,
    source: Arc<Source>,
    store: Arc<Store>,
    /// Of the channel as it was read last.
    etags: watch::Sender<Option<String>>,
    supervisor: Supervisor,
    supervised: mpsc::Receiver<SupervisorEvent>,
    listeners: Listeners,
    registry: Arc<Registry>,
    channel: Channel,
    said: mpsc::Receiver<ChannelEvent>,
    preload: Utf8PathBuf,
    logs: Arc<Logs>,
    log_files: LogFiles,
    /// `None`: nothing is traced.
    traces: Option<Traces>,
    lifecycle: Arc<Lifecycle>,
    board: Board,
    totals: Totals,
    /// `None`: metrics are only there to be scraped.
    cloudwatch: Option<MetricsSender>,
    history: History,
    /// `None`: applications send nothing.
    statsd: Option<Statsd>,
    rollouts: Rollouts,
    /// `None`: the host's file has none.
    backups: Option<Backups>,
    telling: Telling,
    balancer: Balancer,
    known: BTreeMap<ProcessId, Known>,
    usage: Usages<ProcessId>,
    measured: Measured,
    fetches: BTreeMap<Digest, Fetching>,
    control: Control,
    requests: mpsc::Receiver<Request>,
    ready: watch::Sender<bool>,
    host: HostStatus,
    events: mpsc::Sender<Event>,
    answers: mpsc::Receiver<Event>,
    tasks: JoinSet<()>,
    cancel: CancellationToken,
    reload: Reload,
    exit: bool,
    systemd_listens: bool,
    /// What systemd was told last.
    status_line: String,
}

/// A fetch under way.
struct Fetching {
    cancel: CancellationToken,
    progress: watch::Receiver<FetchProgress>,
}

/// Where processes find the agent.
fn channel_path(run_dir: &Utf8Path) -> Utf8PathBuf {
    run_dir.join("channel.sock")
}

impl Agent {
    async fn open(
        config: HostConfig,
        listeners: Listeners,
        reload: Reload,
    ) -> Result<Self, RuntimeError> {
        let (run_dir, state_dir) = (&config.run_dir, &config.state_dir);
        let settings = supervisor::Settings::new(run_dir.clone(), state_dir.clone());
        let (supervisor, supervised) = Supervisor::open(&settings)?;
        let (ledger_file, ledger) = LedgerFile::open(state_dir)?;
        let store = Arc::new(Store::open(state_dir)?);
        let registry = Arc::new(Registry::default());
        let (channel, said) = Channel::open(&channel_path(run_dir), Arc::clone(&registry))?;
        let cancel = CancellationToken::new();
        let log_files = LogFiles::new(state_dir);
        let (events, answers) = mpsc::channel(EVENTS_MAX);
        let lifecycle = Lifecycle::open(config.lifecycle.metadata, events.clone(), &cancel);
        let logs = Arc::new(pipelines::open_logs(&config, &log_files, &lifecycle, &cancel)?);
        let cloudwatch = pipelines::open_cloudwatch(&config, &lifecycle, &cancel);
        let traces = traces::open(&config.traces, &cancel);
        let statsd = pipelines::open_statsd(&config)?;
        let (ready, is_ready) = watch::channel(false);
        let (control, requests) = open_control(&config, is_ready, &logs)?;
        let settings = core_settings(&config, &lifecycle);
        Ok(Self {
            telling: Telling::open(&config, &ledger, ledger_file.same_boot, settings.seed)?,
            controller: Controller::new(settings, ledger),
            preload: handoff::preload::write(&config.run_dir)?,
            measured: Measured::new(&config.state_dir),
            source: Arc::new(Source::open(&config.source).await),
            backups: Backups::open(&config, &lifecycle, events.clone(), &cancel),
            config,
            ledger_file,
            store,
            etags: watch::Sender::new(None),
            supervisor,
            supervised,
            listeners,
            registry,
            channel,
            said,
            logs,
            log_files,
            traces,
            lifecycle: Arc::new(lifecycle),
            board: Board::default(),
            totals: Totals::default(),
            cloudwatch,
            history: History::new(clock::at()),
            statsd,
            rollouts: Rollouts::default(),
            balancer: Balancer::default(),
            known: BTreeMap::new(),
            usage: Usages::default(),
            fetches: BTreeMap::new(),
            control,
            requests,
            ready,
            host: host(),
            events,
            answers,
            tasks: JoinSet::new(),
            cancel,
            reload,
            exit: false,
            systemd_listens: systemd::listens(),
            status_line: String::new(),
        })
    }

    async fn live(&mut self, signals: &Signals) -> Result<(), RuntimeError> {
        let begun = self.look_around().await?;
        self.step(begun).await;
        let began = notify::began(clock::wall());
        tell::tell(&began);
        self.notify(&began);
        systemd::ready();
        let mut watchdog = systemd::watchdog_interval().map(ticks);
        let mut samples = Some(ticks(sampling::EVERY));
        while !self.exit {
            let tells = self.telling.next_wake();
            let event = tokio::select! {
                Some(event) = self.supervised.recv() => self.supervisor_says(event),
                Some(event) = self.said.recv() => self.process_says(event),
                Some(event) = self.answers.recv() => Some(self.note(event)),
                Some(request) = self.requests.recv() => self.request(request),
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!("a task of the agent failed: {error}");
                    }
                    None
                }
                signal = signals.next() => Some(leave(signal)),
                tried = self.reload.tried() => {
                    self.reload_tried(tried);
                    None
                }
                () = until(self.controller.next_wake()) => Some(Event::Tick),
                delivered = self.telling.answered() => {
                    self.delivered(delivered);
                    None
                }
                () = until(tells) => None,
                // Said by the loop itself, so that it is missed when the loop is stuck.
                () = due(&mut watchdog) => {
                    systemd::alive();
                    None
                }
                () = due(&mut samples) => {
                    self.sample();
                    None
                }
            };
            if let Some(event) = event {
                self.step(event).await;
            }
            self.deliver();
        }
        if !self.reload.is_due {
            self.flush_notifications().await;
        }
        self.end_deliveries().await;
        Ok(())
    }

    async fn step(&mut self, event: Event) {
        let began = clock::precise();
        let effects = self.controller.step(clock::now(), event);
        let changed = !effects.is_empty();
        for effect in effects {
            self.carry_out(effect).await;
        }
        if changed {
            self.show_status();
        }
        self.ready.send_if_modified(|ready| {
            let now_ready = self.controller.is_ready();
            std::mem::replace(ready, now_ready) != now_ready
        });
        if let Some(backups) = &self.backups {
            backups.set_leaving(self.controller.is_draining());
        }
        self.measured.step(began);
    }

    /// What those see who look all the time: the line that `systemctl status` shows, and the story
    /// of the last hour.
    fn show_status(&mut self) {
        let now = clock::now();
        let status = self.controller.status(now, self.facts());
        self.history.note(now, &status);
        if !self.systemd_listens {
            return;
        }
        let line = status.line();
        if line != self.status_line {
            systemd::status(&line);
            self.status_line = line;
        }
    }

    /// Ends everything of the agent's own. Processes are left as they are.
    async fn close(mut self) {
        // What happened since the last sample is in nobody else's memory.
        self.sample();
        let Self {
            control,
            channel,
            supervisor,
            logs,
            traces,
            lifecycle,
            cloudwatch,
            statsd,
            backups,
            ..
        } = self;
        let (mut tasks, cancel) = (self.tasks, self.cancel);
        cancel.cancel();
        let all = async {
            control.shutdown().await;
            if let Some(statsd) = statsd {
                statsd.shutdown();
            }
            channel.shutdown().await;
            supervisor.shutdown().await;
            while tasks.join_next().await.is_some() {}
            if let Some(backups) = backups {
                backups.shutdown().await;
            }
            if let Some(traces) = traces {
                traces.shutdown().await;
            }
            if let Some(logs) = Arc::into_inner(logs) {
                logs.shutdown().await;
            }
            if let Some(lifecycle) = Arc::into_inner(lifecycle) {
                lifecycle.shutdown().await;
            }
            if let Some(cloudwatch) = cloudwatch {
                cloudwatch.ended().await;
            }
        };
        if tokio::time::timeout(SHUTDOWN_WITHIN, all).await.is_err() {
            tracing::warn!("not everything ended within {SHUTDOWN_WITHIN:?}");
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            host: HostStatus { instance_id: self.lifecycle.instance_id(), ..self.host.clone() },
            environment: self.config.environment.clone(),
            source: self.config.source.to_string(),
        }
    }
}

/// Where the agent is asked.
fn open_control(
    config: &HostConfig,
    ready: watch::Receiver<bool>,
    logs: &Arc<Logs>,
) -> Result<(Control, mpsc::Receiver<Request>), ControlError> {
    let socket = config.run_dir.join("control.sock");
    let logs = Arc::clone(logs);
    Control::open(control::Serving { socket, http: config.http, ready, logs })
}

/// Those that systemd kept for this agent.
fn stored_sockets() -> Listeners {
    let mut listeners = Listeners::default();
    for (port, socket) in systemd::stored() {
        if let Err(error) = listeners.keep(port, socket) {
            tracing::warn!("{}", crate::errors::chain(&error));
        }
    }
    listeners
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

/// Waits for the next tick; for ever when there are none.
async fn due(ticks: &mut Option<tokio::time::Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}

fn leave(signal: &str) -> Event {
    systemd::stopping();
    Event::Leave { reason: format!("{signal} received") }
}

/// Sleeps until a moment of the boot clock; for ever when there is none.
async fn until(moment: Option<Moment>) {
    match moment {
        Some(moment) => {
            let wait = moment.since(clock::at());
            // The timer may fire a moment early by the boot clock; a tick too soon costs a step.
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
        None => std::future::pending().await,
    }
}

fn core_settings(config: &HostConfig, lifecycle: &Lifecycle) -> Settings {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Settings {
        tiers: config.tiers.clone(),
        overrides: config.overrides.clone(),
        cores: u16::try_from(cores).unwrap_or(u16::MAX),
        poll_interval: config.poll_interval,
        keep: usize::try_from(config.releases.keep).unwrap_or(usize::MAX),
        disk_bytes_max: config.releases.disk_max,
        lifecycle: LifecycleSettings {
            enabled: lifecycle.enabled(),
            ..config.lifecycle.settings.clone()
        },
        seed: random::seed(),
    }
}

fn host() -> HostStatus {
    HostStatus { instance_id: None, name: procfs::host_name() }
}
