//! Starts one process: its directories, its environment, its record, its control group, the shim.
//! Blocking (the kernel holds the caller until the shim runs), so never on the event loop.
//!
//! The agent's own environment holds the host's credentials: nothing of it is ever passed on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::spec::TierPlan;
use groundcrew_core::types::{Pid, ProcessId, ReleaseRef, Run};
use rustix::process::{PidfdFlags, pidfd_open};

use super::cgroup::{Base, Group};
use super::directories::{self, Directories};
use super::record::{Identity, Record, Records};
use super::shim::Orders;
use super::sweep::{ENV_OWNER, ENV_PROCESS, ENV_RUN};
use super::user::{Account, UserError};
use crate::errors::chain;
use crate::fsx::{About, FileError};
use crate::procfs;

/// Open files allowed to a process. Each connection is one, and so is each upstream connection.
const NOFILE: u64 = 65_536;
/// Mode of a log file that does not exist yet: it may hold personal data.
const LOG_MODE: u32 = 0o640;

/// A process that is to be started.
#[derive(Debug)]
pub struct StartRequest {
    /// Which process.
    pub id: ProcessId,
    /// Which of its starts.
    pub run: Run,
    /// The release it runs.
    pub release: ReleaseRef,
    /// The release's directory, the process's working directory.
    pub directory: Utf8PathBuf,
    /// Its tier.
    pub plan: TierPlan,
    /// A duplicate of the tier's listening socket.
    pub socket: Option<OwnedFd>,
    /// Variables of the handoff; stronger than the release's.
    pub environment: Vec<(String, String)>,
    /// The file its stdout is appended to.
    pub stdout: Utf8PathBuf,
    /// The file its stderr is appended to; may be the same.
    pub stderr: Utf8PathBuf,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its user.
    #[error(transparent)]
    User(#[from] UserError),
    /// A directory, a log file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A variable that no environment can hold.
    #[error("the environment variable {0:?} has a name or a value that cannot be passed on")]
    Variable(String),
    /// An argument that no command can hold.
    #[error("the command has an argument with a NUL byte")]
    Argument,
    /// The shim.
    #[error("could not run {program} to start {id}")]
    Spawn {
        /// The agent's binary.
        program: Utf8PathBuf,
        /// What was to be started.
        id: ProcessId,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The process was there and cannot be watched; it was killed again.
    #[error("could not watch {id}, pid {pid}")]
    Watch {
        /// Which process.
        id: ProcessId,
        /// Its number.
        pid: Pid,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

/// What stays the same from start to start.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) directories: Directories,
    pub(super) records: Records,
    pub(super) base: Option<Base>,
    /// The agent's binary.
    pub(super) program: Utf8PathBuf,
    /// `PATH` of the processes.
    pub(super) path: String,
    pub(super) owner: String,
    pub(super) boot_id: String,
}

/// A process that was started.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) identity: Identity,
    pub(super) pidfd: OwnedFd,
    pub(super) group: Option<Group>,
    /// What went wrong and does not matter yet.
    pub(super) warnings: Vec<String>,
}

impl Host {
    /// Starts a process. Its id must have no living process, and no other start under way.
    pub(super) fn spawn(&self, request: StartRequest) -> Result<Spawned, StartError> {
        let account = Account::find(request.plan.host.user.as_deref())?;
        let own = self.directories.make(&request.id, account.uid, account.gid)?;
        let environment = self.environment(&request, &account, &own)?;
        let stdout = append_to(&request.stdout)?;
        let stderr = if request.stderr == request.stdout {
            stdout.try_clone().about("open", &request.stderr)?
        } else {
            append_to(&request.stderr)?
        };
        let mut warnings = Vec::new();
        let group = self.group(&request, &mut warnings);
        let mut record = Record {
            id: request.id.clone(),
            run: request.run,
            release: request.release.clone(),
            plan: request.plan.clone(),
            boot_id: self.boot_id.clone(),
            cgroup: group.as_ref().map(|group| group.directory().to_owned()),
            process: None,
        };
        let mut remember = |record: &Record| {
            // A tier must come back all the same. The next agent would not know this process, kill
            // it and start another: slower, never two.
            if let Err(error) = self.records.write(record) {
                warnings.push(format!("{} runs without a record: {}", record.id, chain(&error)));
            }
        };
        remember(&record);
        let orders = self.orders(&request, &account, group.as_ref())?;
        let (identity, pidfd) = self.run_shim(request, orders, environment, stdout, stderr)?;
        record.process = Some(identity);
        remember(&record);
        Ok(Spawned { identity, pidfd, group, warnings })
    }

    fn group(&self, request: &StartRequest, warnings: &mut Vec<String>) -> Option<Group> {
        let base = self.base.as_ref()?;
        match base.group(&request.id, &request.plan.host) {
            Ok(group) => Some(group),
            Err(error) => {
                let reason = chain(&error);
                warnings.push(format!("{} runs without a control group: {reason}", request.id));
                None
            }
        }
    }

    fn orders(
        &self,
        request: &StartRequest,
        account: &Account,
        group: Option<&Group>,
    ) -> Result<Orders, StartError> {
        let command = request.plan.spec.command.clone();
        if command.iter().any(|argument| argument.contains('\0')) {
            return Err(StartError::Argument);
        }
        let own = std::process::id();
        Ok(Orders {
            agent: Pid::try_from(own).unwrap_or(Pid::MAX),
            directory: request.directory.to_string(),
            failure: self.records.failure_path(&request.id).to_string(),
            cgroups: group.map(|group| group.procs().to_string()).into_iter().collect(),
            run_as: account.run_as(),
            nofile: Some(NOFILE),
            listen: request.socket.as_ref().map(|_| request.id.tier.to_string()),
            command,
        })
    }

    fn run_shim(
        &self,
        request: StartRequest,
        orders: Orders,
        environment: BTreeMap<String, String>,
        stdout: File,
        stderr: File,
    ) -> Result<(Identity, OwnedFd), StartError> {
        let id = request.id;
        #[expect(clippy::disallowed_methods, reason = "the supervisor is who starts processes")]
        let mut command = Command::new(&self.program);
        command.arg0("groundcrew").args(orders.to_arguments());
        command.env_clear().envs(environment);
        command.stdin(request.socket.map_or_else(Stdio::null, Stdio::from));
        command.stdout(stdout).stderr(stderr);
        let child = command.spawn().map_err(|source| StartError::Spawn {
            program: self.program.clone(),
            id: id.clone(),
            source,
        })?;
        // Nobody else waits for it, so the number is its own until the watch has reaped it.
        let pid = Pid::try_from(child.id()).unwrap_or(Pid::MAX);
        identify(pid).map_err(|source| {
            kill_and_reap(child);
            StartError::Watch { id, pid, source }
        })
    }

    fn environment(
        &self,
        request: &StartRequest,
        account: &Account,
        own: &directories::Own,
    ) -> Result<BTreeMap<String, String>, StartError> {
        let base = [
            ("PATH", self.path.as_str()),
            ("HOME", account.home.as_str()),
            ("USER", &account.name),
            ("LOGNAME", &account.name),
            ("SHELL", account.shell.as_str()),
            ("LANG", "C.UTF-8"),
            ("TMPDIR", own.temporary.as_str()),
        ];
        let spec = &request.plan.spec;
        let (id, run) = (request.id.to_string(), request.run.to_string());
        let probe = own.run.join(directories::PROBE_SOCKET);
        let port = spec.port.map(|port| port.to_string());
        let protocol = [
            (ENV_PROCESS, Some(id.as_str())),
            (ENV_RUN, Some(run.as_str())),
            (ENV_OWNER, Some(self.owner.as_str())),
            ("GROUNDCREW_RELEASE", Some(request.release.version.as_str())),
            ("GROUNDCREW_PROBE", Some(probe.as_str())),
            ("PORT", port.as_deref()),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut environment: BTreeMap<String, String> = base.into_iter().map(owned).collect();
        environment.extend(spec.env.clone());
        environment.extend(request.environment.iter().cloned());
        let protocol = protocol.into_iter().filter_map(|(name, value)| Some((name, value?)));
        environment.extend(protocol.map(owned));
        let passable = |(name, value): (&String, &String)| {
            !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
        };
        match environment.iter().find(|variable| !passable(*variable)) {
            // The name alone: the value may be a secret.
            Some((name, _)) => Err(StartError::Variable(name.clone())),
            None => Ok(environment),
        }
    }
}

fn identify(pid: Pid) -> io::Result<(Identity, OwnedFd)> {
    let raw = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(raw, PidfdFlags::NONBLOCK)?;
    let start_ticks = procfs::stat(pid)?.start_ticks;
    Ok((Identity { pid, start_ticks }, pidfd))
}

fn kill_and_reap(mut child: std::process::Child) {
    // Both only fail when it is gone already.
    drop(child.kill());
    drop(child.wait());
}

/// Opens a log file to append to. Nothing on the way may be a link that a process has put there.
fn append_to(path: &Utf8Path) -> Result<File, FileError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(LOG_MODE)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NOCTTY)
        .open(path)
        .about("open", path)
}
