//! The instance metadata service (IMDS), version 2 only: one attempt a question, short timeouts.
//!
//! Not the SDK's own client: it keeps a token that was refused with 401 until the token's time is
//! over by the wall clock, it hides the status of a refused token request, and its bodies have no
//! bound. The SDK uses its own for credentials and the region, with the same environment.

use std::env;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use groundcrew_core::time::Moment;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::clock;

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long an answer may take, to its last byte.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Bytes of one answer. The longest that is read, the list of scheduled events, has a few hundred.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a token is asked for: the longest there is.
const TOKEN_TTL: Duration = Duration::from_hours(6);
/// How long before its end a token is replaced, at most.
const TOKEN_MARGIN: Duration = Duration::from_mins(2);

const TOKEN_PATH: &str = "/latest/api/token";
const META_DATA: &str = "/latest/meta-data/";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";

const ENDPOINT_VARIABLE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const MODE_VARIABLE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
const DISABLED_VARIABLE: &str = "AWS_EC2_METADATA_DISABLED";
const IPV4: &str = "http://169.254.169.254";
const IPV6: &str = "http://[fd00:ec2::254]";

/// Why the metadata was not read. The text is a clause, the same for the same trouble.
#[derive(Debug, thiserror::Error)]
pub enum ImdsError {
    /// 403.
    #[error("the instance metadata service refuses to answer (403): it may be switched off")]
    Forbidden,
    /// 401 for a token that it gave out a moment ago.
    #[error("the instance metadata service refuses its own token (401)")]
    Unauthorized,
    /// 429 or 5xx.
    #[error("the instance metadata service answers {0}")]
    Server(u16),
    /// No answer in time.
    #[error("the instance metadata service does not answer within {} s{hint}", within.as_secs())]
    Timeout {
        /// How long it had.
        within: Duration,
        /// What is worth checking.
        hint: &'static str,
    },
    /// No connection, or one that broke.
    #[error("the instance metadata service cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// An answer that makes no sense.
    #[error("the instance metadata service answers what is not understood: {0}")]
    Garbage(String),
}

impl ImdsError {
    /// Whether there was no answer at all, so that the next question would get none either.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Unreachable(_))
    }
}

/// Where the service is.
#[derive(Debug, Clone)]
struct Endpoint {
    host: String,
    port: u16,
    /// As the `Host` header has it.
    authority: String,
    /// What comes before `/latest`: nothing, but for a stand-in.
    prefix: String,
}

#[derive(Debug)]
struct Token {
    value: HeaderValue,
    renew_at: Moment,
}

/// A connection that is kept. Nobody drives it in between: who asks next finds out that it is gone.
struct Link {
    sender: SendRequest<Empty<Bytes>>,
    driver: Pin<Box<Connection<TokioIo<TcpStream>, Empty<Bytes>>>>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    link: Option<Link>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// The service, as this instance reaches it.
pub struct Imds {
    endpoint: Result<Endpoint, String>,
    state: Mutex<State>,
}

impl Imds {
    /// Where the environment says it is. Does not ask it anything.
    #[must_use]
    pub fn open() -> Self {
        let mode = env::var(MODE_VARIABLE).unwrap_or_default();
        let usual = if mode.eq_ignore_ascii_case("ipv6") { IPV6 } else { IPV4 };
        Self::at(&endpoint_override().unwrap_or_else(|| usual.to_owned()))
    }

    /// At this URL.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self { endpoint: Endpoint::parse(url), state: Mutex::default() }
    }

    /// The text at `path` below `/latest/meta-data/`; `None`: there is none (404).
    pub async fn get(&self, path: &str) -> Result<Option<String>, ImdsError> {
        // One question at a time: whoever comes second finds a token and a connection.
        let mut state = self.state.lock().await;
        let endpoint = self.endpoint.as_ref().map_err(|why| {
            ImdsError::Unreachable(format!("{ENDPOINT_VARIABLE} is {why}").into())
        })?;
        let mut answer = state.ask(endpoint, path).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            state.token = None;
            answer = state.ask(endpoint, path).await?;
        }
        match answer.status {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED => state.token = None,
            _ => {}
        }
        read(answer).map(Some)
    }
}

impl State {
    async fn ask(&mut self, endpoint: &Endpoint, path: &str) -> Result<Answer, ImdsError> {
        let token = match &self.token {
            Some(token) if clock::at() < token.renew_at => token.value.clone(),
            _ => self.renew(endpoint).await?,
        };
        let request = Request::get(format!("{}{META_DATA}{path}", endpoint.prefix))
            .header(HOST, &endpoint.authority)
            .header(TOKEN_HEADER, token)
            .body(Empty::new());
        self.exchange(endpoint, request.map_err(garbage)?, "").await
    }

    async fn renew(&mut self, endpoint: &Endpoint) -> Result<HeaderValue, ImdsError> {
        self.token = None;
        let asked_at = clock::at();
        let request = Request::put(format!("{}{TOKEN_PATH}", endpoint.prefix))
            .header(HOST, &endpoint.authority)
            .header(TTL_HEADER, TOKEN_TTL.as_secs())
            .body(Empty::new());
        let hint = "; in a container the token needs a hop limit of 2";
        let answer = self.exchange(endpoint, request.map_err(garbage)?, hint).await?;
        let ttl = answer.headers.get(TTL_HEADER).and_then(|ttl| ttl.to_str().ok()?.parse().ok());
        let ttl = ttl.map_or(TOKEN_TTL, Duration::from_secs).min(TOKEN_TTL);
        let mut value = HeaderValue::try_from(read(answer)?)
            .map_err(|_| garbage("the token cannot be sent back"))?;
        value.set_sensitive(true);
        let renew_at = asked_at.plus(ttl.saturating_sub(TOKEN_MARGIN.min(ttl / 2)));
        self.token = Some(Token { value: value.clone(), renew_at });
        Ok(value)
    }

    async fn exchange(
        &mut self,
        endpoint: &Endpoint,
        request: Request<Empty<Bytes>>,
        hint: &'static str,
    ) -> Result<Answer, ImdsError> {
        let again = request.clone();
        // Taken out while in use: a question that is given up takes its connection with it.
        if let Some(link) = self.link.take() {
            match self.over(link, request, hint).await {
                // The service may close what is idle. Nothing asked here changes anything.
                Err(ImdsError::Unreachable(_)) => {}
                outcome => return outcome,
            }
        }
        let link = connect(endpoint).await?;
        self.over(link, again, hint).await
    }

    /// Sends the request over `link`, which is kept if it is whole afterwards.
    async fn over(
        &mut self,
        mut link: Link,
        request: Request<Empty<Bytes>>,
        hint: &'static str,
    ) -> Result<Answer, ImdsError> {
        let Link { sender, driver } = &mut link;
        let answer = async {
            sender.ready().await.map_err(broken)?;
            let response = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(bad_body)?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        let mut open = true;
        let both = async {
            tokio::pin!(answer);
            loop {
                tokio::select! {
                    answer = &mut answer => return answer,
                    // Whether it ended well is in the answer, which does not wait for more now.
                    _ = driver.as_mut(), if open => open = false,
                }
            }
        };
        let late = |_| ImdsError::Timeout { within: ANSWER_WITHIN, hint };
        let answer = timeout(ANSWER_WITHIN, both).await.map_err(late)??;
        if open {
            self.link = Some(link);
        }
        Ok(answer)
    }
}

async fn connect(endpoint: &Endpoint) -> Result<Link, ImdsError> {
    let connecting = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
    let late = |_| ImdsError::Timeout { within: CONNECT_WITHIN, hint: "" };
    let stream = timeout(CONNECT_WITHIN, connecting).await.map_err(late)?;
    let stream = stream.map_err(|error| ImdsError::Unreachable(error.into()))?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    Ok(Link { sender, driver: Box::pin(driver) })
}

/// The text of an answer that should have one.
fn read(answer: Answer) -> Result<String, ImdsError> {
    match answer.status {
        status if status.is_success() => String::from_utf8(answer.body.into())
            .map_err(|_| garbage("the answer is not UTF-8 text")),
        StatusCode::UNAUTHORIZED => Err(ImdsError::Unauthorized),
        StatusCode::FORBIDDEN => Err(ImdsError::Forbidden),
        StatusCode::TOO_MANY_REQUESTS => Err(ImdsError::Server(answer.status.as_u16())),
        status if status.is_server_error() => Err(ImdsError::Server(status.as_u16())),
        status => Err(garbage(format!("status {}", status.as_u16()))),
    }
}

fn garbage(what: impl ToString) -> ImdsError {
    ImdsError::Garbage(what.to_string())
}

fn broken(error: hyper::Error) -> ImdsError {
    if error.is_parse() {
        return garbage("the answer is not HTTP");
    }
    // hyper's own words differ from one moment of the same break to the next.
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(cause) => ImdsError::Unreachable(io::Error::from(cause.kind()).into()),
        None => ImdsError::Unreachable("the connection was closed".into()),
    }
}

fn bad_body(error: Box<dyn Error + Send + Sync>) -> ImdsError {
    if error.is::<LengthLimitError>() {
        return garbage(format!("the answer holds more than {ANSWER_BYTES_MAX} bytes"));
    }
    match error.downcast() {
        Ok(error) => broken(*error),
        Err(error) => ImdsError::Unreachable(error),
    }
}

impl Endpoint {
    fn parse(url: &str) -> Result<Self, String> {
        let bad = || format!("`{url}`, which is no http:// address");
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(bad());
        };
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// Where the environment says that the service is, if it does.
#[must_use]
pub fn endpoint_override() -> Option<String> {
    env::var(ENDPOINT_VARIABLE).ok().filter(|url| !url.is_empty())
}

/// Whether the environment forbids the SDK, and so the agent, to use the service.
#[must_use]
pub fn is_disabled() -> bool {
    env::var(DISABLED_VARIABLE).is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
