//! CloudWatch metrics: a minute's data in. One attempt for each call: when to try again is the
//! core's to say. The SDK compresses bodies of more than 10 KiB by itself.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::Builder;
use aws_sdk_cloudwatch::config::retry::RetryConfig;
use aws_sdk_cloudwatch::config::timeout::TimeoutConfig;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use groundcrew_core::logs::retry::Failure;
use groundcrew_core::metrics::Unit;
use groundcrew_core::metrics::series::Datum;

use super::cloudwatch_logs::{LogsCallError, call_error};

/// How long one request may take: a hundred kilobytes over a slow line.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(15);
const ENDPOINT_VARIABLES: [&str; 1] = ["AWS_ENDPOINT_URL_CLOUDWATCH"];

/// The service.
#[derive(Debug, Clone)]
pub struct CloudWatch {
    client: Client,
}

/// A request that was not accepted, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct MetricsCallError {
    /// What to do about it.
    pub failure: Failure,
    /// For people.
    pub text: String,
}

impl From<LogsCallError> for MetricsCallError {
    fn from(LogsCallError { failure, text, .. }: LogsCallError) -> Self {
        Self { failure, text }
    }
}

impl CloudWatch {
    /// With credentials, region and endpoint from the environment and the instance's metadata.
    /// Without a region there is nobody to ask: it may be there the next time.
    pub async fn connect() -> Result<Self, MetricsCallError> {
        let shared = super::load_config_with_region(&ENDPOINT_VARIABLES).await;
        let shared = shared.ok_or_else(|| MetricsCallError {
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

    /// Sends data, all of them or none.
    pub async fn put_metric_data(
        &self,
        namespace: &str,
        data: &[Arc<Datum>],
    ) -> Result<(), MetricsCallError> {
        let data = data.iter().map(|datum| of(datum)).collect();
        let request = self.client.put_metric_data().namespace(namespace);
        let answer = request.set_metric_data(Some(data)).send().await;
        answer.map(drop).map_err(|error| call_error("cloudwatch:PutMetricData", &error).into())
    }
}

fn of(datum: &Datum) -> MetricDatum {
    let series = &datum.series;
    let dimension =
        |(name, value): &(String, String)| Dimension::builder().name(name).value(value).build();
    MetricDatum::builder()
        .metric_name(&series.name)
        .set_dimensions(Some(series.dimensions.iter().map(dimension).collect()))
        .timestamp(DateTime::from_millis(datum.at.0))
        .unit(match series.unit {
            Unit::Seconds => StandardUnit::Seconds,
            Unit::Bytes => StandardUnit::Bytes,
            // Shares are not percentages, and CloudWatch knows no others.
            Unit::Ratio => StandardUnit::None,
            Unit::Count => StandardUnit::Count,
        })
        .set_values(Some(datum.values.clone()))
        .set_counts(Some(datum.counts.iter().map(|count| *count as f64).collect()))
        .build()
}
