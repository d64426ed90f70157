//! What it means that a call for backups or for `groundcrew fleet` has failed: nothing was done, it
//! may have been done, it is not allowed, or the same again will fail again. It never decides what
//! follows from that: the caller does.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use groundcrew_core::backups::call::{CallError, CallErrorKind};
use groundcrew_core::backups::limits::REASON_MAX;

use super::fleet::cause_of;
use crate::errors::chain;

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CallFailure {
    /// What follows from it.
    pub kind: CallErrorKind,
    /// AWS's code without its ending: services say `DBSnapshotNotFound` where their models have
    /// `DBSnapshotNotFoundFault`, and the other way round. Empty when AWS did not say one.
    pub code: String,
    /// AWS's own words; empty when there are none.
    pub message: String,
    /// The operation, and why it failed, for people.
    pub text: String,
    /// Credentials did not come this time, though there is somebody who gives them: nothing was
    /// sent, and they may come the next time.
    pub passing: bool,
}

impl From<CallFailure> for CallError {
    fn from(failure: CallFailure) -> Self {
        Self { kind: failure.kind, text: failure.text }
    }
}

impl CallFailure {
    /// A failure that is no answer of AWS. `text` names the operation.
    pub fn own(kind: CallErrorKind, text: impl Into<String>) -> Self {
        let text = clean(&text.into());
        Self { kind, code: String::new(), message: String::new(), text, passing: false }
    }

    /// Nobody knows where to ask. It may be known the next time, and nothing was done.
    pub(super) fn no_region(action: &str) -> Self {
        Self::own(CallErrorKind::Unclear, format!("{action}: {}", super::NO_REGION))
    }
}

/// What to make of a failed operation. `action` is its name in a policy, such as
/// `rds:CreateDBSnapshot`.
pub(super) fn failure<E>(action: &str, error: &SdkError<E>) -> CallFailure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    if let SdkError::ServiceError(answer) = error {
        let status = answer.raw().status().as_u16();
        let meta = answer.err().meta();
        return answered(
            action,
            status,
            meta.code().unwrap_or_default(),
            meta.message().unwrap_or_default(),
        );
    }
    if let Some(error) = cause_of::<CredentialsError>(error) {
        return no_credentials(action, error);
    }
    match error {
        SdkError::ConstructionFailure(_) => {
            let text = format!("{action} could not be asked for: {}", chain(error));
            CallFailure::own(CallErrorKind::Refused, text)
        }
        SdkError::TimeoutError(_) => {
            let text = format!("{action} was not answered in time");
            CallFailure::own(CallErrorKind::Unclear, text)
        }
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error().and_then(Error::source);
            let why = cause.map_or_else(|| chain(error), chain);
            CallFailure::own(CallErrorKind::Unclear, format!("{action} got no answer: {why}"))
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            let text = format!("{action} got an answer that is not understood (status {status})");
            CallFailure::own(CallErrorKind::Unclear, text)
        }
        other => CallFailure::own(CallErrorKind::Unclear, format!("{action}: {}", chain(other))),
    }
}

/// An operation that was never sent.
pub(super) fn no_credentials(action: &str, error: &CredentialsError) -> CallFailure {
    let lasting = matches!(
        error,
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
    );
    let text = format!("no credentials for {action}: {}", chain(error));
    CallFailure { passing: !lasting, ..CallFailure::own(CallErrorKind::Denied, text) }
}

/// An answer of AWS that is an error.
pub(super) fn answered(action: &str, status: u16, code: &str, message: &str) -> CallFailure {
    let code = plain(code);
    let message = clean(message);
    let kind = kind_of(status, code);
    let said = if message.is_empty() { "no details" } else { &message };
    let text = match (kind, code) {
        (_, "") => format!("{action} failed with status {status}"),
        (CallErrorKind::Denied, _) => format!("{action} is not allowed ({code}): {said}"),
        (_, code) => format!("{action} failed with {code}: {said}"),
    };
    CallFailure { code: code.to_owned(), message, ..CallFailure::own(kind, text) }
}

/// The code without what some services put behind it and others do not.
fn plain(code: &str) -> &str {
    code.strip_suffix("Fault").or_else(|| code.strip_suffix("Exception")).unwrap_or(code)
}

/// By the code, and by the status where the code does not tell or a proxy has answered. What a
/// person can mend at the other side, such as a key that is disabled, counts as not allowed: it is
/// tried again.
fn kind_of(status: u16, code: &str) -> CallErrorKind {
    match code {
        "Throttling"
        | "Throttled"
        | "RequestThrottled"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "LimitExceeded"
        | "PriorRequestNotComplete"
        | "BandwidthLimitExceeded"
        | "SlowDown" => CallErrorKind::Throttled,
        "AccessDenied"
        | "UnauthorizedOperation"
        | "NotAuthorized"
        | "AuthFailure"
        | "ExpiredToken"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "UnrecognizedClient"
        | "InvalidSignature"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "RequestTimeTooSkewed"
        | "OptInRequired"
        | "KMSKeyNotAccessible"
        | "KMSInvalidState"
        | "Disabled" => CallErrorKind::Denied,
        "InternalFailure" | "InternalError" | "ServiceUnavailable" | "RequestTimeout"
        | "KMSInternal" | "KeyUnavailable" | "DependencyTimeout" => CallErrorKind::Unclear,
        _ => match status {
            429 => CallErrorKind::Throttled,
            401 | 403 => CallErrorKind::Denied,
            400..=499 => CallErrorKind::Refused,
            _ => CallErrorKind::Unclear,
        },
    }
}

/// One line of what people are shown: whoever answered chose the words.
pub(super) fn clean(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(REASON_MAX).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_follows_from_them() {
        let check = |status, code, kind| {
            let failure = answered("rds:CreateDBSnapshot", status, code, "words");
            assert_eq!(failure.kind, kind, "{status} {code}");
        };
        check(400, "Throttling", CallErrorKind::Throttled);
        check(400, "ThrottlingException", CallErrorKind::Throttled);
        check(503, "RequestLimitExceeded", CallErrorKind::Throttled);
        check(429, "", CallErrorKind::Throttled);
        check(403, "AccessDenied", CallErrorKind::Denied);
        check(400, "AccessDeniedException", CallErrorKind::Denied);
        check(403, "", CallErrorKind::Denied);
        check(400, "ExpiredTokenException", CallErrorKind::Denied);
        check(400, "KMSKeyNotAccessibleFault", CallErrorKind::Denied);
        check(400, "KMSInvalidStateException", CallErrorKind::Denied);
        check(500, "InternalFailure", CallErrorKind::Unclear);
        check(503, "ServiceUnavailable", CallErrorKind::Unclear);
        check(502, "", CallErrorKind::Unclear);
        check(200, "", CallErrorKind::Unclear);
        check(400, "InvalidParameterValue", CallErrorKind::Refused);
        check(404, "DBSnapshotNotFound", CallErrorKind::Refused);
        check(400, "SnapshotQuotaExceeded", CallErrorKind::Refused);
        check(413, "", CallErrorKind::Refused);
    }

    #[test]
    fn credentials_that_did_not_come_may_come_and_nothing_was_sent() {
        let check = |error: CredentialsError, passing| {
            let failure = no_credentials("autoscaling:SetDesiredCapacity", &error);
            assert_eq!((failure.kind, failure.passing), (CallErrorKind::Denied, passing));
            let start = "no credentials for autoscaling:SetDesiredCapacity: ";
            assert!(failure.text.starts_with(start), "{}", failure.text);
        };
        check(CredentialsError::not_loaded("no role is attached"), false);
        check(CredentialsError::invalid_configuration("a profile of its own"), false);
        check(CredentialsError::provider_timed_out(std::time::Duration::from_secs(5)), true);
        check(CredentialsError::provider_error("503"), true);
        check(CredentialsError::unhandled("no JSON"), true);
    }

    #[test]
    fn codes_lose_the_ending_that_not_everybody_writes() {
        for (code, expected) in [
            ("DBSnapshotNotFoundFault", "DBSnapshotNotFound"),
            ("DBSnapshotNotFound", "DBSnapshotNotFound"),
            ("InvalidDBClusterStateFault", "InvalidDBClusterState"),
            ("NotFoundException", "NotFound"),
            ("", ""),
        ] {
            assert_eq!(answered("rds:X", 400, code, "").code, expected);
        }
    }

    #[test]
    fn what_people_read_is_one_line_and_not_long() {
        let failure = answered("rds:X", 400, "Bad", &"a\n\u{1b}".repeat(1000));
        assert!(failure.text.chars().count() <= REASON_MAX);
        assert!(!failure.text.contains(char::is_control));
        let denied = answered("rds:X", 403, "AccessDenied", "User: me");
        assert_eq!(denied.text, "rds:X is not allowed (AccessDenied): User: me");
    }
}
