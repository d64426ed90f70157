//! AWS behind plain structs: the only place that names a type of an `aws-sdk-*` or `aws-smithy-*`
//! crate.
//!
//! Every client has explicit timeouts and a bounded number of attempts. Endpoints follow
//! `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>`. Nothing here decides anything.

use std::env;
use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_smithy_http_client::{Builder, tls};
use camino::Utf8PathBuf;
use tokio::time::timeout;

use crate::errors::chain;
use crate::fsx::About;

pub mod autoscaling;
pub mod call_failure;
pub mod cloudwatch;
pub mod cloudwatch_logs;
pub mod db_token;
pub mod fleet;
pub mod imds;
pub mod kms;
pub mod load_balancing;
pub mod rds;
pub mod s3;
pub mod secrets_manager;
pub mod server_clock;
pub mod sns;
pub mod xray;

/// How long region and configuration may take to be found. Off EC2 nobody answers.
const CONFIG_WITHIN: Duration = Duration::from_secs(5);
/// Why nobody can be asked.
const NO_REGION: &str = "the region is not known: AWS_REGION is not set, \
                         and the instance metadata service does not say";
/// How long a TCP connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long a small request may take until its answer begins.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long an operation may take until its answer begins, all attempts and pauses included.
const OPERATION_WITHIN: Duration = Duration::from_mins(1);
/// Attempts the SDK makes for one operation.
const ATTEMPTS_MAX: u32 = 3;
/// The longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Where requests go when an endpoint override is set and nobody named a region: emulators take
/// any.
const REGION_OF_OVERRIDES: &str = "us-east-1";

/// What all clients share: credentials, region, endpoint, timeouts, TLS. `endpoint_variables` are
/// those of the services it is for.
async fn load_config(endpoint_variables: &[&str]) -> SdkConfig {
    let mut loader = loader();
    let overridden = endpoint_variables.iter().any(|variable| has_endpoint_override(variable));
    if overridden && !has_region() {
        loader = loader.region(Region::from_static(REGION_OF_OVERRIDES));
    }
    loader.load().await
}

/// The same, in a region that is known. Asks nobody.
async fn load_config_in(region: &str) -> SdkConfig {
    loader().region(Region::new(region.to_owned())).load().await
}

fn loader() -> ConfigLoader {
    let http = Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .tls_context(tls_context())
        .build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts(ANSWER_WITHIN, OPERATION_WITHIN))
        .retry_config(
            RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX).with_max_backoff(BACKOFF_MAX),
        )
}

/// Trusts what the host trusts, and what `AWS_CA_BUNDLE` names: the variable that every other tool
/// of AWS reads, and the Rust SDK does not.
fn tls_context() -> tls::TlsContext {
    let Some(path) = env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) else {
        return tls::TlsContext::default();
    };
    let path = Utf8PathBuf::from(path.to_string_lossy().into_owned());
    let bundle = std::fs::read(&path).about("read", &path);
    let built = bundle.map_err(|error| chain(&error)).and_then(|pem| {
        let store = tls::TrustStore::default().with_pem_certificate(pem);
        let context = tls::TlsContext::builder().with_trust_store(store).build();
        context.map_err(|error| chain(&error))
    });
    built.unwrap_or_else(|error| {
        tracing::error!("AWS_CA_BUNDLE is not used: {error}");
        tls::TlsContext::default()
    })
}

/// The same, where the region is known. Without one there is nobody to ask: it may be there the
/// next time.
async fn load_config_with_region(endpoint_variables: &[&str]) -> Option<SdkConfig> {
    let loaded = timeout(CONFIG_WITHIN, load_config(endpoint_variables)).await.ok();
    loaded.filter(|config| config.region().is_some())
}

fn timeouts(answer_within: Duration, operation_within: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(answer_within)
        .operation_attempt_timeout(answer_within + CONNECT_WITHIN)
        .operation_timeout(operation_within)
        .build()
}

fn has_endpoint_override(service_variable: &str) -> bool {
    is_set("AWS_ENDPOINT_URL") || is_set(service_variable)
}

fn has_region() -> bool {
    is_set("AWS_REGION") || is_set("AWS_DEFAULT_REGION")
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}
