//! Tells people elsewhere: makes of a message what each service wants, and posts it. Decides
//! nothing: who is told what, and whether it is tried again, is the core's. No secret leaves here
//! other than to the service that it is for.

mod message;
mod sentry;
mod services;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use groundcrew_core::notify::errors::ErrorReport;
use groundcrew_core::notify::settings::{ErrorSettings, Kind, Secret, TargetSettings};
use groundcrew_core::notify::{Answer, Note, Pending};
use tokio::sync::OnceCell;

use crate::aws::sns::{Sns, SnsError};
use crate::credential::{self, CredentialError};
use crate::errors::chain;
use crate::https::{self, Address, Https, HttpsError};
pub use message::{Message, Place};

/// Characters of an answer that a person is shown.
const SHOWN_CHARS_MAX: usize = 200;

/// Why something was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The exchange failed.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// SNS.
    #[error(transparent)]
    Sns(#[from] SnsError),
    /// A secret is not there.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A template.
    #[error(transparent)]
    Wording(#[from] crate::wording::WordingError),
    /// A DSN that is none.
    #[error("the DSN is not one; it looks like https://KEY@HOST/PROJECT")]
    Dsn,
    /// The service answered, and not well.
    #[error("{host} answered {status}{said}")]
    Status {
        /// Who answered.
        host: String,
        /// The status.
        status: u16,
        /// How its words begin.
        said: String,
        /// The pause that it asks for.
        retry_after: Option<std::time::Duration>,
    },
    /// The configuration does not have it.
    #[error("there is no target {name}")]
    Unknown {
        /// Its name.
        name: String,
    },
}

impl DeliveryError {
    /// What the queue makes of it. What a person has to mend first is tried again: the message
    /// waits for the file, as it waits for a network.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let reason = chain(self);
        match self {
            Self::Status { status: 408 | 429 | 500.., retry_after, .. } => {
                Answer::Failed { reason, retry_after: *retry_after }
            }
            Self::Status { .. }
            | Self::Wording(_)
            | Self::Unknown { .. }
            | Self::Sns(SnsError::Refused { .. })
            | Self::Https(HttpsError::Header { .. }) => Answer::Refused(reason),
            Self::Https(_) | Self::Sns(_) | Self::Credential(_) | Self::Dsn => {
                Answer::Failed { reason, retry_after: None }
            }
        }
    }
}

/// A document for a service.
struct Post {
    address: Address,
    headers: Vec<(&'static str, String)>,
    body: String,
    /// The secret that goes along; `None`: the address is one.
    key: Option<String>,
}

/// Delivers to all targets.
#[derive(Debug)]
pub struct Delivery {
    place: Place,
    targets: BTreeMap<String, TargetSettings>,
    errors: Option<ErrorSettings>,
    https: OnceCell<Https>,
    sns: Sns,
}

impl Delivery {
    /// Nothing is asked of any service yet, and nothing read that only a delivery needs.
    #[must_use]
    pub fn new(place: Place, targets: &[TargetSettings], errors: Option<ErrorSettings>) -> Self {
        let targets = targets.iter().map(|target| (target.rules.name.clone(), target.clone()));
        let (https, sns) = (OnceCell::new(), Sns::default());
        Self { place, targets: targets.collect(), errors, https, sns }
    }

    /// The names of all targets, and of which kind they are.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.targets.iter().map(|(name, target)| (name.as_str(), target.kind.word()))
    }

    /// Delivers a message once.
    pub async fn deliver(
        &self,
        target: &str,
        instance: Option<String>,
        pending: Pending<Note>,
    ) -> Result<(), DeliveryError> {
        let unknown = || DeliveryError::Unknown { name: target.to_owned() };
        let settings = self.targets.get(target).ok_or_else(unknown)?;
        let message = Message::new(&self.place, instance, settings, pending)?;
        let post = match &settings.kind {
            Kind::Sns { topic } => {
                return Ok(self.sns.publish(services::sns(topic, &message)).await?);
            }
            Kind::Slack { url } => services::slack(&read(url)?, &message)?,
            Kind::PagerDuty { key, url } => services::pagerduty(&read(key)?, url, &message)?,
            Kind::Opsgenie { key, url } => services::opsgenie(&read(key)?, url, &message)?,
            Kind::Webhook { url, secret } => {
                let secret = secret.as_ref().map(read).transpose()?;
                services::webhook(&read(url)?, secret.as_deref(), &message)?
            }
        };
        self.post(post).await
    }

    /// Delivers an error to the tracker once.
    pub async fn report(&self, pending: Pending<ErrorReport>) -> Result<(), DeliveryError> {
        let name = groundcrew_core::notify::errors::NAME;
        let unknown = || DeliveryError::Unknown { name: name.to_owned() };
        let settings = self.errors.as_ref().ok_or_else(unknown)?;
        let environment = settings.environment.as_ref().unwrap_or(&self.place.environment);
        let dsn = read(&settings.dsn)?;
        self.post(sentry::envelope(&dsn, environment, &self.place.host, &pending)?).await
    }

    async fn post(&self, post: Post) -> Result<(), DeliveryError> {
        let Post { address, mut headers, body, key } = post;
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let https = self.https.get_or_try_init(|| async { Https::open() }).await?;
        let https::Answer { status, retry_after, body } =
            https.post(&address, &headers, body).await?;
        if (200..300).contains(&status) {
            return Ok(());
        }
        let (host, said) = (address.host().to_owned(), said(&body, key.as_deref()));
        Err(DeliveryError::Status { host, status, said, retry_after })
    }
}

/// How the words of an answer begin, for people. An answer may repeat what was asked: the key is
/// cut out, and where the address is the secret, which could be repeated in any form, no word of
/// the answer is shown.
fn said(body: &str, key: Option<&str>) -> String {
    let Some(key) = key else { return String::new() };
    let visible: String = body.chars().filter(|c| !c.is_control()).collect();
    let visible = visible.replace(key, "[redacted]");
    let said: String = visible.chars().take(SHOWN_CHARS_MAX).collect();
    if said.is_empty() { said } else { format!(": {said}") }
}

/// The secret, read anew each time.
fn read(secret: &Secret) -> Result<String, DeliveryError> {
    match secret {
        Secret::Inline(text) => Ok(text.clone()),
        Secret::File(name) => Ok(credential::read(name)?),
    }
}
