//! Backups: one task that drives every job of the host's file, carries out what the core says, and
//! keeps what `status` and `/metrics` show. Decides nothing, and remembers nothing on disk: whoever
//! goes on finds it by looking.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use groundcrew_core::backups::JobSettings;
use groundcrew_core::backups::status::JobStatus;
use groundcrew_core::event::Event;
use groundcrew_core::limits;
use groundcrew_core::metrics::Point;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Agent;
use crate::config::HostConfig;
use crate::control::{BackupRun, OrderedBackup as Ordered};
use crate::lifecycle::Lifecycle;

mod calls;
mod driver;
mod hands;
mod points;
#[cfg(test)]
mod tests;

use driver::{Board, Driver, Work};

/// Orders of people that wait.
const ORDERS_MAX: usize = 16;
/// How long what is under way may take to end when the agent goes: an upload is aborted, a scratch
/// server ended. What is left over, the fleet finds.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A person wants a backup of this job now.
#[derive(Debug)]
struct Order {
    name: String,
    answer: oneshot::Sender<Result<Ordered, String>>,
}

/// The task, and the ways to it.
pub(super) struct Backups {
    orders: mpsc::Sender<Order>,
    board: Arc<Mutex<Board>>,
    /// Whether the host leaves: then others go on.
    leaving: watch::Sender<bool>,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Backups {
    /// Begins to drive the jobs of the host's file; `None`: it has none. What people are told goes
    /// to `events`.
    pub(super) fn open(
        config: &HostConfig,
        lifecycle: &Lifecycle,
        events: mpsc::Sender<Event>,
        cancel: &CancellationToken,
    ) -> Option<Self> {
        let store = config.backup_store.clone()?;
        let mut jobs = config.backups.clone();
        if jobs.is_empty() {
            return None;
        }
        let name = super::host().name;
        let instance = lifecycle.instance_within(limits::SIGHT_WITHIN);
        Some(Self::start(events, cancel, async move {
            // Off EC2, or when the metadata does not answer, the host's name has to do.
            let instance = instance.await.unwrap_or(name);
            for settings in &mut jobs {
                settings.job.instance.clone_from(&instance);
            }
            hands::clean(jobs.clone()).await;
            let hands = hands::connect(&store, &jobs);
            let work = jobs.into_iter().zip(hands);
            let work = work.map(|(settings, hands)| Work { settings: settings.job, hands });
            work.collect()
        }))
    }

    fn start<H: hands::Hands>(
        events: mpsc::Sender<Event>,
        cancel: &CancellationToken,
        work: impl Future<Output = Vec<Work<H>>> + Send + 'static,
    ) -> Self {
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let (leaving, leaves) = watch::channel(false);
        let (board, cancel) = (Arc::<Mutex<Board>>::default(), cancel.child_token());
        let mut tasks = JoinSet::new();
        let (shown, stop) = (Arc::clone(&board), cancel.clone());
        tasks.spawn(async move {
            let begun = tokio::select! {
                () = stop.cancelled() => None,
                begun = work => Some(begun),
            };
            if let Some(work) = begun {
                Driver::new(work, shown, events).run(ordered, leaves, stop).await;
            }
        });
        Self { orders, board, leaving, cancel, tasks }
    }

    /// The lines of `status`.
    fn statuses(&self) -> Vec<JobStatus> {
        self.board().jobs.iter().map(|job| job.status.clone()).collect()
    }

    /// What is measured.
    fn points(&self) -> Vec<Point> {
        let now = crate::clock::wall();
        self.board().jobs.iter().flat_map(|job| points::of(job, now)).collect()
    }

    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the host leaves.
    pub(super) fn set_leaving(&self, leaving: bool) {
        self.leaving.send_if_modified(|known| std::mem::replace(known, leaving) != leaving);
    }

    /// Begins a backup now, and says so.
    fn run_now(&self, name: String, answer: oneshot::Sender<Result<Ordered, String>>) {
        if let Err(refused) = self.orders.try_send(Order { name, answer }) {
            let order = refused.into_inner();
            // Whoever asked may have gone.
            drop(order.answer.send(Err("too many orders wait; try again".to_owned())));
        }
    }

    /// How the backup ended that a person asked for, if it has.
    fn run_of(&self, name: &str, slot: &str) -> Result<BackupRun, String> {
        let board = self.board();
        let job = board.jobs.iter().find(|job| job.status.name == name);
        let ordered = job.and_then(|job| {
            job.ordered.iter().rev().find(|(ordered, _)| ordered.to_string() == slot)
        });
        match ordered {
            Some((_, outcome)) => Ok(BackupRun { outcome: outcome.clone() }),
            None => Err(format!(
                "this agent does not know of a backup of {name} of slot {slot} any more: it was \
                 started anew, or leaves; `groundcrew backups list {name}` shows what there is"
            )),
        }
    }

    /// Ends what is under way, and waits until it has.
    pub(super) async fn shutdown(mut self) {
        self.cancel.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Agent {
    /// A person wants a backup now.
    pub(super) fn run_backup(
        &self,
        name: String,
        answer: oneshot::Sender<Result<Ordered, String>>,
    ) {
        match &self.backups {
            Some(backups) => backups.run_now(name, answer),
            None => {
                let why = "the configuration has no [[backup]]";
                drop(answer.send(Err(why.to_owned())));
            }
        }
    }

    /// How a backup ended that a person asked for.
    pub(super) fn backup_run(&self, name: &str, slot: &str) -> Result<BackupRun, String> {
        let none = || Err("the configuration has no [[backup]]".to_owned());
        self.backups.as_ref().map_or_else(none, |backups| backups.run_of(name, slot))
    }

    /// The jobs, as the status shows them.
    pub(super) fn backup_statuses(&self) -> Vec<JobStatus> {
        self.backups.as_ref().map_or_else(Vec::new, Backups::statuses)
    }

    /// The jobs in numbers.
    pub(super) fn backup_points(&self) -> Vec<Point> {
        self.backups.as_ref().map_or_else(Vec::new, Backups::points)
    }
}

/// The settings with the life that they are used in.
fn of_life(settings: &JobSettings) -> JobSettings {
    let run = format!("{}.{:016x}", settings.instance, crate::random::seed());
    JobSettings { run, ..settings.clone() }
}
