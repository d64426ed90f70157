//! Why a dump was not made, or cannot be used; and what the core makes of it.

use camino::Utf8PathBuf;
use groundcrew_core::backups::call::{CallError, CallErrorKind, Ticket};

use super::child::ChildError;
use super::clients::ClientsError;
use super::facts::FactsError;
use super::marks::MarksError;
use super::session::SessionError;
use crate::aws::db_token::DbTokenError;
use crate::aws::kms::KmsError;
use crate::aws::s3::S3Error;
use crate::aws::secrets_manager::SecretsManagerError;
use crate::backups::calls::from_s3;
use crate::backups::manifest::ManifestError;
use crate::backups::seal::SealError;
use crate::backups::secrets::SecretError;
use crate::errors::chain;
use crate::fsx::FileError;

/// Anything that goes wrong about dumps.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The bucket.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// The bucket, in the core's words already.
    #[error("{}", .0.text)]
    Call(CallError),
    /// The password.
    #[error("could not have the database's password")]
    Secret(#[from] SecretError),
    /// The way to the database.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A client.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// No client fits.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// The database's own words.
    #[error("could not learn about database {database}")]
    Facts {
        /// Its name.
        database: String,
        /// Why.
        #[source]
        source: FactsError,
    },
    /// Encryption.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// What was said about a dump.
    #[error(transparent)]
    Marks(#[from] MarksError),
    /// A person keeps it.
    #[error("the dump {id} is kept: {why}")]
    Held {
        /// The slot, as in the key.
        id: String,
        /// The reason.
        why: String,
    },
    /// Somebody reads it.
    #[error("the dump {id} is being read by {by}")]
    InUse {
        /// The slot, as in the key.
        id: String,
        /// Who.
        by: String,
    },
    /// It goes.
    #[error("the dump {id} is being deleted")]
    Deleting {
        /// The slot, as in the key.
        id: String,
    },
    /// Others were faster.
    #[error("{key} changes while it is worked at")]
    Changed {
        /// The key.
        key: String,
    },
    /// A mark that dumps do not have.
    #[error("a dump cannot be marked with {name}")]
    Mark {
        /// The tag's name.
        name: String,
    },
    /// A file of the host.
    #[error(transparent)]
    File(#[from] FileError),
    /// The bytes did not get through.
    #[error("could not {operation} {object}")]
    Bytes {
        /// What was tried.
        operation: &'static str,
        /// What with.
        object: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// There is no dump of that slot.
    #[error("there is no dump {id}")]
    NoDump {
        /// The slot, as in the key.
        id: String,
    },
    /// Nothing was uploaded under this ticket.
    #[error("nothing is uploaded under ticket {}", .0.0)]
    NoUpload(Ticket),
    /// The upload is gone.
    #[error("the upload of {key} is gone: it has to be dumped again")]
    Gone {
        /// Its key.
        key: String,
    },
    /// The configuration does not say how to connect.
    #[error("backup {job} says nothing about how its database is reached")]
    NoConnection {
        /// The job.
        job: String,
    },
    /// It cannot be done on this host.
    #[error("it cannot be proved here: {why}")]
    NotHere {
        /// Why, as a clause.
        why: String,
    },
    /// What is there must not be overwritten.
    #[error(
        "database {database} is not empty (tables: {count}): nothing is restored over what is there"
    )]
    NotEmpty {
        /// The database.
        database: String,
        /// Its tables.
        count: usize,
    },
    /// A target that is none.
    #[error("{0}")]
    Target(String),
    /// What was restored is not what was dumped.
    #[error("the restore failed: {0}")]
    Restore(String),
    /// The disk is too full.
    #[error("{directory} has {free} bytes free, and {needed} are needed")]
    Space {
        /// The directory.
        directory: Utf8PathBuf,
        /// What there is.
        free: u64,
        /// What is needed.
        needed: u64,
    },
    /// It was stopped on request.
    #[error("it was stopped")]
    Stopped,
}

impl DumpError {
    /// For the core.
    #[must_use]
    pub fn call_error(&self) -> CallError {
        let kind = match self {
            Self::S3(error) => return from_s3(error),
            Self::Call(error) => return error.clone(),
            Self::Secret(SecretError::SecretsManager(error)) => match error {
                SecretsManagerError::Refused { .. } => CallErrorKind::Denied,
                SecretsManagerError::NoRegion { .. } | SecretsManagerError::Failed { .. } => {
                    CallErrorKind::Unclear
                }
            },
            Self::Secret(SecretError::Token(error)) => match error {
                DbTokenError::Failed { .. } => CallErrorKind::Denied,
                DbTokenError::NoRegion { .. } => CallErrorKind::Unclear,
            },
            Self::Secret(SecretError::Credential(_) | SecretError::Shape { .. }) => {
                CallErrorKind::Denied
            }
            Self::Seal(SealError::Kms(KmsError { source, .. })) => source.kind,
            Self::Child(_) | Self::Facts { .. } | Self::Bytes { .. } | Self::Stopped => {
                CallErrorKind::Unclear
            }
            Self::InUse { .. } | Self::Changed { .. } => CallErrorKind::Unclear,
            Self::Space { .. } | Self::File(_) => CallErrorKind::Unclear,
            Self::Session(_)
            | Self::Clients(_)
            | Self::Seal(_)
            | Self::Manifest(_)
            | Self::Marks(_)
            | Self::Held { .. }
            | Self::Deleting { .. }
            | Self::Mark { .. }
            | Self::NoDump { .. }
            | Self::NoUpload(_)
            | Self::Gone { .. }
            | Self::NoConnection { .. }
            | Self::NotHere { .. }
            | Self::NotEmpty { .. }
            | Self::Target(_)
            | Self::Restore(_) => CallErrorKind::Refused,
        };
        CallError { kind, text: chain(self) }
    }
}

impl From<CallError> for DumpError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}
