//! Posts small documents to other people's services over HTTPS. A leaf: knows no service, follows
//! no redirect, tries nothing twice, and never puts an address into an error: it may be a secret.
//!
//! Trusts what the host trusts, and what `AWS_CA_BUNDLE` names. Proxies are not supported.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use camino::Utf8PathBuf;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::errors::chain;
use crate::fsx::About;

/// How long a TCP connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long all of an exchange may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of an answer: what it is about stands at its beginning.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a connection that is not used stays open.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Why nothing was posted.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// There is no TLS.
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
    /// The address is none.
    #[error("the address is not one of HTTPS; write it like \"https://example.com/hook\"")]
    Address,
    /// A header cannot be sent.
    #[error("the header {name} cannot be sent: it has characters that no header may have")]
    Header {
        /// Its name.
        name: &'static str,
    },
    /// The exchange broke.
    #[error("could not post to {host}")]
    Broken {
        /// Who was asked.
        host: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("{host} did not answer within {within:?}")]
    Late {
        /// Who was asked.
        host: String,
        /// How long it had.
        within: Duration,
    },
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The pause that is asked for.
    pub retry_after: Option<Duration>,
    /// The body; empty when it was too long.
    pub body: String,
}

/// An address that may be posted to: over HTTPS, or on this host. Never shown as a whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Uri);

impl Address {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, HttpsError> {
        let uri: Uri = text.trim().parse().map_err(|_| HttpsError::Address)?;
        let host = uri.host().ok_or(HttpsError::Address)?;
        let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        match uri.scheme_str() {
            Some("https") => Ok(Self(uri)),
            Some("http") if here => Ok(Self(uri)),
            _ => Err(HttpsError::Address),
        }
    }

    /// Who is there.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }
}

/// Without the path, which may be a secret.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/...", self.host())
    }
}

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Https {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Https {
    /// Sets TLS up. Reads the host's certificates.
    pub fn open() -> Result<Self, HttpsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(HttpsError::Tls)?
            .with_root_certificates(roots())
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_WITHIN));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .build(connector);
        Ok(Self { client })
    }

    /// Posts `body` once.
    pub async fn post(
        &self,
        address: &Address,
        headers: &[(&'static str, String)],
        body: String,
    ) -> Result<Answer, HttpsError> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = address.0.clone();
        let agent = concat!("groundcrew/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(hyper::header::USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in headers {
            let mut value =
                HeaderValue::from_str(value).map_err(|_| HttpsError::Header { name })?;
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        let host = || address.host().to_owned();
        let exchange = tokio::time::timeout(ANSWER_WITHIN, self.exchange(request)).await;
        exchange
            .map_err(|_| HttpsError::Late { host: host(), within: ANSWER_WITHIN })?
            .map_err(|source| HttpsError::Broken { host: host(), source })
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let response = self.client.request(request).await?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(retry_after);
        let body = match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
            Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            // The status says all that is needed.
            Err(error) if error.is::<LengthLimitError>() => String::new(),
            Err(error) => return Err(error),
        };
        Ok(Answer { status, retry_after, body })
    }
}

/// Seconds; a date, which is the other form, is taken as a minute.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    Some(text.parse().map_or(Duration::from_mins(1), Duration::from_secs))
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("a certificate of the host is not used: {}", chain(error));
    }
    roots.add_parsable_certificates(found.certs);
    let Some(path) = env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) else {
        return roots;
    };
    let path = Utf8PathBuf::from(path.to_string_lossy().into_owned());
    match std::fs::read(&path).about("read", &path) {
        Ok(pem) => {
            let certificates = CertificateDer::pem_slice_iter(&pem);
            roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        }
        Err(error) => tracing::error!("AWS_CA_BUNDLE is not used: {}", chain(&error)),
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_this_host_are_addresses_and_paths_are_not_shown() {
        for good in ["https://hooks.slack.com/services/T0/B0/secret", "http://127.0.0.1:9/x"] {
            let address = Address::parse(good).unwrap();
            assert!(!format!("{address:?}").contains("secret"));
        }
        for bad in ["http://example.com/", "ftp://example.com", "/path", "", "https://", "a b"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_pause_that_is_asked_for_is_seconds_or_a_minute() {
        let read = |text: &str| retry_after(&HeaderValue::from_str(text).unwrap());
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Wed, 21 Oct 2026 07:28:00 GMT"), Some(Duration::from_mins(1)));
    }
}
