//! Carries a job's calls out: each goes to the part that knows how. Nothing is tried again here.

use std::future::Future;
use std::sync::Arc;

use groundcrew_core::backups::Kind;
use groundcrew_core::backups::call::{Answer, Call, CallError, CallErrorKind, Ticket};
use groundcrew_core::backups::settings::{BackupSettings, Store};
use groundcrew_core::time::Wall;
use tokio_util::sync::CancellationToken;

use crate::backups::dump::Dumps;
use crate::backups::objects::Objects;
use crate::backups::proof::{assert_at, clean_up};
use crate::backups::snapshots::Snapshots;

/// What carries calls out.
pub(super) trait Hands: Send + Sync + 'static {
    /// Makes a call. A dump or a proof ends early when it is told to stop.
    fn call(
        &self,
        ticket: Ticket,
        call: Call,
        stop: CancellationToken,
    ) -> impl Future<Output = Answer> + Send;

    /// Drops what a call made that was stopped.
    fn abort(&self, ticket: Ticket) -> impl Future<Output = ()> + Send;

    /// What time it is by AWS's clock, if that was seen just now.
    fn server_time(&self) -> Option<Wall>;
}

/// One for each job; what they remember is in one bucket.
pub(super) fn connect(store: &Store, jobs: &[BackupSettings]) -> Vec<AwsHands> {
    let objects = Arc::new(Objects::connect(store));
    jobs.iter().map(|settings| AwsHands::connect(&objects, settings)).collect()
}

/// Removes what scratch servers of earlier lives have left on this host.
pub(super) async fn clean(jobs: Vec<BackupSettings>) {
    let dumps = |job: &&BackupSettings| job.job.kind != Kind::RdsSnapshot;
    let all = move || jobs.iter().filter(dumps).for_each(clean_up);
    if let Err(error) = tokio::task::spawn_blocking(all).await {
        tracing::error!("what earlier proofs left is not removed: {error}");
    }
}

/// AWS, and the clients of this host.
pub(super) struct AwsHands {
    settings: Arc<BackupSettings>,
    objects: Arc<Objects>,
    maker: Maker,
}

/// What makes the backups of a job.
enum Maker {
    Snapshots(Box<Snapshots>),
    Dumps(Dumps),
}

impl AwsHands {
    fn connect(objects: &Arc<Objects>, settings: &BackupSettings) -> Self {
        let shared = Arc::new(settings.clone());
        let maker = match settings.job.kind {
            Kind::RdsSnapshot => {
                Maker::Snapshots(Box::new(Snapshots::connect(Arc::clone(&shared))))
            }
            Kind::PgDump | Kind::MysqlDump => {
                Maker::Dumps(Dumps::connect(Arc::clone(&shared), Arc::clone(objects)))
            }
        };
        Self { settings: shared, objects: Arc::clone(objects), maker }
    }

    /// Asks the assertions at what was restored. Without a way in, that it is available is all
    /// that is proved, and with nothing to ask as well.
    async fn ask(
        &self,
        snapshots: &Snapshots,
        id: &str,
        stop: &CancellationToken,
    ) -> Result<Vec<String>, CallError> {
        let proof = &self.settings.proof;
        let Some(restore) = &proof.restore else { return Err(none()) };
        if proof.assertions.is_empty() || restore.connection.is_none() {
            return Ok(Vec::new());
        }
        let Some(at) = snapshots.endpoint(id).await? else {
            return Ok(vec![format!("{id} has no endpoint")]);
        };
        let (host, speaks, database) = (&at.host, restore.speaks, &restore.database);
        assert_at(&self.settings, speaks, host, at.port, database, stop).await
    }
}

impl Hands for AwsHands {
    async fn call(&self, ticket: Ticket, call: Call, stop: CancellationToken) -> Answer {
        match call {
            Call::Read(key) => {
                Answer::Record(self.objects.read(&self.settings.job.name, &key).await)
            }
            Call::Write(record) => {
                Answer::Written(self.objects.write(&self.settings.job.name, &record).await)
            }
            Call::Lease(call) => Answer::Lease(self.objects.lease(&call).await),
            Call::Prove { level, id, .. } => Answer::Proved(match &self.maker {
                Maker::Dumps(dumps) => dumps.prove(level, &id, &|_, _| {}, &stop).await,
                Maker::Snapshots(snapshots) => self.ask(snapshots, &id, &stop).await,
            }),
            call => match &self.maker {
                Maker::Snapshots(snapshots) => Box::pin(of_snapshots(snapshots, call)).await,
                Maker::Dumps(dumps) => Box::pin(of_dumps(dumps, ticket, call, stop)).await,
            },
        }
    }

    async fn abort(&self, ticket: Ticket) {
        match &self.maker {
            Maker::Snapshots(_) => {}
            Maker::Dumps(dumps) => dumps.abort(ticket).await,
        }
    }

    fn server_time(&self) -> Option<Wall> {
        self.objects.server_time()
    }
}

async fn of_snapshots(snapshots: &Snapshots, call: Call) -> Answer {
    match call {
        Call::Database => Answer::Database(snapshots.database().await),
        Call::Look { place, id, target } => {
            Answer::Seen(snapshots.look(&place, &id, &target).await)
        }
        Call::List { place, target } => Answer::Listed(snapshots.list(&place, &target).await),
        Call::Snapshot { id, target, tags } => {
            Answer::Made(snapshots.snapshot(&id, &target, &tags).await)
        }
        Call::Copy { region, id, source, target, tags } => {
            Answer::Made(snapshots.copy(&region, &id, &source, &target, &tags).await)
        }
        Call::Delete { place, id, target } => {
            Answer::Deleted(snapshots.delete(&place, &id, &target).await)
        }
        Call::Inspect { id, target, copies } => {
            Answer::Inspected(snapshots.inspect(&id, &target, &copies).await)
        }
        Call::Mark { id, target, tags } => {
            Answer::Marked(snapshots.mark(&id, &target, &tags).await)
        }
        Call::Restore { id, from, target, until_s } => {
            Answer::Made(snapshots.restore(&id, &from, &target, until_s).await)
        }
        Call::Scratches => Answer::Scratches(snapshots.scratches().await),
        Call::Destroy { id } => Answer::Deleted(snapshots.destroy(&id).await),
        Call::Prove { .. } => Answer::Proved(Err(none())),
        Call::Dump { .. } => Answer::Dumped(Err(none())),
        Call::Commit { .. } => Answer::Committed(Err(none())),
        Call::Read(_) => Answer::Record(Err(none())),
        Call::Write(_) => Answer::Written(Err(none())),
        Call::Lease(_) => Answer::Deleted(Err(none())),
    }
}

async fn of_dumps(dumps: &Dumps, ticket: Ticket, call: Call, stop: CancellationToken) -> Answer {
    match call {
        Call::Look { id, .. } => Answer::Seen(dumps.look(&id).await),
        Call::List { .. } => Answer::Listed(dumps.list().await),
        Call::Delete { id, .. } => Answer::Deleted(dumps.delete(&id).await),
        Call::Dump { slot, epoch, .. } => {
            Answer::Dumped(dumps.dump(ticket, slot, epoch, stop).await)
        }
        Call::Commit { slot, dump, tags } => {
            Answer::Committed(dumps.commit(slot, dump, tags).await)
        }
        Call::Inspect { id, .. } => Answer::Inspected(dumps.inspect(&id).await),
        Call::Prove { .. } => Answer::Proved(Err(none())),
        Call::Mark { id, tags, .. } => Answer::Marked(dumps.mark(&id, &tags).await),
        Call::Database => Answer::Database(Err(none())),
        Call::Snapshot { .. } | Call::Copy { .. } | Call::Restore { .. } => {
            Answer::Made(Err(none()))
        }
        Call::Scratches => Answer::Scratches(Err(none())),
        Call::Destroy { .. } => Answer::Deleted(Err(none())),
        Call::Read(_) => Answer::Record(Err(none())),
        Call::Write(_) => Answer::Written(Err(none())),
        Call::Lease(_) => Answer::Deleted(Err(none())),
    }
}

/// The core asks a job of this kind for no such thing.
fn none() -> CallError {
    let text = "backups of this kind know no such call".to_owned();
    CallError { kind: CallErrorKind::Refused, text }
}
