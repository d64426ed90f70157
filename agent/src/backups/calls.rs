//! What all calls have in common: an end before the core stops waiting for them, and failures in
//! its words.

use std::time::Duration;

use groundcrew_core::backups::call::{CallError, CallErrorKind};
use groundcrew_core::backups::limits::CALL_WITHIN;

use crate::aws::s3::{ErrorKind, S3Error};
use crate::errors::chain;

/// How long a call may take: less than the core waits, so that no answer comes too late.
const WITHIN: Duration = Duration::from_secs(50);

const _: () = assert!(WITHIN.as_secs() < CALL_WITHIN.as_secs());

/// The call's result, or that it may have been done. `what` is told to people.
pub(super) fn within<T, E: Into<CallError>>(
    what: &str,
    call: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, CallError>> {
    limited(WITHIN, what, call)
}

fn limited<T, E: Into<CallError>>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, CallError>> {
    // The SDK's futures are large, and would be part of all that wait for them.
    let call = Box::pin(call);
    async move {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => {
                let text = format!("{what} took longer than {} s", limit.as_secs());
                Err(CallError { kind: CallErrorKind::Unclear, text })
            }
        }
    }
}

/// What the same call again would not mend.
pub(super) fn refused(text: impl Into<String>) -> CallError {
    CallError { kind: CallErrorKind::Refused, text: text.into() }
}

/// What a failure of S3 means. An object that is not there and one that is not the one that was
/// named have a meaning of their own to each call, and are not for here.
pub(super) fn from_s3(error: &S3Error) -> CallError {
    let kind = match error.kind {
        ErrorKind::Denied => CallErrorKind::Denied,
        _ if error.lacks_credentials() => CallErrorKind::Denied,
        ErrorKind::Throttled => CallErrorKind::Throttled,
        ErrorKind::Unavailable | ErrorKind::Conflict => CallErrorKind::Unclear,
        ErrorKind::NotFound | ErrorKind::PreconditionFailed | ErrorKind::Other => {
            CallErrorKind::Refused
        }
    };
    let mut text = chain(error);
    if error.kind == ErrorKind::Denied && error.operation == "read" {
        // Who may not list a bucket is not told that an object is not there.
        text.push_str(" (S3 also says so of what is not there, without s3:ListBucket)");
    }
    CallError { kind, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: ErrorKind, operation: &'static str) -> CallError {
        let source = "words".into();
        let (bucket, key) = ("b".to_owned(), "k".to_owned());
        from_s3(&S3Error { operation, bucket, key, kind, source })
    }

    #[test]
    fn failures_of_s3_say_whether_something_was_done() {
        for (kind, expected) in [
            (ErrorKind::Denied, CallErrorKind::Denied),
            (ErrorKind::Throttled, CallErrorKind::Throttled),
            (ErrorKind::Unavailable, CallErrorKind::Unclear),
            (ErrorKind::Conflict, CallErrorKind::Unclear),
            (ErrorKind::Other, CallErrorKind::Refused),
        ] {
            assert_eq!(failed(kind, "write").kind, expected, "{kind}");
        }
        assert_eq!(failed(ErrorKind::Other, "write").text, "could not write s3://b/k: words");
        assert!(failed(ErrorKind::Denied, "read").text.contains("s3:ListBucket"));
        assert!(!failed(ErrorKind::Denied, "write").text.contains("s3:ListBucket"));
    }

    #[tokio::test]
    async fn a_call_that_hangs_may_have_been_done() {
        let hangs = std::future::pending::<Result<(), CallError>>();
        let error = limited(Duration::ZERO, "reading", hangs).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Unclear);
        assert_eq!(error.text, "reading took longer than 0 s");
    }
}
