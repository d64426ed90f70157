//! A PostgreSQL server of its own for one restore: in a private directory, as a user who may
//! nothing else, reached by its unix socket alone, without a thought for what a power cut would
//! lose. It goes when it was used, and what an agent that died has left goes when the next one
//! starts.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::backups::Kind;
use groundcrew_core::backups::settings::{Connection, Password, Tls};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use rustix::fs::{FlockOperation, flock, statvfs};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::backups::dump::DumpError;
use crate::backups::dump::child::{Client, ask, command, complaint};
use crate::backups::dump::clients::Clients;
use crate::backups::dump::restore::statement;
use crate::backups::dump::session::Session;
use crate::backups::secrets::Login;
use crate::errors::Chain;
use crate::fsx::About;

/// Who may do everything in it.
pub const SUPERUSER: &str = "postgres";
/// What its directory is called, with something random after it.
const PREFIX: &str = "groundcrew-proof-";
/// Whose processes it is, on the host: the first of these that there is.
const USERS: [&str; 2] = ["postgres", "nobody"];
/// How long it may take to be made.
const INIT_WITHIN: Duration = Duration::from_mins(2);
/// How long it may take until it answers.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Pause between two looks whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long it may take to end.
const END_WITHIN: Duration = Duration::from_secs(20);
/// Entries of a directory that are looked at for what was left.
const ENTRIES_MAX: usize = 10_000;
/// Bytes of its log that are read for what kept it from starting.
const LOG_BYTES: u64 = 8 * 1024;

/// One server.
#[derive(Debug)]
pub struct Scratch {
    directory: Utf8PathBuf,
    /// Locked while this agent lives: whoever gets the lock may remove the directory.
    lock: File,
    server: Option<Client>,
}

/// Whether a server stands beside the clients.
pub fn has_server(clients: &Clients) -> bool {
    let there = |name: &&str| clients.program(name).is_file();
    ["initdb", "postgres", "psql", "pg_restore"].iter().all(there)
}

impl Scratch {
    /// Makes one below `parent`, where `needed` bytes have to be free, and waits until it answers.
    pub async fn start(
        parent: &Utf8Path,
        clients: &Clients,
        needed: u64,
        stop: &CancellationToken,
    ) -> Result<Self, DumpError> {
        let user = user()?;
        let mut scratch = Self::make(parent, user.as_ref(), needed)?;
        let data = scratch.directory.join("data");
        let initdb = clients.program("initdb");
        let mut made = as_user(&initdb, user.as_ref());
        made.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        made.args(["--username", SUPERUSER, "--pgdata", data.as_str()]);
        ask(&initdb, made, String::new(), INIT_WITHIN, stop).await?;
        let postgres = clients.program("postgres");
        let mut started = as_user(&postgres, user.as_ref());
        started.args(["-D", data.as_str(), "-k", scratch.directory.as_str()]);
        for setting in [
            "listen_addresses=",
            "unix_socket_permissions=0700",
            "fsync=off",
            "full_page_writes=off",
            "synchronous_commit=off",
            "wal_level=minimal",
            "max_wal_senders=0",
            "autovacuum=off",
            "max_connections=20",
            "shared_buffers=32MB",
            "maintenance_work_mem=32MB",
            // A hostile dump would fill the disk with its own errors.
            "log_min_messages=fatal",
            "log_min_error_statement=panic",
        ] {
            started.args(["-c", setting]);
        }
        let log = scratch.directory.join("log");
        let file = File::create(&log).about("create", &log)?;
        started.stderr(file);
        scratch.server = Some(Client::start(&postgres, started)?);
        scratch.ready(clients, &log, stop).await?;
        Ok(scratch)
    }

    /// The private directory, locked.
    fn make(parent: &Utf8Path, user: Option<&User>, needed: u64) -> Result<Self, DumpError> {
        crate::fsx::create_dirs(parent, 0o755)?;
        sweep(parent);
        let space = statvfs(parent.as_std_path()).about("ask for the space in", parent)?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < needed {
            return Err(DumpError::Space { directory: parent.to_owned(), free, needed });
        }
        let mode = fs::Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix(PREFIX).permissions(mode).tempdir_in(parent);
        let made = made.about("create a directory in", parent)?.keep();
        let utf8 = |_| io::Error::other("its name is not UTF-8");
        let directory = Utf8PathBuf::from_path_buf(made).map_err(utf8);
        let directory = directory.about("use a directory in", parent)?;
        let lock = File::open(&directory).about("open", &directory)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).about("lock", &directory)?;
        let scratch = Self { directory, lock, server: None };
        if let Some(user) = user {
            let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
            chown(&scratch.directory, uid, gid).about("give away", &scratch.directory)?;
        }
        Ok(scratch)
    }

    async fn ready(
        &mut self,
        clients: &Clients,
        log: &Utf8Path,
        stop: &CancellationToken,
    ) -> Result<(), DumpError> {
        let session = self.session(SUPERUSER, "postgres")?;
        let not_here = |why: String| DumpError::NotHere { why };
        let answers = async {
            loop {
                let kind = Kind::PgDump;
                if statement(&session, clients, kind, "select 1", stop).await.is_ok() {
                    return Ok(());
                }
                if self.server.as_mut().is_none_or(Client::has_ended) {
                    let said = start_of(log);
                    let said = complaint(&said, false).unwrap_or_default();
                    return Err(not_here(format!("the scratch server did not start: {said}")));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let answered = tokio::time::timeout(READY_WITHIN, answers).await;
        answered.unwrap_or_else(|_| Err(not_here("the scratch server does not answer".to_owned())))
    }

    /// The way in, as one of its users.
    pub fn session(&self, user: &str, database: &str) -> Result<Session, DumpError> {
        let connection = Connection {
            host: self.directory.to_string(),
            port: 5432,
            user: user.to_owned(),
            password: Password::None,
            tls: Tls::Off,
            tls_ca_file: None,
        };
        let login = Login { user: user.to_owned(), password: None, is_token: false };
        Ok(Session::open(Kind::PgDump, &connection, database, login)?)
    }

    /// Ends it and removes everything.
    pub async fn end(mut self) {
        if let Some(mut server) = self.server.take() {
            // There is nothing in it that anybody will miss.
            server.signal(Signal::SIGQUIT);
            if tokio::time::timeout(END_WITHIN, server.wait()).await.is_err() {
                tracing::warn!("a scratch server did not end, and is killed");
            }
        }
        // Removing a restored database takes its time.
        drop(tokio::task::spawn_blocking(move || drop(self)).await);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // First the server, which would write into what is being removed.
        drop(self.server.take());
        if let Err(error) = fs::remove_dir_all(&self.directory).about("remove", &self.directory) {
            // It is tried again by the next one.
            tracing::warn!(error = %Chain(&error), "a scratch server's files are left");
        }
        // The lock held until here.
        let _ = &self.lock;
    }
}

/// Removes what servers of agents that died have left in `parent`, and ends them first.
pub fn sweep(parent: &Utf8Path) {
    let Ok(entries) = parent.read_dir_utf8() else { return };
    let entries = entries.take(ENTRIES_MAX).filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_name().starts_with(PREFIX)) {
        let directory = entry.path();
        // Nobody may have put a link there that leads elsewhere.
        let real = fs::symlink_metadata(directory).is_ok_and(|meta| meta.is_dir() && is_own(&meta));
        let Some(lock) = real.then(|| File::open(directory).ok()).flatten() else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            // It is in use.
            continue;
        }
        end_left(directory);
        match fs::remove_dir_all(directory).about("remove", directory) {
            Ok(()) => tracing::info!(%directory, "a scratch server that was left is removed"),
            Err(error) => tracing::warn!(error = %Chain(&error), "it is tried again later"),
        }
    }
}

/// Whether this agent, or the user that its servers run as, has made it.
fn is_own(meta: &fs::Metadata) -> bool {
    let user = user().ok().flatten().map(|user| user.uid.as_raw());
    meta.uid() == Uid::effective().as_raw() || Some(meta.uid()) == user
}

/// Kills the server that still runs in a directory, if one does.
fn end_left(directory: &Utf8Path) {
    let file = directory.join("data/postmaster.pid");
    let text = start_of(&file);
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok()) else {
        return;
    };
    // The number may be another process's by now, and the file is its owner's to write: only what
    // was started with this directory is meant.
    let arguments = start_of(Utf8Path::new(&format!("/proc/{pid}/cmdline")));
    let mut arguments = arguments.split('\0');
    if pid > 1 && arguments.any(|argument| argument == directory.join("data").as_str()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// The beginning of a small file; nothing where there is none.
fn start_of(path: &Utf8Path) -> String {
    use std::io::Read;
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOG_BYTES).read_to_end(&mut start));
    drop(read);
    String::from_utf8_lossy(&start).into_owned()
}

/// Whom a server runs as: PostgreSQL refuses to be root. `None`: as the agent itself.
fn user() -> Result<Option<User>, DumpError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let found = USERS.into_iter().find_map(|name| User::from_name(name).ok().flatten());
    let none = || DumpError::NotHere { why: "there is no user to run a server as".to_owned() };
    found.map(Some).ok_or_else(none)
}

fn as_user(program: &Utf8Path, user: Option<&User>) -> Command {
    let mut command = command(program);
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}
