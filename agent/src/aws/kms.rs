//! Key Management Service: the state of a key, and data keys for what is encrypted on this host. A
//! key that is in the clear never leaves this process, and is wiped from memory when it is dropped.

use std::fmt;
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::Builder;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use groundcrew_core::backups::call::{CallError, CallErrorKind};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::call_failure::{CallFailure, failure};
use crate::errors::chain;

/// How long one attempt may take.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(8);
/// How long an operation may take, all attempts and pauses included.
const OPERATION_WITHIN: Duration = Duration::from_secs(30);
const ENDPOINT_VARIABLES: [&str; 1] = ["AWS_ENDPOINT_URL_KMS"];

/// The service in one region.
#[derive(Debug, Clone)]
pub struct Kms {
    region: Option<String>,
    client: OnceCell<Client>,
}

/// A key for one piece of data (AES-256).
#[derive(Debug)]
pub struct DataKey {
    /// The key itself, 32 bytes.
    pub plaintext: Plaintext,
    /// The key as whoever may call `kms:Decrypt` can have it again. It is no secret.
    pub ciphertext: Vec<u8>,
    /// The ARN of the key that it was encrypted with.
    pub key_arn: String,
}

/// A secret. It is wiped when it is dropped, and never shown.
pub struct Plaintext(Zeroizing<Vec<u8>>);

/// A request that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} {key}")]
pub struct KmsError {
    /// What was tried, such as `ask about key`.
    pub operation: &'static str,
    /// The key, as it was named.
    pub key: String,
    /// What KMS or the connection said.
    #[source]
    pub source: CallFailure,
}

impl From<KmsError> for CallError {
    fn from(error: KmsError) -> Self {
        Self { kind: error.source.kind, text: chain(&error) }
    }
}

impl Plaintext {
    /// The secret's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} bytes)", self.0.len())
    }
}

impl Kms {
    /// In this region, or that of the host. Asks nobody anything until it is used, so that a host
    /// whose metadata is late has it all the same.
    #[must_use]
    pub fn connect(region: Option<&str>) -> Self {
        Self { region: region.map(str::to_owned), client: OnceCell::new() }
    }

    /// With this configuration, but for timeouts.
    pub(super) fn with(shared: &SdkConfig) -> Self {
        Self { region: None, client: OnceCell::new_with(Some(client(shared, None))) }
    }

    async fn client(&self) -> Result<&Client, CallFailure> {
        let connect = || async {
            let shared = Box::pin(super::load_config_with_region(&ENDPOINT_VARIABLES)).await;
            let shared = shared.ok_or_else(|| CallFailure::no_region("kms"))?;
            Ok(client(&shared, self.region.as_deref()))
        };
        self.client.get_or_try_init(connect).await
    }

    /// The state of a key, such as `Enabled`, by its id, ARN or alias.
    pub async fn describe_key(&self, id: &str) -> Result<String, KmsError> {
        let failed = |source| KmsError { operation: "ask about key", key: id.to_owned(), source };
        let request = self.client().await.map_err(failed)?.describe_key().key_id(id);
        let answer = request.send().await;
        let answer = answer.map_err(|error| failed(failure("kms:DescribeKey", &error)))?;
        let state = answer.key_metadata().and_then(|key| key.key_state());
        let state = state.map(|state| state.as_str().to_owned());
        state.ok_or_else(|| failed(unfinished("kms:DescribeKey")))
    }

    /// Makes a data key. Only who gives the same `context` can decrypt it again, and every use of
    /// it is in CloudTrail with that.
    pub async fn generate_data_key(
        &self,
        key: &str,
        context: &[(String, String)],
    ) -> Result<DataKey, KmsError> {
        let operation = "make a data key with key";
        let failed = |source| KmsError { operation, key: key.to_owned(), source };
        let client = self.client().await.map_err(failed)?;
        let request = client.generate_data_key().key_id(key).key_spec(DataKeySpec::Aes256);
        let request = context.iter().fold(request, |request, (name, value)| {
            request.encryption_context(name.as_str(), value.as_str())
        });
        let answer = request.send().await;
        let mut answer = answer.map_err(|error| failed(failure("kms:GenerateDataKey", &error)))?;
        let plaintext = secret(answer.plaintext.take());
        let ciphertext = answer.ciphertext_blob.take().map(Blob::into_inner);
        let key_arn = answer.key_id.take();
        match (plaintext, ciphertext, key_arn) {
            (Some(plaintext), Some(ciphertext), Some(key_arn)) => {
                Ok(DataKey { plaintext, ciphertext, key_arn })
            }
            _ => Err(failed(unfinished("kms:GenerateDataKey"))),
        }
    }

    /// What a data key's ciphertext holds.
    pub async fn decrypt(
        &self,
        blob: &[u8],
        context: &[(String, String)],
    ) -> Result<Plaintext, KmsError> {
        let (operation, key) = ("decrypt", "a data key".to_owned());
        let failed = |source| KmsError { operation, key: key.clone(), source };
        let client = self.client().await.map_err(failed)?;
        let request = client.decrypt().ciphertext_blob(Blob::new(blob));
        let request = context.iter().fold(request, |request, (name, value)| {
            request.encryption_context(name.as_str(), value.as_str())
        });
        let answer = request.send().await;
        let mut answer = answer.map_err(|error| failed(failure("kms:Decrypt", &error)))?;
        secret(answer.plaintext.take()).ok_or_else(|| failed(unfinished("kms:Decrypt")))
    }
}

fn client(shared: &SdkConfig, region: Option<&str>) -> Client {
    let timeouts = super::timeouts(ATTEMPT_WITHIN, OPERATION_WITHIN);
    let mut config = Builder::from(shared).timeout_config(timeouts);
    if let Some(region) = region {
        config = config.region(Region::new(region.to_owned()));
    }
    Client::from_conf(config.build())
}

/// The bytes without a copy that nobody would wipe.
fn secret(blob: Option<Blob>) -> Option<Plaintext> {
    let bytes = blob.map(Blob::into_inner).filter(|bytes| !bytes.is_empty());
    bytes.map(|bytes| Plaintext(Zeroizing::new(bytes)))
}

/// An answer without what it is for.
fn unfinished(action: &str) -> CallFailure {
    CallFailure::own(CallErrorKind::Unclear, format!("{action}: the answer is not complete"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = secret(Some(Blob::new(*b"hunter2 hunter2 hunter2 hunter2!"))).unwrap();
        assert_eq!(format!("{secret:?}"), "Plaintext(32 bytes)");
        assert!(super::secret(Some(Blob::new([]))).is_none());
    }

    #[test]
    fn an_error_names_operation_and_key_and_keeps_its_kind() {
        let source = CallFailure::own(CallErrorKind::Denied, "kms:DescribeKey is not allowed");
        let error = KmsError { operation: "ask about key", key: "alias/a".to_owned(), source };
        let error = CallError::from(error);
        assert_eq!(error.kind, CallErrorKind::Denied);
        assert_eq!(error.text, "could not ask about key alias/a: kms:DescribeKey is not allowed");
    }
}
