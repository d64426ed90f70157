//! Traces: the requests that preloads noted, and the segments that applications send themselves, to
//! X-Ray. What waits, goes and is given up is decided in the core; nothing here holds a process up.

mod relay;
mod segment;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use groundcrew_core::status::PipelineStatus;
use groundcrew_core::time::Moment;
use groundcrew_core::traces::Note;
use groundcrew_core::traces::queue::{Document, Queue, Unprocessed};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aws::xray::{Xray, XrayError};
use crate::clock;

pub use segment::Answerer;

/// How long the agent's end may take here: what waits is worth one more request.
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// What waits, and what the tasks say of themselves.
#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something new waits.
    changed: Notify,
    /// Why the relay does not listen.
    relay: Mutex<Option<String>>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, now: Moment, document: Document) {
        self.queue().push(now, document);
        self.changed.notify_one();
    }

    /// Notes how the relay is; `true` when that is news.
    fn relay_is(&self, reason: Option<String>) -> bool {
        let mut known = self.relay.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *known != reason;
        *known = reason;
        is_news
    }
}

/// The pipeline `traces`.
#[derive(Debug)]
pub struct Traces {
    shared: Arc<Shared>,
    random: SystemRandom,
    tasks: JoinSet<()>,
    cancel: CancellationToken,
}

impl Traces {
    /// Begins to send, and to relay what comes to `relay`. Needs the runtime.
    #[must_use]
    pub fn open(relay: Option<SocketAddr>, cancel: &CancellationToken) -> Self {
        let (shared, cancel) = (Arc::new(Shared::default()), cancel.child_token());
        let mut tasks = JoinSet::new();
        tasks.spawn(send(Arc::clone(&shared), cancel.clone()));
        if let Some(address) = relay {
            tasks.spawn(relay::run(address, Arc::clone(&shared), cancel.clone()));
        }
        Self { shared, random: SystemRandom::new(), tasks, cancel }
    }

    /// Takes what a process noted, and how much more it could not.
    pub fn note(&self, answerer: &Answerer<'_>, notes: &[Note], dropped: u64) {
        self.shared.queue().drop_many(dropped);
        let now = clock::at();
        for note in notes {
            match self.document(note, answerer) {
                Some(document) => self.shared.push(now, document),
                None => self.shared.queue().drop_many(1),
            }
        }
    }

    fn document(&self, note: &Note, answerer: &Answerer<'_>) -> Option<Document> {
        let (mut trace, mut segment) = ([0; 16], [0; 8]);
        self.random.fill(&mut trace).and_then(|()| self.random.fill(&mut segment)).ok()?;
        let random = segment::Random {
            trace: u128::from_ne_bytes(trace),
            segment: u64::from_ne_bytes(segment),
        };
        segment::document(note, answerer, random).ok()
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> PipelineStatus {
        let mut status = self.shared.queue().status(clock::at());
        let relay = self.shared.relay.lock().unwrap_or_else(PoisonError::into_inner);
        status.reason = status.reason.or_else(|| relay.clone());
        status
    }

    /// Sends what waits once more, for a moment, and ends.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Sends until cancelled, and then what is left, if that is quick.
async fn send(shared: Arc<Shared>, cancel: CancellationToken) {
    let late = async {
        cancel.cancelled().await;
        tokio::time::sleep(LAST_WITHIN).await;
    };
    tokio::select! {
        () = send_all(&shared, &cancel) => {}
        () = late => {}
    }
}

async fn send_all(shared: &Shared, cancel: &CancellationToken) {
    let mut client = None;
    loop {
        let due = shared.queue().due();
        tokio::select! {
            () = cancel.cancelled() => break,
            () = shared.changed.notified() => {}
            () = wait_for(due) => drop(send_once(shared, &mut client, false).await),
        }
    }
    while send_once(shared, &mut client, true).await {}
}

/// Makes the next request; `false`: there is none to make now.
async fn send_once(shared: &Shared, client: &mut Option<Xray>, all: bool) -> bool {
    let Some(documents) = shared.queue().take(clock::at(), all) else { return false };
    let answer = put(client, documents).await;
    let now = clock::now();
    match answer {
        Ok(unprocessed) => {
            if let Some(refused) = unprocessed.first() {
                tracing::debug!("X-Ray did not process {}: {refused:?}", unprocessed.len());
            }
            shared.queue().accepted(now, &unprocessed);
        }
        Err(XrayError { failure, text }) => {
            let random = now.at.0.wrapping_mul(u64::from(std::process::id()));
            shared.queue().failed(now.at, failure, text, random);
        }
    }
    true
}

async fn put(
    client: &mut Option<Xray>,
    documents: Vec<String>,
) -> Result<Vec<Unprocessed>, XrayError> {
    let xray = match client {
        Some(xray) => xray,
        None => client.insert(Xray::connect().await?),
    };
    xray.put_trace_segments(documents).await
}

/// Waits for a moment; for ever when there is none.
async fn wait_for(moment: Option<Moment>) {
    match moment {
        Some(moment) => {
            // The timer may fire a moment early by the boot clock.
            let wait = moment.since(clock::at()).max(Duration::from_millis(1));
            tokio::time::sleep(wait).await;
        }
        None => std::future::pending().await,
    }
}
