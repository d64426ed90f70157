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
use crate::metrics::Format;

/// Bytes of a person's reason.
const REASON_BYTES_MAX: usize = 1000;
/// How often a watched status is looked at: as often as a person sees.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// `GET /ready` for load balancers and `GET /metrics` for scrapers.
pub async fn public(
    request: &hyper::Request<Incoming>,
    ready: bool,
    requests: &mpsc::Sender<Request>,
) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => metrics(request, requests).await,
        (&Method::GET | &Method::HEAD, "/ready") if ready => {
            answer::whole(StatusCode::OK, "text/plain", "ready\n")
        }
        (&Method::GET | &Method::HEAD, "/ready") => {
            answer::whole(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n")
        }
        _ => {
            let why = "there are only GET /ready, GET /metrics and the status page";
            answer::refusal(StatusCode::NOT_FOUND, why)
        }
    }
}

/// What is measured, in the format that the scraper asks for.
async fn metrics(request: &hyper::Request<Incoming>, requests: &mpsc::Sender<Request>) -> Answer {
    let accept = request.headers().get(hyper::header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let (answer, receiver) = oneshot::channel();
    if requests.send(Request::Metrics { format, answer }).await.is_err() {
        return answer::refusal(StatusCode::SERVICE_UNAVAILABLE, "the agent is going");
    }
    match receiver.await {
        Ok(Some(text)) => answer::whole(StatusCode::OK, format.media_type(), text),
        _ => answer::refusal(StatusCode::SERVICE_UNAVAILABLE, "there are no metrics now"),
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
            (&Method::GET, "/v1/logs/audit") => {
                Ok(answer::json(StatusCode::OK, &self.logs.audit().await))
            }
            (&Method::POST, "/v1/logs/replay") => done(self.logs.replay().await),
            (&Method::POST, "/v1/restart") => self.restart(&query).await,
            (&Method::POST, "/v1/backups/run") => self.run_backup(&query).await,
            (&Method::POST, "/v1/drain") => self.drain(&query).await,
            (&Method::POST, "/v1/undrain") => {
                self.order(|answer| Request::Order { reason: None, answer }).await
            }
            (&Method::GET, "/v1/drill") => self.drill_plan(&query).await,
            (&Method::GET, "/v1/tiers") => self.tiers().await,
            (&Method::POST, "/v1/drill") => self.drill(&query).await,
            (&Method::POST, "/v1/standby") => self.order(Request::Standby).await,
            (&Method::POST, "/v1/reload") => self.reload().await,
            (&Method::POST, "/v1/notify/test") => self.notify_test(&query).await,
            (&Method::GET, "/v1/agent") => self.agent().await,
            (&Method::GET, "/v1/history") => self.history(&query).await,
            (&Method::GET, "/ready" | "/metrics") => {
                let ready = *self.ready.borrow();
                return public(request, ready, &self.requests).await;
            }
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

    async fn reload(&self) -> Result<Answer, Refused> {
        let (sender, receiver) = oneshot::channel();
        match self.ask(Request::Reload(sender), receiver).await? {
            Ok(()) => Ok(answer::json(StatusCode::OK, &())),
            Err(why) => Err(Refused(StatusCode::CONFLICT, why)),
        }
    }

    async fn notify_test(&self, query: &Query<'_>) -> Result<Answer, Refused> {
        let (sender, receiver) = oneshot::channel();
        let request = Request::NotifyTest { name: query.get("name"), answer: sender };
        match self.ask(request, receiver).await? {
            Ok(tests) => Ok(answer::json(StatusCode::OK, &tests)),
            Err(why) => Err(Refused(StatusCode::NOT_FOUND, why)),
        }
    }

    async fn agent(&self) -> Result<Answer, Refused> {
        let (sender, receiver) = oneshot::channel();
        let agent = self.ask(Request::Agent(sender), receiver).await?;
        Ok(answer::json(StatusCode::OK, &agent))
    }

    async fn history(&self, query: &Query<'_>) -> Result<Answer, Refused> {
        let after = query.parse("after")?.unwrap_or(0);
        let (sender, receiver) = oneshot::channel();
        let history = self.ask(Request::History { after, answer: sender }, receiver).await?;
        Ok(answer::json(StatusCode::OK, &history))
    }

    async fn restart(&self, query: &Query<'_>) -> Result<Answer, Refused> {
        let Some(tier) = query.parse("tier")? else {
            return Err(Refused(StatusCode::BAD_REQUEST, "say which tier: ?tier=web".to_owned()));
        };
        self.order(|answer| Request::Restart { tier, answer }).await
    }

    async fn run_backup(&self, query: &Query<'_>) -> Result<Answer, Refused> {
        let Some(name) = query.get("name") else {
            let why = "say which backup: ?name=shop-nightly".to_owned();
            return Err(Refused(StatusCode::BAD_REQUEST, why));
        };
        self.order(|answer| Request::RunBackup { name, answer }).await
    }

    async fn drain(&self, query: &Query<'_>) -> Result<Answer, Refused> {
        let reason = Some(query.reason()?);
        self.order(|answer| Request::Order { reason, answer }).await
    }

    async fn drill_plan(&self, query: &Query<'_>) -> Result<Answer, Refused> {
        let within = query.parse("within_s")?.map(Duration::from_secs);
        let (sender, receiver) = oneshot::channel();
        let plan = self.ask(Request::DrillPlan { within, answer: sender }, receiver).await?;
        Ok(answer::json(StatusCode::OK, &plan))
    }

    async fn tiers(&self) -> Result<Answer, Refused> {
        let (sender, receiver) = oneshot::channel();
        let tiers = self.ask(Request::Tiers(sender), receiver).await?;
        Ok(answer::json(StatusCode::OK, &tiers))
    }

    async fn drill(&self, query: &Query<'_>) -> Result<Answer, Refused> {
        let within = query.parse("within_s")?.map(Duration::from_secs);
        let text = query.reason()?;
        self.order(|answer| Request::Drill { text, within, answer }).await
    }

    /// Asks for something to be done, and says what happens now.
    async fn order(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<String, String>>) -> Request,
    ) -> Result<Answer, Refused> {
        let (sender, receiver) = oneshot::channel();
        done(self.ask(request(sender), receiver).await?)
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
            grep: query.parse("grep")?,
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

/// What was done, or why it was not.
fn done(outcome: Result<String, String>) -> Result<Answer, Refused> {
    #[derive(serde::Serialize)]
    struct Done {
        message: String,
    }
    match outcome {
        Ok(message) => Ok(answer::json(StatusCode::OK, &Done { message })),
        Err(why) => Err(Refused(StatusCode::CONFLICT, why)),
    }
}

/// The part of a URL behind the question mark.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.0.as_bytes());
        pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    }

    /// Why a person wants something, for everybody's eyes.
    fn reason(&self) -> Result<String, Refused> {
        let reason = self.get("reason").filter(|reason| !reason.is_empty());
        let reason = reason.filter(|reason| reason.len() <= REASON_BYTES_MAX).ok_or_else(|| {
            let why = format!("say why, in 1 to {REASON_BYTES_MAX} bytes: ?reason=...");
            Refused(StatusCode::BAD_REQUEST, why)
        })?;
        Ok(reason.chars().filter(|c| !c.is_control()).collect())
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
