//! CloudWatch Logs: events in, and the groups and streams they go to. One attempt for each call:
//! when to try again is the core's to say.

use std::error::Error;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_cloudwatchlogs::config::http::HttpRequest;
use aws_sdk_cloudwatchlogs::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_cloudwatchlogs::config::retry::RetryConfig;
use aws_sdk_cloudwatchlogs::config::timeout::TimeoutConfig;
use aws_sdk_cloudwatchlogs::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_cloudwatchlogs::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatchlogs::types::RejectedLogEventsInfo;
use aws_sdk_cloudwatchlogs::{Client, operation::put_log_events::PutLogEventsOutput};
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use groundcrew_core::logs::retry::Failure;

use super::fleet::cause_of;
use crate::errors::chain;

/// How long one request may take: a megabyte over a slow line.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(20);
const ENDPOINT_VARIABLES: [&str; 1] = ["AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"];

/// The service.
#[derive(Debug, Clone)]
pub struct CloudWatchLogs {
    client: Client,
}

/// A request that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct LogsCallError {
    /// What to do about it.
    pub failure: Failure,
    /// For people.
    pub text: String,
    /// The service may have done what was asked, and nobody will ever know.
    pub ambiguous: bool,
}

/// Events of an accepted request that were not taken, as indexes into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rejected {
    /// Events before this one are too old, or older than the group keeps them.
    pub before: usize,
    /// This event and those after it are too far ahead.
    pub from: Option<usize>,
}

impl CloudWatchLogs {
    /// With credentials, region and endpoint from the environment and the instance's metadata.
    /// Without a region there is nobody to ask: it may be there the next time.
    pub async fn connect() -> Result<Self, LogsCallError> {
        let shared = super::load_config_with_region(&ENDPOINT_VARIABLES).await;
        let shared = shared.ok_or_else(|| LogsCallError {
            failure: Failure::Credentials,
            text: super::NO_REGION.to_owned(),
            ambiguous: false,
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

    /// Sends the events of one request. `body` is the whole request as the service reads it,
    /// compressed with gzip.
    pub async fn put_log_events(
        &self,
        group: &str,
        stream: &str,
        body: Bytes,
    ) -> Result<Rejected, LogsCallError> {
        // The SDK makes a string of each event and compresses none of them: at a hundred megabytes
        // a second that is most of the work. It signs and sends what is ready instead.
        let request = self.client.put_log_events().log_group_name(group).log_stream_name(stream);
        let request = request.set_log_events(Some(Vec::new()));
        let answer = request.customize().interceptor(Replace { body }).send().await;
        match answer {
            Ok(output) => Ok(rejected(&output)),
            Err(error) => Err(call_error("logs:PutLogEvents", &error)),
        }
    }

    /// Creates a group. One that exists is fine. `true`: it is new.
    pub async fn create_group(&self, group: &str) -> Result<bool, LogsCallError> {
        let answer = self.client.create_log_group().log_group_name(group).send().await;
        created(answer.map(drop), "logs:CreateLogGroup")
    }

    /// Creates a stream. One that exists is fine.
    pub async fn create_stream(&self, group: &str, stream: &str) -> Result<bool, LogsCallError> {
        let request = self.client.create_log_stream().log_group_name(group);
        let answer = request.log_stream_name(stream).send().await;
        created(answer.map(drop), "logs:CreateLogStream")
    }

    /// Says for how many days a group keeps its events.
    pub async fn put_retention(&self, group: &str, days: u16) -> Result<(), LogsCallError> {
        let request = self.client.put_retention_policy().log_group_name(group);
        let answer = request.retention_in_days(i32::from(days)).send().await;
        answer.map(drop).map_err(|error| call_error("logs:PutRetentionPolicy", &error))
    }
}

/// Puts a body that is ready in the place of the one that the SDK made, before it is signed.
#[derive(Debug)]
struct Replace {
    body: Bytes,
}

impl Intercept for Replace {
    fn name(&self) -> &'static str {
        "Replace"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request: &mut HttpRequest = context.request_mut();
        request.headers_mut().insert("content-encoding", "gzip");
        request.headers_mut().insert("content-length", self.body.len().to_string());
        *request.body_mut() = SdkBody::from(self.body.clone());
        Ok(())
    }
}

fn rejected(output: &PutLogEventsOutput) -> Rejected {
    let index = |index: Option<i32>| index.and_then(|index| usize::try_from(index).ok());
    let info = output.rejected_log_events_info();
    let field = |get: fn(&RejectedLogEventsInfo) -> Option<i32>| index(info.and_then(get));
    let old = field(RejectedLogEventsInfo::too_old_log_event_end_index);
    let expired = field(RejectedLogEventsInfo::expired_log_event_end_index);
    Rejected {
        before: old.max(expired).unwrap_or(0),
        from: field(RejectedLogEventsInfo::too_new_log_event_start_index),
    }
}

fn created<E>(answer: Result<(), SdkError<E>>, action: &str) -> Result<bool, LogsCallError>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match answer {
        Ok(()) => Ok(true),
        Err(error) => {
            let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
            if code == Some("ResourceAlreadyExistsException") {
                return Ok(false);
            }
            Err(call_error(action, &error))
        }
    }
}

/// What to make of a failed call of any service. `action` is its name in a policy.
pub(super) fn call_error<E>(action: &str, error: &SdkError<E>) -> LogsCallError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    if let SdkError::ServiceError(answer) = error {
        let status = answer.raw().status().as_u16();
        let code = answer.err().meta().code().unwrap_or_default();
        let failure = classify(status, code);
        let message = answer.err().meta().message().unwrap_or("no details");
        let text = match code {
            "" => format!("{action} failed with status {status}"),
            code => format!("{action} failed with {code}: {message}"),
        };
        return LogsCallError { failure, text, ambiguous: failure == Failure::Service };
    }
    if cause_of::<CredentialsError>(error).is_some() {
        let text = format!("no credentials for {action}: {}", chain(error));
        return LogsCallError { failure: Failure::Credentials, text, ambiguous: false };
    }
    let why = match error {
        SdkError::ConstructionFailure(_) => {
            let text = format!("{action} could not be asked for: {}", chain(error));
            return LogsCallError { failure: Failure::Credentials, text, ambiguous: false };
        }
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error().and_then(Error::source);
            cause.map_or_else(|| chain(error), chain)
        }
        other => chain(other),
    };
    let text = format!("{action}: {why}");
    LogsCallError { failure: Failure::Network, text, ambiguous: true }
}

/// By the code, and by the status where a proxy answered instead of the service.
fn classify(status: u16, code: &str) -> Failure {
    match code {
        "ThrottlingException"
        | "ThrottledException"
        | "Throttling"
        | "LimitExceededException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "KMSThrottling"
        | "OperationAbortedException" => Failure::Throttled,
        "ResourceNotFoundException" | "NotFound" => Failure::Missing,
        "RequestTimeTooSkewed"
        | "RequestExpired"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch" => Failure::Clock,
        "UnrecognizedClientException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "IncompleteSignature"
        | "OptInRequired" => Failure::Credentials,
        // A key that is disabled or on its way out is mended where it is, as a policy is.
        "AccessDenied"
        | "AccessDeniedException"
        | "KMSAccessDenied"
        | "KMSDisabled"
        | "KMSInvalidState"
        | "KMSNotFound" => Failure::Denied,
        "InvalidParameterException"
        | "InvalidParameterValue"
        | "InvalidParameterValueException"
        | "InvalidParameterCombination"
        | "InvalidParameterCombinationException"
        | "MissingParameter"
        | "MissingRequiredParameterException"
        | "InvalidRequestException"
        | "SerializationException"
        | "ValidationException"
        | "ValidationError" => Failure::Refused,
        _ => match status {
            429 => Failure::Throttled,
            401 => Failure::Credentials,
            403 => Failure::Denied,
            400 | 413 => Failure::Refused,
            _ => Failure::Service,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses_have_their_class() {
        for (status, code, expected) in [
            (400, "ThrottlingException", Failure::Throttled),
            (400, "ResourceNotFoundException", Failure::Missing),
            (400, "ExpiredTokenException", Failure::Credentials),
            (403, "InvalidSignatureException", Failure::Clock),
            (400, "KMSThrottling", Failure::Throttled),
            (400, "KMSAccessDenied", Failure::Denied),
            (403, "AuthorizationError", Failure::Denied),
            (400, "RequestExpired", Failure::Clock),
            (404, "NotFound", Failure::Missing),
            (400, "InvalidParameter", Failure::Refused),
            (400, "InvalidParameterException", Failure::Refused),
            (400, "InvalidParameterValue", Failure::Refused),
            (413, "", Failure::Refused),
            (429, "", Failure::Throttled),
            (403, "", Failure::Denied),
            (400, "AccessDeniedException", Failure::Denied),
            (500, "InternalFailure", Failure::Service),
            (503, "ServiceUnavailableException", Failure::Service),
            (200, "", Failure::Service),
        ] {
            assert_eq!(classify(status, code), expected, "{status} {code}");
        }
    }
}
