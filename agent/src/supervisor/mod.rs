//! Starts, watches, adopts, stops and probes the processes of the tiers: the only place that starts
//! processes. It carries out and reports; when a process is started, stopped or given up is decided
//! by `groundcrew_core`.
//!
//! Processes outlive the agent. Ending or dropping a [`Supervisor`] leaves them running; the next
//! one finds them with [`Supervisor::adopt`].

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::types::{Exit, Pid, ProcessId};
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod adopt;
pub mod cgroup;
mod directories;
mod event;
pub mod hold;
pub mod image;
pub mod probe;
mod process;
mod record;
pub mod shim;
mod spawn;
mod sweep;
pub mod usage;
mod user;

pub use adopt::AdoptError;
pub use directories::PROBE_SOCKET;
pub use event::{Adoption, Found, Lost, SupervisorEvent};
pub use record::{Identity, Record};
pub use spawn::{StartError, StartRequest};
pub use user::UserError;

use crate::errors::chain;
use crate::fsx::{self, FileError};
use process::Process;
use spawn::Host;

/// Reports waiting to be taken. Each process has at most two at a time.
const EVENTS_MAX: usize = 1024;
/// How long [`Supervisor::shutdown`] waits for what is being started or killed.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(10);
/// `PATH` of the processes: where a distribution's packages put programs, and nothing of the
/// agent's.
pub const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const _: () = assert!(EVENTS_MAX > 2 * groundcrew_core::limits::PROCESSES_PER_TIER_MAX as usize);

/// Where the supervisor works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For sockets and records; in memory, and as long-lived as the processes.
    pub run_dir: Utf8PathBuf,
    /// For temporary files. Also tells this agent's processes from another's.
    pub state_dir: Utf8PathBuf,
    /// The agent's own binary, which is also the shim.
    pub program: Utf8PathBuf,
    /// `PATH` of the processes.
    pub path: String,
    /// Where to look for a control group; `None`: run without.
    pub cgroup: Option<cgroup::Place>,
}

impl Settings {
    /// What the agent uses.
    #[must_use]
    pub fn new(run_dir: Utf8PathBuf, state_dir: Utf8PathBuf) -> Self {
        let cgroup = cgroup::Place::for_tiers()
            .inspect_err(|error| tracing::warn!("processes run without control groups: {error}"));
        Self {
            run_dir,
            state_dir,
            // Names the running binary, also when another has been installed over it.
            program: "/proc/self/exe".into(),
            path: PATH_DEFAULT.to_owned(),
            cgroup: cgroup.ok(),
        }
    }
}

/// Why there is no supervisor.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A directory could not be made or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// `/proc` is not what it should be.
    #[error("could not read {what}")]
    Proc {
        /// What was read.
        what: &'static str,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

/// What a process that is stopped gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    Terminate,
    Kill,
}

/// A process id's place.
enum Slot {
    /// Being started; what it was told meanwhile is done when it runs.
    Starting(Option<Stop>),
    Running(Arc<Process>),
}

struct Inner {
    host: Arc<Host>,
    slots: Mutex<BTreeMap<ProcessId, Slot>>,
    events: mpsc::Sender<SupervisorEvent>,
    cancel: CancellationToken,
}

/// Owns the watching of every process, not the processes.
pub struct Supervisor {
    inner: Arc<Inner>,
    // Dropped with the supervisor, which ends the tasks.
    tasks: Mutex<JoinSet<()>>,
}

impl Supervisor {
    /// Prepares directories and control groups. Blocking, done once. Nothing is started or adopted.
    pub fn open(
        settings: &Settings,
    ) -> Result<(Self, mpsc::Receiver<SupervisorEvent>), SupervisorError> {
        fsx::create_dirs(&settings.run_dir, 0o755)?;
        fsx::create_dirs(&settings.state_dir, 0o711)?;
        let owner = owner(&settings.state_dir)?;
        let prepared = settings.cgroup.as_ref().map(|place| cgroup::prepare(place, &owner));
        let base = prepared.and_then(|prepared| {
            if !prepared.missing.is_empty() {
                tracing::warn!("control groups: {}", prepared.missing.join("; "));
            }
            prepared.base
        });
        let boot_id = crate::procfs::boot_id()
            .map_err(|source| SupervisorError::Proc { what: "the boot id", source })?;
        let host = Host {
            directories: directories::Directories::open(&settings.run_dir, &settings.state_dir)?,
            records: record::Records::open(&settings.run_dir)?,
            base,
            program: settings.program.clone(),
            path: settings.path.clone(),
            owner,
            boot_id,
        };
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let inner = Inner {
            host: Arc::new(host),
            slots: Mutex::default(),
            events,
            cancel: CancellationToken::new(),
        };
        Ok((Self { inner: Arc::new(inner), tasks: Mutex::default() }, receiver))
    }

    /// Starts a process; [`SupervisorEvent::Started`] or `StartFailed` follows. An id that has a
    /// living process is refused.
    pub fn start(&self, request: StartRequest) {
        let (id, run) = (request.id.clone(), request.run);
        let free = {
            let mut slots = self.inner.slots();
            let free = !slots.contains_key(&id);
            if free {
                slots.insert(id.clone(), Slot::Starting(None));
            }
            free
        };
        let inner = Arc::clone(&self.inner);
        self.spawn(async move {
            if free {
                inner.start(request).await;
            } else {
                let reason = format!("{id} is running already");
                inner.send(SupervisorEvent::StartFailed { id, run, reason }).await;
            }
        });
    }

    /// Sends SIGTERM to the main process, which knows its children. `false` when there is none.
    pub fn terminate(&self, id: &ProcessId) -> bool {
        self.stop(id, Stop::Terminate)
    }

    /// Kills a process and everything it has started. `false` when there is none; otherwise
    /// `Exited` follows, or `KillUnfinished` when something cannot be killed.
    pub fn kill(&self, id: &ProcessId) -> bool {
        self.stop(id, Stop::Kill)
    }

    /// The number of a process that runs.
    pub fn pid(&self, id: &ProcessId) -> Option<Pid> {
        match self.inner.slots().get(id)? {
            Slot::Running(process) => Some(process.identity.pid),
            Slot::Starting(_) => None,
        }
    }

    /// Where a process's probe socket is.
    pub fn probe_socket(&self, id: &ProcessId) -> Utf8PathBuf {
        self.inner.host.directories.of(id).run.join(PROBE_SOCKET)
    }

    /// The control group below which each process has its own; `None` where the host gives none.
    pub fn cgroup(&self) -> Option<&Utf8Path> {
        self.inner.host.base.as_ref().map(cgroup::Base::directory)
    }

    /// Forgets an id for good, with its record, directories and control group. Only for an id whose
    /// process has ended and will not be started again.
    pub fn retire(&self, id: &ProcessId) {
        if self.inner.slots().contains_key(id) {
            tracing::error!("{id} is not retired: it is running");
            return;
        }
        let (host, id) = (Arc::clone(&self.inner.host), id.clone());
        self.spawn(async move {
            blocking(move || host.retire(&id)).await;
        });
    }

    /// Finds what the agent before left running, kills what nobody knows, and watches the rest.
    /// Done once, before the first start.
    pub async fn adopt(&self) -> Result<Adoption, AdoptError> {
        let host = Arc::clone(&self.inner.host);
        let look = blocking(move || host.look()).await?;
        let mut adoption = Adoption { notes: look.notes, ..Adoption::default() };
        adoption.lost.extend(look.lost.into_iter().map(|(record, exit)| Lost { record, exit }));
        for living in look.living {
            let adopt::Living { record, identity, pidfd, group } = living;
            let name = (record.id.clone(), record.run);
            let process = Process::new(name, identity, pidfd, group, record.plan.host.memory_max)
                .map_err(AdoptError::Processes)?;
            let process = Arc::new(process);
            self.inner.slots().insert(record.id.clone(), Slot::Running(Arc::clone(&process)));
            let inner = Arc::clone(&self.inner);
            self.spawn(async move { inner.watch(&process).await });
            adoption.found.push(Found { pid: identity.pid, record });
        }
        Ok(adoption)
    }

    /// Ends the watching; the processes go on. What is being started or killed is finished first.
    pub async fn shutdown(self) {
        self.inner.cancel.cancel();
        let mut tasks = self.tasks.into_inner().unwrap_or_else(PoisonError::into_inner);
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_WITHIN, all).await.is_err() {
            tracing::warn!("{} tasks of the supervisor did not end and are aborted", tasks.len());
            tasks.shutdown().await;
        }
    }

    fn stop(&self, id: &ProcessId, stop: Stop) -> bool {
        let process = match self.inner.slots().get_mut(id) {
            None => return false,
            Some(Slot::Starting(pending)) => {
                *pending = (*pending).max(Some(stop));
                return true;
            }
            Some(Slot::Running(process)) => Arc::clone(process),
        };
        match stop {
            Stop::Terminate => Inner::terminate(&process),
            Stop::Kill => {
                let inner = Arc::clone(&self.inner);
                self.spawn(async move { inner.kill(&process).await });
                true
            }
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!("a task of the supervisor failed: {error}");
            }
        }
        tasks.spawn(task);
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<ProcessId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, event: SupervisorEvent) {
        tokio::select! {
            biased;
            // A receiver that is gone wants no more news.
            sent = self.events.send(event) => drop(sent),
            () = self.cancel.cancelled() => {}
        }
    }

    async fn start(self: &Arc<Self>, request: StartRequest) {
        let (id, run) = (request.id.clone(), request.run);
        match self.try_start(request).await {
            Ok((process, pending)) => {
                let pid = process.identity.pid;
                self.send(SupervisorEvent::Started { id, run, pid }).await;
                match pending {
                    Some(Stop::Terminate) => {
                        Self::terminate(&process);
                    }
                    Some(Stop::Kill) => self.kill(&process).await,
                    None => {}
                }
                self.watch(&process).await;
            }
            Err(error) => {
                self.slots().remove(&id);
                let reason = chain(&error);
                self.send(SupervisorEvent::StartFailed { id, run, reason }).await;
            }
        }
    }

    async fn try_start(
        &self,
        request: StartRequest,
    ) -> Result<(Arc<Process>, Option<Stop>), StartError> {
        let (id, run) = (request.id.clone(), request.run);
        let memory_max = request.plan.host.memory_max;
        let host = Arc::clone(&self.host);
        let spawned = blocking(move || host.spawn(request)).await?;
        for warning in &spawned.warnings {
            tracing::warn!("{warning}");
        }
        let (name, identity) = ((id.clone(), run), spawned.identity);
        let process = Process::new(name, identity, spawned.pidfd, spawned.group, memory_max);
        let process = process.map_err(|source| {
            // Unwatched it would run on after its tier has been given up.
            kill_unwatched(identity);
            StartError::Watch { id: id.clone(), pid: identity.pid, source }
        })?;
        let process = Arc::new(process.seen_to_start());
        let before = self.slots().insert(id, Slot::Running(Arc::clone(&process)));
        match before {
            Some(Slot::Starting(pending)) => Ok((process, pending)),
            Some(Slot::Running(_)) | None => Ok((process, None)),
        }
    }

    fn terminate(process: &Process) -> bool {
        process.signal(Signal::TERM).unwrap_or_else(|error| {
            tracing::error!("could not send SIGTERM to {}: {error}", process.id);
            false
        })
    }

    async fn kill(&self, process: &Process) {
        let over = process.over.lock().await;
        if *over {
            return;
        }
        let left = self.sweep(process).await;
        drop(over);
        self.report_left(process, left).await;
    }

    async fn sweep(&self, process: &Process) -> Vec<Pid> {
        let target = process.target(&self.host.owner);
        let id = &process.id;
        blocking(move || sweep::sweep(&target)).await.unwrap_or_else(|error| {
            tracing::error!("could not kill all that belongs to {id}: {error}");
            Vec::new()
        })
    }

    async fn report_left(&self, process: &Process, left: Vec<Pid>) {
        if !left.is_empty() {
            let (id, run) = (process.id.clone(), process.run);
            self.send(SupervisorEvent::KillUnfinished { id, run, left }).await;
        }
    }

    /// Waits for the end of a process, kills what it leaves behind, then reports.
    async fn watch(&self, process: &Process) {
        let ended = tokio::select! {
            ended = process.ended() => ended,
            () = self.cancel.cancelled() => return,
        };
        if let Err(error) = ended {
            tracing::error!("could not wait for {}, which is killed: {error}", process.id);
        }
        // Before its number is free: its session and group are named by it.
        let mut over = process.over.lock().await;
        let left = self.sweep(process).await;
        *over = true;
        drop(over);
        let exit = process.exit().unwrap_or_else(|error| {
            tracing::error!("could not learn how {} ended: {error}", process.id);
            Exit::Unknown
        });
        let reason = self.reason(&process.id, &exit).await;
        self.slots().remove(&process.id);
        self.report_left(process, left).await;
        let (id, run) = (process.id.clone(), process.run);
        self.send(SupervisorEvent::Exited { id, run, exit, reason }).await;
    }

    /// What the shim wrote, when it was the shim that ended.
    async fn reason(&self, id: &ProcessId, exit: &Exit) -> Option<String> {
        let codes = [shim::EXIT_SETUP, shim::EXIT_NOT_EXECUTABLE, shim::EXIT_NOT_FOUND];
        if !codes.iter().any(|&code| *exit == Exit::Code(i32::from(code))) {
            return None;
        }
        let (host, id) = (Arc::clone(&self.host), id.clone());
        blocking(move || host.records.take_failure(&id)).await.unwrap_or_else(|error| {
            tracing::warn!("{}", chain(&error));
            None
        })
    }
}

impl Host {
    fn retire(&self, id: &ProcessId) {
        let removed = [self.directories.remove(id), self.records.remove(id)];
        for error in removed.into_iter().filter_map(Result::err) {
            tracing::warn!("{id} is retired, but {}", chain(&error));
        }
        let limits = self.base.as_ref().map(|base| base.remove(id));
        if let Some(Err(error)) = limits {
            tracing::warn!("could not remove the control group of {id}: {error}");
        }
    }
}

fn kill_unwatched(identity: Identity) {
    let killed = sweep::open(identity).and_then(|pidfd| {
        let Some(pidfd) = pidfd else { return Ok(()) };
        rustix::process::pidfd_send_signal(&pidfd, Signal::KILL)?;
        process::wait(&pidfd)
    });
    if let Err(error) = killed {
        tracing::error!("could not kill pid {}, which nobody watches: {error}", identity.pid);
    }
}

/// Tells this agent's processes from those of another agent on the host.
fn owner(state_dir: &Utf8Path) -> Result<String, SupervisorError> {
    let real = state_dir
        .canonicalize_utf8()
        .map_err(|source| SupervisorError::Proc { what: "the real path of state_dir", source })?;
    let hash = ring::digest::digest(&ring::digest::SHA256, real.as_str().as_bytes());
    let first = hash.as_ref()[..8].iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    Ok(format!("{first:016x}"))
}

/// Runs `work` where blocking is allowed. A panic in it is passed on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is going down cancels one; then nobody waits for the answer.
            Err(_) => std::future::pending().await,
        },
    }
}
