//! X-Ray: `PutTraceSegments`. One attempt for each call: what failed is sent again by whoever knows
//! whether it is still worth it.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_xray::Client;
use aws_sdk_xray::config::Builder;
use aws_sdk_xray::config::retry::RetryConfig;
use aws_sdk_xray::config::timeout::TimeoutConfig;
use groundcrew_core::logs::retry::Failure;
use groundcrew_core::traces::queue::Unprocessed;

use super::cloudwatch_logs::call_error;

/// How long one request may take: a quarter of a megabyte at most.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(10);
const ENDPOINT_VARIABLES: [&str; 1] = ["AWS_ENDPOINT_URL_XRAY"];

/// The service.
#[derive(Debug, Clone)]
pub struct Xray {
    client: Client,
}

/// A request that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct XrayError {
    /// What to do about it.
    pub failure: Failure,
    /// For people.
    pub text: String,
}

impl Xray {
    /// With credentials, region and endpoint from the environment and the instance's metadata.
    /// Without a region there is nobody to ask: it may be there the next time.
    pub async fn connect() -> Result<Self, XrayError> {
        let shared = super::load_config_with_region(&ENDPOINT_VARIABLES).await;
        let shared = shared.ok_or_else(|| XrayError {
            failure: Failure::Credentials,
            text: super::NO_REGION.to_owned(),
        })?;
        Ok(Self::with(&shared))
    }

    fn with(shared: &SdkConfig) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(super::CONNECT_WITHIN)
            .read_timeout(ATTEMPT_WITHIN)
            .operation_attempt_timeout(ATTEMPT_WITHIN)
            .operation_timeout(ATTEMPT_WITHIN)
            .build();
        let config = Builder::from(shared)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled())
            .build();
        Self { client: Client::from_conf(config) }
    }

    /// Sends documents. Those that X-Ray did not process come back by their ids.
    pub async fn put_trace_segments(
        &self,
        documents: Vec<String>,
    ) -> Result<Vec<Unprocessed>, XrayError> {
        let request = self.client.put_trace_segments().set_trace_segment_documents(Some(documents));
        let answer = request.send().await.map_err(|error| {
            let error = call_error("xray:PutTraceSegments", &error);
            XrayError { failure: error.failure, text: error.text }
        })?;
        let unprocessed = answer.unprocessed_trace_segments().iter().map(|one| Unprocessed {
            id: one.id().map(str::to_owned),
            code: one.error_code().or(one.message()).unwrap_or("no reason").to_owned(),
        });
        Ok(unprocessed.collect())
    }
}
