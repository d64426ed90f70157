//! Secrets Manager: reads the current value of a secret. It is never logged, nor part of an error.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use super::load_config_with_region;
use crate::errors::chain;

/// The service.
#[derive(Debug, Clone)]
pub struct SecretsManager {
    client: Client,
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretsManagerError {
    /// Nobody knows whom to ask.
    #[error("could not read the secret {name}: {}", super::NO_REGION)]
    NoRegion {
        /// The secret.
        name: String,
    },
    /// There is none of that name, it is not allowed, or it holds no text.
    #[error("could not read the secret {name}: {reason}")]
    Refused {
        /// The secret.
        name: String,
        /// What Secrets Manager says.
        reason: String,
    },
    /// It may work later.
    #[error("could not read the secret {name}: {reason}")]
    Failed {
        /// The secret.
        name: String,
        /// What went wrong.
        reason: String,
    },
}

impl SecretsManager {
    /// `None` without a region.
    pub async fn open() -> Option<Self> {
        let config = load_config_with_region(&["AWS_ENDPOINT_URL_SECRETS_MANAGER"]).await?;
        Some(Self { client: Client::new(&config) })
    }

    /// The current value of a secret, by its name or ARN.
    pub async fn read(name: &str) -> Result<String, SecretsManagerError> {
        let no_region = || SecretsManagerError::NoRegion { name: name.to_owned() };
        let Self { client } = Self::open().await.ok_or_else(no_region)?;
        let error = match client.get_secret_value().secret_id(name).send().await {
            Ok(output) => {
                let none = || SecretsManagerError::Refused {
                    name: name.to_owned(),
                    reason: "it holds bytes, not text".to_owned(),
                };
                return output.secret_string.ok_or_else(none);
            }
            Err(error) => error,
        };
        let name = name.to_owned();
        let status = error.raw_response().map(|response| response.status().as_u16());
        let throttled = matches!(error.code(), Some("ThrottlingException" | "Throttling"));
        Err(match (&error, status) {
            (SdkError::ServiceError(answer), Some(400..=499)) if !throttled => {
                let meta = answer.err().meta();
                let code = meta.code().unwrap_or("error");
                let message = meta.message().unwrap_or("no details");
                SecretsManagerError::Refused { name, reason: format!("{code}: {message}") }
            }
            _ => SecretsManagerError::Failed { name, reason: chain(&error) },
        })
    }
}
