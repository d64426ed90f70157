//! Simple Notification Service: publishes to a topic.

use std::collections::BTreeMap;

use aws_sdk_sns::Client;
use aws_sdk_sns::types::MessageAttributeValue;
use groundcrew_core::logs::retry::Failure;
use tokio::sync::Mutex;

use super::cloudwatch_logs::{LogsCallError, call_error};

/// Bytes of a subject (API_Publish), all of them printable ASCII.
const SUBJECT_BYTES_MAX: usize = 99;

/// The service, wherever the topics are.
#[derive(Debug, Default)]
pub struct Sns {
    /// By region: no more than there are topics.
    clients: Mutex<BTreeMap<String, Client>>,
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
    /// Publishes once, as far as the SDK's own attempts go.
    pub async fn publish(&self, what: Publication) -> Result<(), SnsError> {
        let Publication { topic, subject, message, attributes, group, deduplication } = what;
        let client = self.client(region_of(&topic)).await;
        let mut request =
            client.publish().topic_arn(&topic).subject(one_line(&subject)).message(message);
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
        let LogsCallError { failure, text: reason, .. } = call_error("sns:Publish", &error);
        Err(match failure {
            Failure::Refused | Failure::Missing => SnsError::Refused { topic, reason },
            Failure::Throttled
            | Failure::Credentials
            | Failure::Denied
            | Failure::Clock
            | Failure::Network
            | Failure::Service => SnsError::Failed { topic, reason },
        })
    }

    async fn client(&self, region: &str) -> Client {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(region) {
            return client.clone();
        }
        let client = Client::new(&super::load_config_in(region).await);
        clients.insert(region.to_owned(), client.clone());
        client
    }
}

/// Where a topic is: `arn:PARTITION:sns:REGION:ACCOUNT:NAME`. Only there it can be published to.
fn region_of(topic: &str) -> &str {
    topic.split(':').nth(3).unwrap_or_default()
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
    fn a_topic_is_where_its_arn_says() {
        assert_eq!(region_of("arn:aws:sns:eu-west-1:123456789012:ops"), "eu-west-1");
        assert_eq!(region_of("arn:aws-cn:sns:cn-north-1:123456789012:ops.fifo"), "cn-north-1");
    }

    #[test]
    fn subjects_are_what_sns_takes() {
        assert_eq!(one_line("v43 rejected:\nit crashed \u{e9}"), "v43 rejected:?it crashed ?");
        assert_eq!(one_line(" "), "groundcrew");
        assert_eq!(one_line(&"x".repeat(500)).len(), SUBJECT_BYTES_MAX);
    }
}
