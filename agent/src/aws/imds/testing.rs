//! A metadata service for tests: a real server, which misbehaves on request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Imds, META_DATA, TOKEN_HEADER, TOKEN_PATH, TTL_HEADER};

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    /// What it should.
    #[default]
    Serving,
    /// Answers everything but token requests with this status.
    Status(u16),
    /// Answers token requests with this status.
    TokenStatus(u16),
    /// Takes requests and never answers.
    Silent,
    /// Answers with bytes that are not HTTP.
    Noise,
    /// Closes connections at once.
    Closing,
}

/// What it has and what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    pub(crate) mood: Mood,
    /// By path below `/latest/meta-data/`.
    pub(crate) values: BTreeMap<&'static str, Vec<u8>>,
    /// Those it takes.
    pub(crate) tokens: BTreeSet<String>,
    /// What it gives tokens, whatever was asked for.
    pub(crate) ttl_s: u64,
    pub(crate) tokens_given: u32,
    pub(crate) connections: u32,
}

/// The server; ends with its drop.
pub(crate) struct FakeImds {
    pub(crate) url: String,
    inside: Arc<Mutex<Inside>>,
    /// Requests so far.
    pub(crate) asked: watch::Receiver<u32>,
    _tasks: JoinSet<()>,
}

impl FakeImds {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let inside = Inside { ttl_s: 21_600, ..Inside::default() };
        let inside = Arc::new(Mutex::new(inside));
        let (ask, asked) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&inside), ask));
        Self { url, inside, asked, _tasks: tasks }
    }

    pub(crate) fn client(&self) -> Imds {
        Imds::at(&self.url)
    }

    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub(crate) fn set(&self, path: &'static str, value: &str) {
        self.inside().values.insert(path, value.as_bytes().to_vec());
    }

    pub(crate) fn feel(&self, mood: Mood) {
        self.inside().mood = mood;
    }

    /// Waits until it was asked this many times more.
    pub(crate) async fn is_asked(&mut self, times: u32) {
        let enough = *self.asked.borrow() + times;
        self.asked.wait_for(|asked| *asked >= enough).await.unwrap();
    }
}

async fn accept(listener: TcpListener, inside: Arc<Mutex<Inside>>, ask: watch::Sender<u32>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        inside.lock().unwrap().connections += 1;
        connections.spawn(serve(stream, Arc::clone(&inside), ask.clone()));
    }
}

async fn serve(mut stream: TcpStream, inside: Arc<Mutex<Inside>>, ask: watch::Sender<u32>) {
    let mood = inside.lock().unwrap().mood;
    match mood {
        Mood::Closing => {
            ask.send_modify(|asked| *asked += 1);
            return;
        }
        Mood::Noise => {
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").await.unwrap();
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let answer = service_fn(|request: Request<Incoming>| {
        ask.send_modify(|asked| *asked += 1);
        let (mood, response) = respond(&mut inside.lock().unwrap(), &request);
        async move {
            match mood {
                Mood::Silent => std::future::pending().await,
                // A connection from before: ends like one of a service that goes away.
                Mood::Closing => Err("closing"),
                _ => Ok::<_, &str>(response),
            }
        }
    });
    // A client that goes away is none of its troubles.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
}

fn respond(inside: &mut Inside, request: &Request<Incoming>) -> (Mood, Response<Full<Bytes>>) {
    let status = |status: u16, body: &[u8]| {
        let mut response = Response::new(Full::new(Bytes::copy_from_slice(body)));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    };
    let path = request.uri().path();
    let response = if path == TOKEN_PATH {
        let asked = request.headers().get(TTL_HEADER).map(|ttl| ttl.to_str().unwrap());
        assert_eq!((request.method(), asked), (&Method::PUT, Some("21600")));
        if let Mood::TokenStatus(code) = inside.mood {
            status(code, b"no token")
        } else {
            inside.tokens_given += 1;
            let token = format!("token-{}", inside.tokens_given);
            inside.tokens.insert(token.clone());
            let mut response = status(200, token.as_bytes());
            response.headers_mut().insert(TTL_HEADER, inside.ttl_s.into());
            response
        }
    } else {
        let token = request.headers().get(TOKEN_HEADER);
        let token = token.is_some_and(|t| inside.tokens.contains(t.to_str().unwrap()));
        let value = path.strip_prefix(META_DATA).and_then(|path| inside.values.get(path));
        match (inside.mood, token, value) {
            (Mood::Status(code), ..) => status(code, b"<html>status</html>"),
            (_, false, _) => status(401, b"<html>401</html>"),
            (_, true, Some(value)) => status(200, value),
            (_, true, None) => status(404, b"<html>404</html>"),
        }
    };
    (inside.mood, response)
}
