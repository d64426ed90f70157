//! A fast stand-in for CloudWatch Logs: it enforces the published limits, checks every signature
//! and verifies every line, so that loss, repetition and disorder are exact numbers.
//!
//! A line that is to be verified holds `"src":N,"seq":N`; see [`lines`]. Whatever goes wrong does
//! so because a [`Faults`] says so, never because of what came over the wire.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::poll_until;
use state::Shared;

pub mod client;
mod connection;
mod faults;
mod http;
pub mod lines;
mod listener;
mod service;
mod signature;
mod state;
mod tally;
#[cfg(test)]
mod tests;

pub use faults::{Faults, Refusal};
pub use state::Counts;
pub use tally::Delivery;

/// The access key that signs; others are unknown.
pub const ACCESS_KEY: &str = "test";
/// Its secret.
pub const SECRET_KEY: &str = "test";
/// The only region there is.
pub const REGION: &str = "us-east-1";

/// The endpoint, on threads of its own; dropping it closes every connection and joins them.
pub struct LogEndpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    certificate: Option<Certificate>,
    listener: Option<listener::Listener>,
}

/// What clients trust, as a file.
struct Certificate {
    tls: Arc<rustls::ServerConfig>,
    pem: PathBuf,
    _directory: tempfile::TempDir,
}

impl LogEndpoint {
    /// Listens on a free port, in plain HTTP.
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// The same over TLS, with a certificate of its own.
    pub fn start_tls() -> Self {
        Self::listen(Some(Certificate::make()))
    }

    fn listen(certificate: Option<Certificate>) -> Self {
        // Not port 0: during an outage nothing else may get the port.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, super::free_port()));
        let shared = Arc::new(Shared::new());
        let mut endpoint = Self { address, shared, certificate, listener: None };
        endpoint.come_back();
        endpoint
    }

    /// What an SDK is pointed at.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// `127.0.0.1:41234`
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The certificate as PEM, when it speaks TLS.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_ref().map(|certificate| certificate.pem.as_path())
    }

    /// Variables that lead an agent's logs here.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut variables = vec![
            ("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS".to_owned(), self.url()),
            ("AWS_REGION".to_owned(), REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID".to_owned(), ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), SECRET_KEY.to_owned()),
        ];
        if let Some(pem) = self.certificate() {
            let pem = pem.to_str().expect("UTF-8").to_owned();
            variables.push(("AWS_CA_BUNDLE".to_owned(), pem));
        }
        variables
    }

    /// What goes wrong from now on, instead of what did before.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.change(|state| state.faults = faults);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.set_faults(Faults::default());
    }

    /// Refuses connections and resets those it has, until [`Self::come_back`].
    pub fn go_away(&mut self) {
        self.listener = None;
    }

    /// Listens again.
    pub fn come_back(&mut self) {
        let tls = self.certificate.as_ref().map(|certificate| Arc::clone(&certificate.tls));
        self.listener = Some(listener::Listener::bind(self.address, tls, Arc::clone(&self.shared)));
    }

    /// Forgets groups and streams, as if somebody had deleted them.
    pub fn delete_groups(&self) {
        self.shared.change(|state| state.groups.clear());
    }

    /// Keeps the messages of streams whose `group:stream` contains `part` from now on.
    pub fn keep(&self, part: &str) {
        self.shared.change(|state| state.kept.push(part.to_owned()));
    }

    /// What was kept: messages of `group:stream` by their time in milliseconds, as they came.
    pub fn kept(&self) -> BTreeMap<String, Vec<(i64, String)>> {
        self.shared.read(|state| {
            let streams = state.groups.iter().flat_map(|(group, known)| {
                known.streams.iter().map(move |(name, stream)| (format!("{group}:{name}"), stream))
            });
            streams.map(|(name, stream)| (name, stream.kept.clone())).collect()
        })
    }

    /// The retention of each group, in days.
    pub fn groups(&self) -> BTreeMap<String, Option<u32>> {
        self.shared.read(|state| {
            let groups = state.groups.iter();
            groups.map(|(name, group)| (name.clone(), group.retention_days)).collect()
        })
    }

    /// What came so far.
    pub fn counts(&self) -> Counts {
        self.shared.read(|state| state.counts.clone())
    }

    /// What came of a source.
    pub fn delivery(&self, source: u64) -> Delivery {
        self.shared.read(|state| state.tally.delivery(source))
    }

    /// How many of the lines `0..count` of a source have not come.
    pub fn missing(&self, source: u64, count: u64) -> u64 {
        self.shared.read(|state| state.tally.missing(source, count))
    }

    /// Begins the measurement of lag anew.
    pub fn reset_lag(&self) {
        self.shared.change(|state| state.tally.reset_lag());
    }

    /// Waits until the lines `0..count` of every source have come.
    #[track_caller]
    pub fn wait_for(&self, owed: &BTreeMap<u64, u64>, within: Duration) {
        poll_until(Duration::from_millis(20), within, "every line has come", || {
            let missing = |(source, count): (&u64, &u64)| {
                let missing = self.missing(*source, *count);
                (missing > 0).then(|| (format!("source {source}"), json!([missing, count])))
            };
            let missing: serde_json::Map<_, _> = owed.iter().filter_map(missing).collect();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(json!({"missing, of": missing, "counts": format!("{:?}", self.counts())}))
            }
        });
    }

    /// Waits until the counts are as wanted, and answers them.
    #[track_caller]
    pub fn wait_for_counts(
        &self,
        within: Duration,
        what: &str,
        wanted: impl Fn(&Counts) -> bool,
    ) -> Counts {
        super::wait_until(within, what, || {
            let counts = self.counts();
            if wanted(&counts) { Ok(counts) } else { Err(format!("{counts:#?}")) }
        })
    }

    /// When the first and the last batch were accepted.
    pub fn accepted_between(&self) -> Option<(Instant, Instant)> {
        self.shared.read(|state| state.accepted_between)
    }
}

impl Certificate {
    fn make() -> Self {
        let names = vec![Ipv4Addr::LOCALHOST.to_string(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("could not make a certificate");
        let directory = tempfile::Builder::new().prefix("gc-ca-").tempdir().expect("no directory");
        let pem = directory.path().join("ca.pem");
        std::fs::write(&pem, made.cert.pem()).expect("could not write the certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .expect("a key that was just made is one");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the key is the certificate's");
        Self { tls: Arc::new(tls), pem, _directory: directory }
    }
}

/// The error document of an AWS service.
fn error(kind: &str, message: &str) -> Value {
    json!({"__type": kind, "message": message})
}
