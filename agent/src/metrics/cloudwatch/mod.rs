//! Sends metrics to CloudWatch: a task that is fed samples, and does what the core decides. What
//! was not accepted when the agent goes is kept in a file for the next one. Never holds the agent
//! up: a sample that it has no time for is counted, and the next one holds what it would have said.

mod file;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camino::Utf8PathBuf;
use groundcrew_core::logs::retry::Failure;
use groundcrew_core::metrics::Point;
use groundcrew_core::metrics::minute::{Aggregator, Shape};
use groundcrew_core::metrics::outbox::{Counts, Outbox};
use groundcrew_core::metrics::series::Datum;
use groundcrew_core::time::{Moment, Now, ms};
use tokio::sync::{OnceCell, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::aws::cloudwatch::{CloudWatch, MetricsCallError};
use crate::clock;
use crate::errors::chain;
use file::KeptFile;

/// Samples that wait for the task: more than two minutes of them.
const NEWS_QUEUE: usize = 16;
/// While nothing is accepted, the file is written no more often.
const KEEP_EVERY: Duration = Duration::from_mins(1);
/// How long an agent that goes waits for the answer to what is on its way: with it, the next agent
/// need not send it again.
const LAST_ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// What the sender is told of the host.
pub struct Settings {
    /// The name that CloudWatch keeps the metrics below.
    pub namespace: String,
    /// The environment, and which series there are. Its instance is found out.
    pub shape: Shape,
    /// Where what was not sent is kept.
    pub directory: Utf8PathBuf,
    /// Tells this host from the others of the fleet.
    pub seed: u64,
}

enum News {
    Sample(Now, Arc<[Point]>),
    /// Everything is to be sent, and to be told so by then.
    Flush(Moment, oneshot::Sender<Result<(), String>>),
}

/// The sender, from outside.
#[derive(Debug)]
pub struct Sender {
    news: mpsc::Sender<News>,
    counts: watch::Receiver<Counts>,
    missed: Arc<AtomicU64>,
    task: JoinSet<()>,
}

impl Sender {
    /// Starts it; `instance` becomes a dimension once it is known, where it is asked for. Must be
    /// called within a runtime. Ends with `cancellation`.
    pub fn start(
        settings: Settings,
        instance: impl Future<Output = Option<String>> + Send + 'static,
        cancellation: CancellationToken,
    ) -> Self {
        let (news, inbox) = mpsc::channel(NEWS_QUEUE);
        let (publish, counts) = watch::channel(Counts::default());
        let missed = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&missed);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let Settings { namespace, shape, directory, seed } = settings;
            // The samples of these few seconds wait.
            let instance = tokio::select! {
                () = cancellation.cancelled() => None,
                instance = instance => instance,
            };
            let run = Run {
                client: Arc::default(),
                namespace: namespace.into(),
                aggregator: Aggregator::new(Shape { instance, ..shape }),
                outbox: Outbox::new(seed),
                file: KeptFile::new(directory),
                kept: None,
                waiting: Vec::new(),
                publish,
                missed: counted,
            };
            if let Err(error) = run.run(inbox, cancellation).await {
                let error = chain(&error);
                tracing::error!(error, "the sender of metrics died: nothing reaches CloudWatch");
            }
        });
        Self { news, counts, missed, task }
    }

    /// Takes a sample.
    pub fn sample(&self, now: Now, points: Arc<[Point]>) {
        let count = points.len() as u64;
        if self.news.try_send(News::Sample(now, points)).is_err() {
            self.missed.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What became of everything.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// Sends what there is, also of the minute that has not ended. Answers why it was not all
    /// accepted by `by`, if so. The future borrows nothing: it may outlive this.
    pub fn flush(&self, by: Moment) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let news = self.news.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            let ended = || "the sender of metrics has ended".to_owned();
            news.send(News::Flush(by, answer)).await.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())?
        }
    }

    /// Waits until it has ended, after its cancellation.
    pub async fn ended(mut self) {
        // Its own failure was told when it happened.
        while self.task.join_next().await.is_some() {}
    }
}

type Answer = Result<(), MetricsCallError>;

struct Run {
    /// The client, once the region is known.
    client: Arc<OnceCell<CloudWatch>>,
    namespace: Arc<str>,
    aggregator: Aggregator,
    outbox: Outbox,
    file: KeptFile,
    /// When the file was written; `None`: there is none.
    kept: Option<Moment>,
    waiting: Vec<(Moment, oneshot::Sender<Result<(), String>>)>,
    publish: watch::Sender<Counts>,
    missed: Arc<AtomicU64>,
}

impl Run {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<News>,
        cancellation: CancellationToken,
    ) -> Result<(), JoinError> {
        let mut sends: JoinSet<Answer> = JoinSet::new();
        self.restore().await?;
        loop {
            let now = clock::now();
            if let Some(data) = self.outbox.request(now) {
                sends.spawn(send(Arc::clone(&self.client), Arc::clone(&self.namespace), data));
            }
            self.answer_waiting(now);
            self.tell();
            tokio::select! {
                biased;
                () = cancellation.cancelled() => break,
                Some(answer) = sends.join_next() => self.answered(answer?).await?,
                Some(news) = inbox.recv() => self.hear(news),
                () = until(self.wake()) => {}
            }
        }
        let last = timeout(LAST_ANSWER_WITHIN, sends.join_next()).await;
        if let Ok(Some(answer)) = last {
            self.answered(answer?).await?;
        }
        while let Ok(news) = inbox.try_recv() {
            self.hear(news);
        }
        self.finish();
        self.keep().await
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Sample(now, points) => {
                if let Some(minute) = self.aggregator.sample(now, &points) {
                    self.outbox.push(now, minute);
                }
            }
            News::Flush(by, answer) => {
                self.waiting.push((by, answer));
                self.outbox.hurry(clock::now());
                self.finish();
            }
        }
        let dropped = self.aggregator.take_dropped();
        let missed = self.missed.swap(0, Ordering::Relaxed);
        self.outbox.note_dropped(dropped.saturating_add(missed));
    }

    /// Ends the minute that has not ended.
    fn finish(&mut self) {
        if let Some(minute) = self.aggregator.finish() {
            self.outbox.push(clock::now(), minute);
        }
    }

    async fn answered(&mut self, answer: Answer) -> Result<(), JoinError> {
        let now = clock::now();
        let reason = self.outbox.counts().reason;
        let answer = answer.map_err(|MetricsCallError { failure, text }| (failure, text));
        let (is_ok, is_refused) = match &answer {
            Ok(()) => (true, false),
            Err((failure, text)) => {
                // Said once, not each time.
                if reason.as_ref() != Some(text) {
                    tracing::warn!("metrics are not accepted: {text}");
                }
                (false, *failure == Failure::Refused)
            }
        };
        self.outbox.answered(now, answer);
        let is_due = self.kept.is_none_or(|kept| now.at.since(kept) >= KEEP_EVERY);
        // What was accepted must not be sent again by the next agent, and what was not, must.
        if (is_ok && self.kept.is_some()) || (!is_ok && !is_refused && is_due) {
            self.keep().await?;
        }
        Ok(())
    }

    /// Writes what waits to the file, or removes it when there is nothing.
    async fn keep(&mut self) -> Result<(), JoinError> {
        let (file, data) = (self.file.clone(), self.outbox.snapshot());
        let is_there = !data.is_empty();
        if !is_there && self.kept.is_none() {
            return Ok(());
        }
        let written = tokio::task::spawn_blocking(move || file.write(data)).await?;
        self.kept = is_there.then(clock::at);
        if let Err(error) = written {
            tracing::warn!("metrics that wait are only in memory: {}", chain(&error));
        }
        Ok(())
    }

    async fn restore(&mut self) -> Result<(), JoinError> {
        let file = self.file.clone();
        match tokio::task::spawn_blocking(move || file.read()).await? {
            Ok(None) => {}
            Ok(Some(data)) => {
                self.kept = Some(clock::at());
                self.outbox.restore(clock::now(), data);
            }
            Err(error) => tracing::warn!("what was left of metrics is lost: {}", chain(&error)),
        }
        Ok(())
    }

    fn answer_waiting(&mut self, now: Now) {
        let is_all = self.outbox.is_empty();
        for (_, answer) in self.waiting.extract_if(.., |(by, _)| is_all || now.at >= *by) {
            let reason = || self.outbox.counts().reason;
            let outcome = if is_all {
                Ok(())
            } else {
                Err(reason().unwrap_or_else(|| "the time was too short".to_owned()))
            };
            // Whoever asked may have given up.
            drop(answer.send(outcome));
        }
        if self.waiting.is_empty() {
            self.outbox.calm();
        }
    }

    fn tell(&self) {
        let counts = self.outbox.counts();
        self.publish.send_if_modified(|known| {
            let is_new = *known != counts;
            if is_new {
                *known = counts;
            }
            is_new
        });
    }

    fn wake(&self) -> Option<Moment> {
        self.waiting.iter().map(|(by, _)| *by).chain(self.outbox.wake()).min()
    }
}

async fn send(
    client: Arc<OnceCell<CloudWatch>>,
    namespace: Arc<str>,
    data: Vec<Arc<Datum>>,
) -> Answer {
    let service = client.get_or_try_init(CloudWatch::connect).await?;
    service.put_metric_data(&namespace, &data).await
}

/// Sleeps until a moment of the boot clock; for ever when there is none.
async fn until(moment: Option<Moment>) {
    match moment {
        Some(moment) => {
            let wait = ms(moment.since(clock::at())).max(1);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        None => std::future::pending().await,
    }
}
