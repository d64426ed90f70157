//! The clients for what the host has to say about itself: Auto Scaling and Elastic Load Balancing.
//! What goes wrong becomes the core's [`CallError`], with a text for a person.

use std::error::Error;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_autoscaling::config::retry::RetryConfig;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use groundcrew_core::doctor::{Action, Outcome};
use groundcrew_core::lifecycle::fleet::{CallError, CallErrorKind};

use super::autoscaling::AutoScaling;
use super::load_balancing::LoadBalancing;
use super::server_clock::ServerClock;
use crate::errors::chain;

/// How long an operation may take, all attempts and pauses included.
const OPERATION_WITHIN: Duration = Duration::from_secs(10);
/// How long one attempt may take.
const ATTEMPT_WITHIN: Duration = Duration::from_millis(4500);
/// Attempts the SDK makes for one operation; the core makes the next.
const ATTEMPTS_MAX: u32 = 2;
/// The longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
const ENDPOINT_VARIABLES: [&str; 2] =
    ["AWS_ENDPOINT_URL_AUTO_SCALING", "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2"];

/// Codes of an answer that says that something is not allowed.
const DENIALS: [&str; 3] = ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"];

const _: () = assert!(OPERATION_WITHIN.as_millis() > 2 * ATTEMPT_WITHIN.as_millis());

/// Both clients.
#[derive(Debug, Clone)]
pub struct FleetClients {
    /// Auto Scaling.
    pub autoscaling: AutoScaling,
    /// Elastic Load Balancing.
    pub balancing: LoadBalancing,
    /// What time it is by their clocks.
    pub clock: ServerClock,
}

impl FleetClients {
    /// With credentials, region and endpoints from the environment and the instance's metadata.
    /// Without a region there is nobody to ask: it may be there the next time.
    pub async fn connect() -> Result<Self, CallError> {
        let shared = super::load_config_with_region(&ENDPOINT_VARIABLES).await;
        Ok(Self::with(&shared.ok_or_else(|| passing(super::NO_REGION))?))
    }

    /// With this configuration, but for timeouts and attempts.
    pub(super) fn with(shared: &SdkConfig) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(super::CONNECT_WITHIN)
            .read_timeout(ATTEMPT_WITHIN)
            .operation_attempt_timeout(ATTEMPT_WITHIN)
            .operation_timeout(OPERATION_WITHIN)
            .build();
        let retries =
            RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX).with_max_backoff(BACKOFF_MAX);
        let shared = shared.to_builder().timeout_config(timeouts).retry_config(retries).build();
        let clock = ServerClock::default();
        Self {
            autoscaling: AutoScaling::new(&shared, &clock),
            balancing: LoadBalancing::new(&shared, &clock),
            clock,
        }
    }
}

/// What to make of a failed operation. `action` is its name in a policy, such as
/// `autoscaling:EnterStandby`.
pub(super) fn call_error<E>(action: &str, error: &SdkError<E>) -> CallError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    if let SdkError::ServiceError(answer) = error {
        let status = answer.raw().status().as_u16();
        let meta = answer.err().meta();
        let message = meta.message().unwrap_or("no details");
        return answered(action, status, meta.code().unwrap_or_default(), message);
    }
    if let Some(error) = cause_of::<CredentialsError>(error) {
        let missing = matches!(
            error,
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
        );
        let kind = if missing { CallErrorKind::Denied } else { CallErrorKind::Passing };
        return CallError { kind, text: format!("no credentials for {action}: {}", chain(error)) };
    }
    match error {
        SdkError::TimeoutError(_) => passing(format!("{action} was not answered in time")),
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error().and_then(Error::source);
            let why = cause.map_or_else(|| chain(error), chain);
            passing(format!("{action} could not be asked for: {why}"))
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            passing(format!("{action} got an answer that is not understood (status {status})"))
        }
        other => passing(format!("{action} failed: {}", chain(other))),
    }
}

/// What trying an action on something that does not exist says about whether it is allowed: AWS
/// looks at that first.
pub(super) fn tried<T, E>(name: &'static str, answer: &Result<T, SdkError<E>>) -> Action
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let Err(error) = answer else { return Action { name, outcome: Outcome::Allowed } };
    let known = error.as_service_error().map(|error| (error.code(), error.message()));
    let outcome = match known {
        Some((Some(code), message)) if DENIALS.contains(&code) => {
            Outcome::Denied(message.unwrap_or("no details").to_owned())
        }
        Some((Some("ValidationError" | "TargetGroupNotFound"), _)) => Outcome::Allowed,
        _ => Outcome::Unknown(call_error(name, error).text),
    };
    Action { name, outcome }
}

/// The status decides; the codes are those that come with a status of another meaning.
fn answered(action: &str, status: u16, code: &str, message: &str) -> CallError {
    let call_error = |kind, text| CallError { kind, text };
    let denied =
        || call_error(CallErrorKind::Denied, format!("{action} is not allowed: {message}"));
    match (status, code) {
        (_, "ValidationError") if message.contains("No active Lifecycle Action found") => {
            call_error(CallErrorKind::Gone, message.to_owned())
        }
        (_, "ExpiredToken" | "ExpiredTokenException" | "RequestExpired") => {
            let text = format!("the credentials for {action} have expired: {message}");
            call_error(CallErrorKind::Denied, text)
        }
        (_, "Throttling" | "ThrottlingException" | "RequestLimitExceeded") => {
            passing(format!("{action} is asked for too often: {message}"))
        }
        (401 | 403, _) => denied(),
        (_, code) if DENIALS.contains(&code) => denied(),
        (_, "") => passing(format!("{action} failed with status {status}")),
        (_, code) => passing(format!("{action} failed with {code}: {message}")),
    }
}

pub(super) fn passing(text: impl Into<String>) -> CallError {
    CallError { kind: CallErrorKind::Passing, text: text.into() }
}

/// The first error of this type among the causes.
pub(super) fn cause_of<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
