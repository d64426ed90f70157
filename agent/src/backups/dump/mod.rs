//! Logical dumps: `pg_dump` or `mysqldump` streamed into the bucket, compressed and encrypted on
//! the way, in memory that does not grow with the database. Nothing is on this host's disk, and
//! nothing is a dump before its manifest is there. Whether one is good enough is the core's to say.

pub mod child;
pub mod clients;
pub mod error;
pub mod facts;
pub mod fetch;
mod marks;
pub mod pipeline;
mod reading;
pub mod restore;
pub mod session;
mod shelf;

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};

use camino::Utf8PathBuf;
use futures_util::future::FusedFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use groundcrew_core::backups::Kind;
use groundcrew_core::backups::backup::{Backup, TAG_HOLD, Tag};
use groundcrew_core::backups::call::{CallError, Put, Ticket};
use groundcrew_core::backups::proof::{DumpFacts, Inspection};
use groundcrew_core::backups::settings::BackupSettings;
use groundcrew_core::backups::slot::Slot;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::manifest::{Draft, Manifest, SealNote, Server};
use super::objects::Objects;
use super::seal::Seal;
use super::secrets;
use crate::aws::kms::Kms;
use crate::aws::s3::{Completed, Multipart, Part, PartBody, S3Error};
use child::{Client, complaint};
use clients::Clients;
pub use error::DumpError;
use pipeline::Passed;
use session::Session;
use shelf::Shelf;

/// Parts that are sent at once. Each is in memory until S3 has it.
const PARTS_AT_ONCE: usize = 2;
/// Uploads that wait for their commit. A job has one.
const UPLOADS_MAX: usize = 4;
/// Bytes between the client and the reader: fewer turns of both.
const PIPE_BYTES: usize = 1024 * 1024;
/// Where large parts and scratch servers are kept when nobody said where.
const DIRECTORY: &str = "/var/tmp";

/// The dumps of one job.
#[derive(Debug)]
pub struct Dumps {
    settings: Arc<BackupSettings>,
    shelf: Shelf,
    kms: Kms,
    uploads: Mutex<BTreeMap<Ticket, Arc<tokio::sync::Mutex<Upload>>>>,
}

/// All parts of a dump, which nobody can see yet.
#[derive(Debug)]
struct Upload {
    multipart: Multipart,
    parts: Vec<Part>,
    draft: Draft,
    completed: bool,
}

/// What came of a client and of its output.
struct Streamed {
    passed: Passed,
    parts: Vec<Part>,
    status: ExitStatus,
    said: String,
}

impl Dumps {
    /// Asks nobody anything until something is.
    #[must_use]
    pub fn connect(settings: Arc<BackupSettings>, objects: Arc<Objects>) -> Self {
        let shelf = Shelf::new(objects, settings.job.name.clone());
        Self { settings, shelf, kms: Kms::connect(None), uploads: Mutex::default() }
    }

    /// Dumps into an upload that waits for [`Dumps::commit`] under `ticket`. Once `stop` fires, the
    /// client is killed and the upload aborted.
    pub async fn dump(
        &self,
        ticket: Ticket,
        slot: Slot,
        epoch: u64,
        stop: CancellationToken,
    ) -> Result<Box<DumpFacts>, CallError> {
        let dumped = self.try_dump(ticket, slot, epoch, &stop).await;
        dumped.map(Box::new).map_err(|error| error.call_error())
    }

    async fn try_dump(
        &self,
        ticket: Ticket,
        slot: Slot,
        epoch: u64,
        stop: &CancellationToken,
    ) -> Result<DumpFacts, DumpError> {
        let (id, kind) = (slot.to_string(), self.settings.job.kind);
        let session = self.session().await?;
        let found = clients::find(kind, stop).await;
        let mut server = ask_any(kind, &session, &found, stop).await?;
        let clients = clients::choose_for(&found, kind, tool(kind), &server)?;
        let previous_bytes = self.previous(&id).await?;
        let context = context(&self.settings, &id);
        let (seal, note) = Seal::make(&self.settings.encryption, &self.kms, &context).await?;
        let data = Shelf::data_name(epoch, ticket);
        let bucket = self.shelf.bucket().await?;
        let multipart = bucket.begin_multipart(self.shelf.key(&id, &data)).await?;
        let streamed = self.stream(&session, &clients, seal, &multipart, stop).await;
        let Streamed { passed, parts, status, said } = match streamed {
            Ok(streamed) => streamed,
            Err(error) => {
                abandon(&multipart).await;
                return Err(error);
            }
        };
        if status.success() {
            server.settle(self.server_now(&found, stop).await.as_ref());
        }
        let facts = DumpFacts {
            exit_code: status.code(),
            complaint: complaint(&said, status.success()),
            bytes: passed.plain.bytes,
            stored_bytes: passed.stored.bytes,
            trailer: passed.trailer,
            previous_bytes,
        };
        let draft = Draft {
            job: self.settings.job.name.clone(),
            slot: id,
            kind,
            data,
            created_s: crate::clock::wall().0.div_euclid(1000),
            plain: passed.plain,
            stored: passed.stored,
            seal: note,
            server,
            client_major: clients.major,
            tools: vec![clients.version, own_version()],
        };
        self.keep(ticket, Upload { multipart, parts, draft, completed: false }).await;
        Ok(facts)
    }

    /// What the server says now, if it can be had. Signed in anew: a token of IAM is good for
    /// minutes, and a dump takes hours.
    async fn server_now(&self, found: &[Clients], stop: &CancellationToken) -> Option<Server> {
        let session = self.session().await.ok()?;
        ask_any(self.settings.job.kind, &session, found, stop).await.ok()
    }

    /// Remembers an upload until it is committed or aborted.
    async fn keep(&self, ticket: Ticket, upload: Upload) {
        let dropped = {
            let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            uploads.insert(ticket, Arc::new(tokio::sync::Mutex::new(upload)));
            if uploads.len() > UPLOADS_MAX { uploads.pop_first() } else { None }
        };
        if let Some((_, upload)) = dropped {
            abandon(&upload.lock().await.multipart).await;
        }
    }

    async fn session(&self) -> Result<Session, DumpError> {
        let BackupSettings { job, connection, .. } = &*self.settings;
        let none = || DumpError::NoConnection { job: job.name.to_string() };
        let connection = connection.as_ref().ok_or_else(none)?;
        let login = secrets::login(connection).await?;
        Ok(Session::open(job.kind, connection, &job.database, login)?)
    }

    /// Bytes of the newest dump of another slot.
    async fn previous(&self, id: &str) -> Result<Option<u64>, DumpError> {
        let ids = self.shelf.ids().await?;
        let Some(before) = ids.iter().rfind(|before| before.as_str() < id) else { return Ok(None) };
        match self.shelf.read(before).await {
            Ok(stored) => Ok(stored.map(|stored| stored.manifest.plain.bytes)),
            // Then there is nothing to compare with, which must not keep others from being made.
            Err(DumpError::Manifest(error)) => {
                tracing::warn!(error = %crate::errors::Chain(&error), "not compared with");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn stream(
        &self,
        session: &Session,
        clients: &Clients,
        seal: Seal,
        multipart: &Multipart,
        stop: &CancellationToken,
    ) -> Result<Streamed, DumpError> {
        let kind = self.settings.job.kind;
        let program = clients.program(clients.dump);
        let failed = |operation, object: &str| {
            let object = object.to_owned();
            move |source| DumpError::Bytes { operation, object, source }
        };
        let (reader, writer) =
            std::io::pipe().map_err(failed("make a pipe for", program.as_str()))?;
        // A smaller one works as well.
        let _ = rustix::pipe::fcntl_setpipe_size(&reader, PIPE_BYTES);
        let mut command = session.command(&program, clients);
        command.args(arguments(kind, clients, session.database())).stdout(writer);
        let mut client = Client::start(&program, command)?;
        let (sender, receiver) = mpsc::channel(1);
        let directory = directory(&self.settings);
        let read = move || pipeline::run(reader, kind, &seal, sender, directory);
        let mut work = tokio::task::spawn_blocking(read).fuse();
        let all = async {
            let (passed, parts, ended) =
                tokio::join!(&mut work, send(multipart, receiver), client.wait());
            // What the bucket said is the cause of what became of the others.
            let parts = parts?;
            let passed = joined(passed).map_err(failed("read what comes of", program.as_str()))?;
            let (status, said) = ended?;
            Ok(Streamed { passed, parts, status, said })
        };
        let stopped = tokio::select! {
            streamed = all => return streamed,
            () = stop.cancelled() => DumpError::Stopped,
        };
        client.kill();
        // It ends with the client, if it has not yet; what came of it does not matter any more.
        if !work.is_terminated() {
            drop(work.await);
        }
        Err(stopped)
    }

    /// Makes a dump visible: its object first, then its manifest. What is done already is done.
    pub async fn commit(
        &self,
        slot: Slot,
        ticket: Ticket,
        tags: Vec<Tag>,
    ) -> Result<Put, CallError> {
        self.try_commit(slot, ticket, tags).await.map_err(|error| error.call_error())
    }

    async fn try_commit(
        &self,
        slot: Slot,
        ticket: Ticket,
        tags: Vec<Tag>,
    ) -> Result<Put, DumpError> {
        let upload = {
            let uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            uploads.get(&ticket).cloned()
        };
        let Some(upload) = upload else {
            // It was committed, and the answer was lost.
            let there = self.shelf.read(&slot.to_string()).await?.is_some();
            return if there { Ok(Put::Exists) } else { Err(DumpError::NoUpload(ticket)) };
        };
        // A second commit waits here for what becomes of the first one.
        let mut upload = upload.lock().await;
        if !upload.completed {
            self.complete(&upload).await?;
            upload.completed = true;
        }
        let put = self.shelf.write(&Manifest::new(&upload.draft, tags)).await?;
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
        Ok(put)
    }

    async fn complete(&self, upload: &Upload) -> Result<(), DumpError> {
        match upload.multipart.complete(&upload.parts).await? {
            Completed::Done => return Ok(()),
            Completed::Exists | Completed::NoUpload => {}
        }
        // Nobody else writes to this key: either the answer to the request before this was lost, or
        // somebody has aborted the upload.
        let key = upload.multipart.key();
        let head = self.shelf.bucket().await?.head(key).await?;
        if head.is_some_and(|head| head.size == upload.draft.stored.bytes) {
            return Ok(());
        }
        Err(DumpError::Gone { key: key.to_owned() })
    }

    /// Drops what was uploaded under a ticket, if anything was. What is completed stays: its
    /// manifest may be there, and the answer lost. It goes when the slot's dump is deleted.
    pub async fn abort(&self, ticket: Ticket) {
        let upload = {
            let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            uploads.remove(&ticket)
        };
        let Some(upload) = upload else { return };
        let upload = upload.lock().await;
        if !upload.completed {
            abandon(&upload.multipart).await;
        }
    }

    /// The dump of a slot, if it has one.
    pub async fn look(&self, id: &str) -> Result<Option<Box<Backup>>, CallError> {
        let seen = self.shelf.look(id).await.map_err(|error| error.call_error())?;
        Ok(seen.map(Box::new))
    }

    /// All dumps of the job.
    pub async fn list(&self) -> Result<Vec<Backup>, CallError> {
        self.shelf.list().await.map_err(|error| error.call_error())
    }

    /// Deletes a dump, unless it is kept or read. What is not there is deleted.
    pub async fn delete(&self, id: &str) -> Result<(), CallError> {
        self.shelf.delete(id).await.map_err(|error| error.call_error())
    }

    /// Sets the tag that keeps a dump; one without a value is taken away. Dumps have no other that
    /// changes: who reads one says so by itself.
    pub async fn mark(&self, id: &str, tags: &[Tag]) -> Result<(), CallError> {
        let work = async {
            if let Some((name, _)) = tags.iter().find(|(name, _)| name != TAG_HOLD) {
                return Err(DumpError::Mark { name: name.clone() });
            }
            let change = |marks: &mut marks::DumpMarks| {
                for (_, reason) in tags {
                    marks.hold(reason);
                }
            };
            self.shelf.mark(id, change).await
        };
        work.await.map_err(|error| error.call_error())
    }

    /// What L0 asks about a dump.
    pub async fn inspect(&self, id: &str) -> Result<Box<Inspection>, CallError> {
        let inspected = self.try_inspect(id).await;
        inspected.map(Box::new).map_err(|error| error.call_error())
    }

    async fn try_inspect(&self, id: &str) -> Result<Inspection, DumpError> {
        let none = Inspection { backup: None, encrypted: false, key_state: None, copies: vec![] };
        let Some(stored) = self.shelf.read(id).await? else { return Ok(none) };
        let manifest = stored.manifest;
        let key = self.shelf.key(id, &manifest.data);
        let there = self.shelf.bucket().await?.head(&key).await?;
        if there.is_none_or(|head| head.size != manifest.stored.bytes) {
            // A manifest without its data is no backup.
            return Ok(none);
        }
        let key_state = match &manifest.seal {
            SealNote::Kms { key, .. } => Some(self.kms.describe_key(key).await),
            SealNote::None | SealNote::Age(_) => None,
        };
        let key_state = key_state.transpose().map_err(|error| DumpError::Call(error.into()))?;
        let encrypted = manifest.seal != SealNote::None;
        let backup = Some(self.shelf.marked(&manifest).await?);
        Ok(Inspection { backup, encrypted, key_state, copies: Vec::new() })
    }

    /// What is proved and restored with.
    pub(super) fn parts(&self) -> (&Arc<BackupSettings>, &Shelf, &Kms) {
        (&self.settings, &self.shelf, &self.kms)
    }
}

/// Sends the parts as they come, some at once.
async fn send(
    multipart: &Multipart,
    receiver: mpsc::Receiver<PartBody>,
) -> Result<Vec<Part>, S3Error> {
    let bodies = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|body| (body, receiver))
    });
    let numbered = bodies.zip(stream::iter(1..));
    let parts = numbered.map(|(body, number)| multipart.put_part(number, body));
    parts.buffered(PARTS_AT_ONCE).try_collect().await
}

async fn abandon(multipart: &Multipart) {
    if let Err(error) = multipart.abort().await {
        tracing::warn!(error = %crate::errors::Chain(&error), "parts are left behind");
    }
}

/// Asks a server through the first client that can: which one does not matter for questions.
pub(super) async fn ask_any(
    kind: Kind,
    session: &Session,
    found: &[Clients],
    stop: &CancellationToken,
) -> Result<Server, DumpError> {
    let able = found.iter().find(|clients| clients.program(clients.asker(kind)).is_file());
    let able = able.ok_or(clients::ClientsError::None { tool: tool(kind) })?;
    let failed = |source| DumpError::Facts { database: session.database().to_owned(), source };
    facts::ask_server(kind, session, able, stop).await.map_err(failed)
}

/// Where this job may write, for a while.
pub(super) fn directory(settings: &BackupSettings) -> Utf8PathBuf {
    settings.proof.directory.as_deref().unwrap_or(DIRECTORY).into()
}

/// What KMS binds a data key to: it opens this dump and no other.
pub(super) fn context(settings: &BackupSettings, id: &str) -> Vec<(String, String)> {
    let pair = |name: &str, value: String| (name.to_owned(), value);
    let job = settings.job.name.to_string();
    vec![pair("groundcrew:job", job), pair("groundcrew:slot", id.to_owned())]
}

const fn tool(kind: Kind) -> &'static str {
    match kind {
        Kind::PgDump | Kind::RdsSnapshot => "pg_dump",
        Kind::MysqlDump => "mysqldump",
    }
}

fn own_version() -> String {
    format!("groundcrew {}, zstd {}", env!("CARGO_PKG_VERSION"), zstd::zstd_safe::version_string())
}

/// What is dumped, and how. Without the password, which is never an argument.
fn arguments(kind: Kind, clients: &Clients, database: &str) -> Vec<String> {
    let all: &[&str] = match kind {
        Kind::PgDump | Kind::RdsSnapshot => {
            &["--format=custom", "--compress=0", "--lock-wait-timeout=300000", "--no-password"]
        }
        Kind::MysqlDump => &[
            "--single-transaction",
            "--quick",
            "--routines",
            "--triggers",
            "--events",
            "--hex-blob",
            "--no-tablespaces",
            "--default-character-set=utf8mb4",
        ],
    };
    let mut all: Vec<String> = all.iter().map(|&text| text.to_owned()).collect();
    if kind == Kind::MysqlDump {
        if !clients.mariadb {
            // What a server that is restored to would refuse, or one of another maker cannot
            // answer.
            all.extend(["--set-gtid-purged=OFF", "--column-statistics=0"].map(str::to_owned));
        }
        all.extend(["--".to_owned(), database.to_owned()]);
    }
    all
}

/// What a blocking thread came to. One that panicked did not read to the end.
fn joined<T>(work: Result<std::io::Result<T>, tokio::task::JoinError>) -> std::io::Result<T> {
    work.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
