//! What answers over TCP: `/ready` for load balancers, `/metrics` for scrapers, and the status
//! page. Everything here only reads, and who asks is a stranger.
//!
//! The page tells more than the rest, so it answers only whom the configuration names, and only
//! under a name that no web site can take: a name that leads here today and elsewhere tomorrow
//! would make a stranger's script in somebody's browser a reader of this page.

use std::net::IpAddr;
use std::sync::Arc;

use groundcrew_core::time::Moment;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, StatusCode, Uri};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer};
use super::{Request, live, page, routes};
use crate::config::PageAccess;

/// Pages that are kept up to date at once: people, not machines.
pub const LIVE_MAX: usize = 16;
/// Scrapes that are on their way at once: with many series each is megabytes, and whoever asks may
/// take his time to read.
pub const SCRAPES_MAX: usize = 16;
/// Said with every answer of the page.
const HEADERS: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-frame-options", "DENY"),
];

/// Answers strangers.
#[derive(Clone)]
pub struct Public {
    /// To the runtime.
    pub requests: mpsc::Sender<Request>,
    /// Whether the host is ready.
    pub ready: watch::Receiver<bool>,
    /// The agent goes.
    pub cancel: CancellationToken,
    /// Whom the page answers.
    pub page: PageAccess,
    /// Room for pages that are kept up to date.
    pub live: Arc<Semaphore>,
    /// Room for scrapes.
    pub scrapes: Arc<Semaphore>,
}

impl Public {
    /// Answers one request of `peer`.
    pub async fn answer(&self, request: &hyper::Request<Incoming>, peer: IpAddr) -> Answer {
        let path = request.uri().path();
        if self.page == PageAccess::None || !matches!(path, "/" | "/page/events") {
            let ready = *self.ready.borrow();
            if path != "/metrics" {
                return routes::public(request, ready, &self.requests).await;
            }
            let Ok(room) = Arc::clone(&self.scrapes).try_acquire_owned() else {
                let why = format!("{SCRAPES_MAX} scrapes are not read to their end yet");
                return answer::refusal(StatusCode::SERVICE_UNAVAILABLE, why);
            };
            return answer::held(routes::public(request, ready, &self.requests).await, room);
        }
        let mut answer = match refused(self.page, request, peer) {
            Some((status, why)) => answer::refusal(status, why),
            None if path == "/" => page::whole(request.headers()),
            None if request.method() == Method::HEAD => live::head(),
            None => self.live(request),
        };
        let headers = answer.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        answer
    }

    fn live(&self, request: &hyper::Request<Incoming>) -> Answer {
        let Ok(room) = Arc::clone(&self.live).try_acquire_owned() else {
            let why = format!("{LIVE_MAX} status pages are open, and there is no room for more");
            return answer::refusal(StatusCode::SERVICE_UNAVAILABLE, why);
        };
        let resume = resumed(request.uri(), request.headers());
        live::events(self.requests.clone(), self.cancel.clone(), resume, room)
    }
}

/// Why the page does not answer this request.
fn refused<B>(
    access: PageAccess,
    request: &hyper::Request<B>,
    peer: IpAddr,
) -> Option<(StatusCode, &'static str)> {
    if access == PageAccess::Loopback && !peer.to_canonical().is_loopback() {
        let why = "the status page answers this host only; http.page = \"all\" changes that";
        return Some((StatusCode::FORBIDDEN, why));
    }
    if !is_own_name(request.uri(), request.headers()) {
        let why = "ask for localhost or for an address";
        return Some((StatusCode::MISDIRECTED_REQUEST, why));
    }
    let from = request.headers().get("sec-fetch-site");
    let crosses = from.is_some_and(|from| from == "cross-site" || from == "same-site");
    if crosses && request.uri().path() != "/" {
        return Some((StatusCode::FORBIDDEN, "only the page itself may ask for this"));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "the status page can only be read"));
    }
    None
}

/// Whether the request is for a name that leads here for sure: `localhost`, an address, or nothing
/// that a name server could have answered.
fn is_own_name(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str().unwrap_or_default().parse::<Authority>() else { return false };
    // A request may name its host in its first line too, and then that one counts.
    let is_own = |authority: &Authority| {
        let plain = authority.host().trim_start_matches('[').trim_end_matches(']');
        let address = plain.parse::<IpAddr>().is_ok();
        let own = address || plain.eq_ignore_ascii_case("localhost");
        // Through a tunnel the port is another, and says nothing about who asks.
        own && !authority.as_str().contains('@')
    };
    is_own(&host) && uri.authority().is_none_or(is_own)
}

/// The last row that a page has, as an agent numbered it: what a browser says when it comes back,
/// or the page when it had to give up.
fn resumed(uri: &Uri, headers: &HeaderMap) -> Option<(Moment, u64)> {
    let said = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let mut after = query.filter(|(key, _)| key == "after");
    let id = said.map(str::to_owned).or_else(|| after.next().map(|(_, id)| id.into_owned()))?;
    let (agent, row) = id.split_once('-')?;
    Some((Moment(agent.parse().ok()?), row.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn other_hosts_see_the_page_only_where_the_file_says_so() {
        let check = |access: PageAccess, peer: &str, allowed: bool| {
            let request =
                hyper::Request::get("/").header("host", "10.0.0.7:9180").body(()).unwrap();
            let refused = refused(access, &request, peer.parse().unwrap());
            let wanted = (!allowed).then_some(StatusCode::FORBIDDEN);
            assert_eq!(refused.map(|(status, _)| status), wanted, "{access:?} {peer}");
        };
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            check(PageAccess::Loopback, peer, true);
            check(PageAccess::All, peer, true);
        }
        for peer in ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1", "0.0.0.0", "::7f00:1"] {
            check(PageAccess::Loopback, peer, false);
            check(PageAccess::All, peer, true);
        }
    }

    #[test]
    fn names_that_a_name_server_could_answer_are_not_ours() {
        let own = |host: &str| is_own_name(&Uri::from_static("/"), &headers(&[("host", host)]));
        for host in [
            "localhost",
            "LocalHost:9180",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:9180",
            "10.0.0.7:9180",
        ] {
            assert!(own(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1.evil.example",
            "user@localhost",
            "[::1",
            "2130706433",
            "0x7f.1",
            "a b",
            "[::1%25lo]",
        ] {
            assert!(!own(host), "{host}");
        }
        let page = Uri::from_static("/");
        assert!(!is_own_name(&page, &HeaderMap::new()));
        let two = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert!(!is_own_name(&page, &two));
        let elsewhere = Uri::from_static("http://evil.example/");
        assert!(!is_own_name(&elsewhere, &headers(&[("host", "localhost")])));
    }

    #[test]
    fn a_page_that_comes_back_says_what_it_has() {
        let said = |uri: &'static str, pairs: &[(&'static str, &str)]| {
            resumed(&Uri::from_static(uri), &headers(pairs)).map(|(agent, row)| (agent.0, row))
        };
        assert_eq!(said("/page/events", &[]), None);
        assert_eq!(said("/page/events?after=5-7", &[]), Some((5, 7)));
        let back = [("last-event-id", "9-3")];
        assert_eq!(said("/page/events?after=5-7", &back), Some((9, 3)), "the newer of both");
        for id in ["", "5", "-", "5-", "a-b", "5-7-9", "-1-7", "99999999999999999999-1"] {
            assert_eq!(said("/page/events", &[("last-event-id", id)]), None, "{id}");
        }
    }
}
