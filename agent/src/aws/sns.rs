//! Simple Notification Service: publishes to a topic.

use aws_sdk_sns::Client;
use aws_sdk_sns::error::SdkError;
use aws_sdk_sns::types::MessageAttributeValue;

use super::load_config_with_region;
use crate::errors::chain;

/// Bytes of a subject (API_Publish), all of them printable ASCII.
const SUBJECT_BYTES_MAX: usize = 99;

/// The service.
#[derive(Debug, Clone)]
pub struct Sns {
    client: Client,
}

/// What is published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publication {
    /// The topic's ARN; that of a FIFO topic ends in `.fifo`.
    pub topic: String,
    /// One line, for mails.
    pub subject: String,
    /// The text.
    pub message: String,
    /// By which subscriptions filter.
    pub attributes: Vec<(&'static str, String)>,
    /// Messages of one group stay in order, in a FIFO topic.
    pub group: String,
    /// The same message again has the same, in a FIFO topic.
    pub deduplication: String,
}

/// Why it was not published.
#[derive(Debug, thiserror::Error)]
pub enum SnsError {
    /// Nobody knows where to publish.
    #[error("could not publish to {topic}: {}", super::NO_REGION)]
    NoRegion {
        /// The topic.
        topic: String,
    },
    /// It will never work.
    #[error("SNS does not take it for {topic}: {reason}")]
    Refused {
        /// The topic.
        topic: String,
        /// What SNS says.
        reason: String,
    },
    /// It may work later.
    #[error("could not publish to {topic}: {reason}")]
    Failed {
        /// The topic.
        topic: String,
        /// What went wrong.
        reason: String,
    },
}

impl Sns {
    /// `None` without a region.
    pub async fn open() -> Option<Self> {
        let config = load_config_with_region(&["AWS_ENDPOINT_URL_SNS"]).await?;
        Some(Self { client: Client::new(&config) })
    }

    /// Publishes once, as far as the SDK's own attempts go.
    pub async fn publish(&self, what: Publication) -> Result<(), SnsError> {
        let Publication { topic, subject, message, attributes, group, deduplication } = what;
        let mut request =
            self.client.publish().topic_arn(&topic).subject(one_line(&subject)).message(message);
        for (name, value) in attributes.into_iter().filter(|(_, value)| !value.is_empty()) {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value);
            // Without a type there would be nothing to build; it has one.
            request = value
                .build()
                .into_iter()
                .fold(request, |request, value| request.message_attributes(name, value));
        }
        if topic.rsplit_once('.').is_some_and(|(_, end)| end == "fifo") {
            request = request.message_group_id(group).message_deduplication_id(deduplication);
        }
        let Err(error) = request.send().await else { return Ok(()) };
        let reason = chain(&error);
        Err(match &error {
            SdkError::ServiceError(answer)
                if matches!(answer.raw().status().as_u16(), 400 | 404 | 413) =>
            {
                SnsError::Refused { topic, reason }
            }
            _ => SnsError::Failed { topic, reason },
        })
    }
}

/// A subject that SNS takes: ASCII without control characters, not too long, not empty.
fn one_line(subject: &str) -> String {
    let usual = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let line: String = subject.chars().map(usual).take(SUBJECT_BYTES_MAX).collect();
    let line = line.trim();
    if line.is_empty() { "groundcrew".to_owned() } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_what_sns_takes() {
        assert_eq!(one_line("v43 rejected:\nit crashed \u{e9}"), "v43 rejected:?it crashed ?");
        assert_eq!(one_line(" "), "groundcrew");
        assert_eq!(one_line(&"x".repeat(500)).len(), SUBJECT_BYTES_MAX);
    }
}
