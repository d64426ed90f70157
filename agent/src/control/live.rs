//! What keeps a status page up to date: server-sent events (<https://html.spec.whatwg.org>, 9.2)
//! with the status when it has changed, the rows of the last hour as they come, and a sign of life.
//!
//! A page that comes back says which row it has and gets those it missed. One that takes nothing
//! costs its place in the count and no memory: the next event is made when the last one was taken.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use groundcrew_core::status::{HistoryDocument, Mark, StatusDocument, Timeline};
use groundcrew_core::time::{Moment, Wall};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Request;
use super::answer::{self, Answer};
use crate::clock;

const MEDIA_TYPE: &str = "text/event-stream";
/// How often it is looked whether something has changed: as often as a person sees.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a page hears something, so that it can tell silence from peace.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// After this a page has to come back, which it does by itself; so a place is not held for ever.
const FOR: Duration = Duration::from_hours(1);
/// How long a browser waits before it comes back.
const RETRY_MS: u32 = 1000;

/// Events until the agent goes or the page has had its time.
pub fn events(
    requests: mpsc::Sender<Request>,
    cancel: CancellationToken,
    resume: Option<(Moment, u64)>,
    room: OwnedSemaphorePermit,
) -> Answer {
    let live = Live {
        requests,
        cancel,
        resume,
        until: clock::at().plus(FOR),
        spoke: Moment::default(),
        status: None,
        story: None,
        _room: room,
    };
    answer::stream(MEDIA_TYPE, futures_util::stream::unfold(live, Live::next))
}

/// The answer without the events, for who asks for its head.
pub fn head() -> Answer {
    answer::whole(hyper::StatusCode::OK, MEDIA_TYPE, Bytes::new())
}

/// One page.
struct Live {
    requests: mpsc::Sender<Request>,
    cancel: CancellationToken,
    /// The newest row that the page has: of which agent, and its number.
    resume: Option<(Moment, u64)>,
    /// When it has to come back.
    until: Moment,
    /// When it heard something last.
    spoke: Moment,
    /// The last status it was sent, without the time.
    status: Option<StatusDocument>,
    /// What it was told last about releases.
    story: Option<(Vec<Mark>, Option<Timeline>)>,
    /// Its place in the count.
    _room: OwnedSemaphorePermit,
}

/// A sign of life.
#[derive(Serialize)]
struct Alive {
    at: Moment,
    now: Wall,
}

impl Live {
    /// The next events; `None`: it is over.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if self.status.is_some() {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = self.cancel.cancelled() => return None,
                }
            }
            let now = clock::at();
            if now >= self.until {
                return None;
            }
            let mut text = String::new();
            self.tell_history(&mut text).await?;
            self.tell_status(&mut text).await?;
            if text.is_empty() && now.since(self.spoke) >= ALIVE_EVERY {
                let now = clock::now();
                event(&mut text, "alive", &Alive { at: now.at, now: now.wall })?;
            }
            if !text.is_empty() {
                self.spoke = now;
                return Some((text.into(), self));
            }
        }
    }

    async fn tell_history(&mut self, text: &mut String) -> Option<()> {
        let (agent, after) = self.resume.unwrap_or_default();
        let mut history = self.history(after).await?;
        if history.agent != agent && after != 0 {
            // Another agent counts its rows anew.
            history = self.history(0).await?;
        }
        let story = Some((history.marks.clone(), history.rollout.clone()));
        let first = self.story.is_none();
        if !first && history.times.is_empty() && story == self.story {
            return Some(());
        }
        if first {
            // Into a String nothing fails.
            let _ = writeln!(text, "retry: {RETRY_MS}");
        }
        let _ = writeln!(text, "id: {}-{}", history.agent.0, history.last);
        event(text, "history", &history)?;
        (self.resume, self.story) = (Some((history.agent, history.last)), story);
        Some(())
    }

    async fn tell_status(&mut self, text: &mut String) -> Option<()> {
        let (answer, receiver) = oneshot::channel();
        self.requests.send(Request::Status(answer)).await.ok()?;
        let status = receiver.await.ok()?;
        let mut comparable = (*status).clone();
        comparable.now = Wall::default();
        if self.status.as_ref() != Some(&comparable) {
            event(text, "status", &*status)?;
            self.status = Some(comparable);
        }
        Some(())
    }

    async fn history(&self, after: u64) -> Option<HistoryDocument> {
        let (answer, receiver) = oneshot::channel();
        self.requests.send(Request::History { after, answer }).await.ok()?;
        receiver.await.ok()
    }
}

/// JSON without line ends is one line of data.
fn event(text: &mut String, name: &str, document: &impl Serialize) -> Option<()> {
    let json = serde_json::to_string(document)
        .inspect_err(|error| tracing::error!("an event of the page is not JSON: {error}"))
        .ok()?;
    let _ = write!(text, "event: {name}\ndata: {json}\n\n");
    Some(())
}
