//! What can be asked, and by which path.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use groundcrew_core::status::StatusDocument;
use groundcrew_core::time::Wall;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Request;
use super::answer::{self, Answer};
use crate::errors::chain;
use crate::logs::{LogQuery, Logs};

/// How often a watched status is looked at: as often as a person sees.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// `GET /ready` for load balancers; nothing else is public.
pub fn public(request: &hyper::Request<Incoming>, ready: bool) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/ready") if ready => {
            answer::whole(StatusCode::OK, "text/plain", "ready\n")
        }
        (&Method::GET | &Method::HEAD, "/ready") => {
            answer::whole(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n")
        }
        _ => answer::refusal(StatusCode::NOT_FOUND, "there is only GET /ready"),
    }
}

/// Why a question is not answered.
struct Refused(StatusCode, String);

/// Answers the command line.
#[derive(Clone)]
pub struct Desk {
    /// To the runtime.
    pub requests: mpsc::Sender<Request>,
    /// Whether the host is ready.
    pub ready: watch::Receiver<bool>,
    /// What the processes printed.
    pub logs: Arc<Logs>,
    /// The agent goes.
    pub cancel: CancellationToken,
}

impl Desk {
    /// Answers one request.
    pub async fn answer(&self, request: &hyper::Request<Incoming>) -> Answer {
        let query = Query(request.uri().query().unwrap_or_default());
        let answered = match (request.method(), request.uri().path()) {
            (&Method::GET, "/v1/status") if query.get("watch").is_some() => Ok(self.watch()),
            (&Method::GET, "/v1/status") => self.status().await,
            (&Method::GET, "/v1/releases") => self.releases(&query).await,
            (&Method::GET, "/v1/logs") => self.logs(&query),
            (&Method::POST, "/v1/restart") => self.restart(&query).await,
            (&Method::GET, "/ready") => return public(request, *self.ready.borrow()),
            (method, path) => {
                let why =
                    format!("this agent does not know {method} {path}; are both of one version?");
                return answer::refusal(StatusCode::NOT_FOUND, why);
            }
        };
        answered.unwrap_or_else(|Refused(status, why)| answer::refusal(status, why))
    }

    async fn status(&self) -> Result<Answer, Refused> {
        let (sender, receiver) = oneshot::channel();
        let status = self.ask(Request::Status(sender), receiver).await?;
        Ok(answer::json(StatusCode::OK, &*status))
    }

    async fn releases(&self, query: &Query<'_>) -> Result<Answer, Refused> {
        let version = query.parse("version")?;
        let (sender, receiver) = oneshot::channel();
        let releases = self.ask(Request::Releases { version, answer: sender }, receiver).await?;
        Ok(answer::json(StatusCode::OK, &releases))
    }

    async fn restart(&self, query: &Query<'_>) -> Result<Answer, Refused> {
        #[derive(serde::Serialize)]
        struct Done {
            message: String,
        }
        let Some(tier) = query.parse("tier")? else {
            return Err(Refused(StatusCode::BAD_REQUEST, "say which tier: ?tier=web".to_owned()));
        };
        let (sender, receiver) = oneshot::channel();
        match self.ask(Request::Restart { tier, answer: sender }, receiver).await? {
            Ok(message) => Ok(answer::json(StatusCode::OK, &Done { message })),
            Err(why) => Err(Refused(StatusCode::NOT_FOUND, why)),
        }
    }

    /// The status whenever it has changed, `now` aside.
    fn watch(&self) -> Answer {
        let desk = self.clone();
        let seen: Option<StatusDocument> = None;
        let lines = futures_util::stream::unfold((desk, seen), |(desk, mut seen)| async move {
            loop {
                if seen.is_some() {
                    tokio::select! {
                        () = tokio::time::sleep(WATCH_EVERY) => {}
                        () = desk.cancel.cancelled() => return None,
                    }
                }
                let (sender, receiver) = oneshot::channel();
                let status = desk.ask(Request::Status(sender), receiver).await.ok()?;
                let mut comparable = (*status).clone();
                comparable.now = Wall::default();
                if seen.as_ref() != Some(&comparable) {
                    seen = Some(comparable);
                    return Some((answer::line(&*status)?, (desk, seen)));
                }
            }
        });
        answer::lines(lines)
    }

    fn logs(&self, query: &Query<'_>) -> Result<Answer, Refused> {
        let query = LogQuery {
            tier: query.parse("tier")?,
            process: query.parse("process")?,
            since: query.parse("since")?.map(Wall),
            tail_lines: query.parse("tail")?,
            follow: query.get("follow").is_some(),
        };
        let stream = self
            .logs
            .read(query)
            .map_err(|error| Refused(StatusCode::SERVICE_UNAVAILABLE, chain(&error)))?;
        let lines = futures_util::StreamExt::filter_map(stream, |line| async move {
            match line {
                Ok(line) => answer::line(&line),
                Err(error) => {
                    tracing::warn!("{}", chain(&error));
                    None::<Bytes>
                }
            }
        });
        Ok(answer::lines(lines))
    }

    async fn ask<T>(&self, request: Request, answer: oneshot::Receiver<T>) -> Result<T, Refused> {
        let gone = || Refused(StatusCode::SERVICE_UNAVAILABLE, "the agent is going".to_owned());
        self.requests.send(request).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

/// The part of a URL behind the question mark. Values need no decoding but for `+`.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| value.replace("%2B", "+").replace("%2b", "+"))
        };
        self.0.split('&').find_map(pair)
    }

    fn parse<T: std::str::FromStr<Err: std::error::Error>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let parsed = value
            .parse()
            .map_err(|error: T::Err| Refused(StatusCode::BAD_REQUEST, format!("{name}: {error}")));
        parsed.map(Some)
    }
}
