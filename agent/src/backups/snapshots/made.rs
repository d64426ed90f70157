//! What RDS's codes say about something that was to be made or to go. It never says that something
//! is done: only a look does.

use groundcrew_core::backups::call::{CallError, CallErrorKind, Make};

use crate::aws::call_failure::CallFailure;

/// What came of making something.
pub(super) fn make(answer: Result<(), CallFailure>) -> Result<Make, CallError> {
    let Err(failure) = answer else { return Ok(Make::Begun) };
    match failure.code.as_str() {
        "DBSnapshotAlreadyExists"
        | "DBClusterSnapshotAlreadyExists"
        | "DBInstanceAlreadyExists"
        | "DBClusterAlreadyExists" => Ok(Make::AlreadyExists),
        // Where there is no room now, there may be some later.
        "InvalidDBInstanceState"
        | "InvalidDBClusterState"
        | "InvalidDBSnapshotState"
        | "InvalidDBClusterSnapshotState"
        | "InsufficientDBInstanceCapacity"
        | "InsufficientDBClusterCapacity"
        | "InsufficientStorageClusterCapacity" => Ok(Make::InvalidState),
        "DBInstanceNotFound"
        | "DBClusterNotFound"
        | "DBSnapshotNotFound"
        | "DBClusterSnapshotNotFound" => Ok(Make::NoSource),
        "SnapshotQuotaExceeded"
        | "SharedSnapshotQuotaExceeded"
        | "InstanceQuotaExceeded"
        | "DBClusterQuotaExceeded"
        | "StorageQuotaExceeded" => Ok(Make::Quota(failure.text)),
        _ => Err(failure.into()),
    }
}

/// What came of deleting something: what is not there, and what goes already, is deleted; what
/// cannot go now is to be tried again.
pub(super) fn gone(answer: Result<(), CallFailure>) -> Result<(), CallError> {
    let Err(failure) = answer else { return Ok(()) };
    match failure.code.as_str() {
        "DBSnapshotNotFound"
        | "DBClusterSnapshotNotFound"
        | "DBInstanceNotFound"
        | "DBClusterNotFound" => Ok(()),
        "InvalidDBInstanceState"
        | "InvalidDBClusterState"
        | "InvalidDBSnapshotState"
        | "InvalidDBClusterSnapshotState" => {
            Err(CallError { kind: CallErrorKind::Throttled, text: failure.text })
        }
        _ => Err(failure.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: &str, kind: CallErrorKind) -> CallFailure {
        let text = format!("rds:X failed with {code}: words");
        CallFailure { code: code.into(), message: "words".into(), ..CallFailure::own(kind, text) }
    }

    #[test]
    fn codes_say_what_becomes_of_what_is_made() {
        let check = |code, expected: Result<Make, CallErrorKind>| {
            let made = make(Err(failure(code, CallErrorKind::Refused)));
            assert_eq!(made.map_err(|error| error.kind), expected, "{code}");
        };
        assert_eq!(make(Ok(())), Ok(Make::Begun));
        check("DBSnapshotAlreadyExists", Ok(Make::AlreadyExists));
        check("DBClusterSnapshotAlreadyExists", Ok(Make::AlreadyExists));
        check("DBInstanceAlreadyExists", Ok(Make::AlreadyExists));
        check("InvalidDBInstanceState", Ok(Make::InvalidState));
        check("InvalidDBClusterState", Ok(Make::InvalidState));
        check("InvalidDBSnapshotState", Ok(Make::InvalidState));
        check("InsufficientDBInstanceCapacity", Ok(Make::InvalidState));
        check("DBInstanceNotFound", Ok(Make::NoSource));
        check("DBSnapshotNotFound", Ok(Make::NoSource));
        check("DBClusterNotFound", Ok(Make::NoSource));
        let words = |code| Ok(Make::Quota(format!("rds:X failed with {code}: words")));
        check("SnapshotQuotaExceeded", words("SnapshotQuotaExceeded"));
        check("InstanceQuotaExceeded", words("InstanceQuotaExceeded"));
        check("InvalidParameterValue", Err(CallErrorKind::Refused));
        let lost = make(Err(failure("", CallErrorKind::Unclear)));
        assert_eq!(lost.unwrap_err().kind, CallErrorKind::Unclear);
    }

    #[test]
    fn what_is_not_there_is_deleted() {
        let check = |code, expected| {
            let gone = gone(Err(failure(code, CallErrorKind::Refused)));
            assert_eq!(gone.map_err(|error| error.kind), expected, "{code}");
        };
        assert_eq!(gone(Ok(())), Ok(()));
        check("DBSnapshotNotFound", Ok(()));
        check("DBClusterNotFound", Ok(()));
        check("InvalidDBSnapshotState", Err(CallErrorKind::Throttled));
        check("InvalidDBInstanceState", Err(CallErrorKind::Throttled));
        check("InvalidParameterCombination", Err(CallErrorKind::Refused));
    }
}
