//! What each service wants to be told in. Documents are made by serde alone, so no text can break
//! out of its place.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use groundcrew_core::notify::Action;
use ring::hmac;
use serde_json::json;

use super::message::hex;
use super::{DeliveryError, Message, Post};
use crate::aws::sns::Publication;
use crate::clock;
use crate::https::Address;

/// Characters of a summary (PagerDuty, Events API v2: `payload.summary`).
const PAGERDUTY_SUMMARY_MAX: usize = 1024;
/// Characters of a key (PagerDuty, Events API v2: `dedup_key`).
const PAGERDUTY_KEY_MAX: usize = 255;
/// Characters of a message (Opsgenie, Create Alert: `message`).
const OPSGENIE_MESSAGE_MAX: usize = 130;
/// Characters of an alias (Opsgenie, Create Alert: `alias`).
const OPSGENIE_ALIAS_MAX: usize = 512;

/// An incoming webhook as Slack has it.
pub(super) fn slack(url: &str, message: &Message) -> Result<Post, DeliveryError> {
    // The three characters that Slack's markup is made of.
    let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mark = match (message.action, message.words.level.as_str()) {
        (Action::Resolve, _) => ":white_check_mark:",
        (_, "error") => ":red_circle:",
        (_, "warning") => ":warning:",
        _ => ":information_source:",
    };
    let text = format!("{mark} *{}*\n{}", plain(&message.title), plain(&message.text));
    post(url, None, Vec::new(), &json!({ "text": text }))
}

/// PagerDuty, Events API v2.
pub(super) fn pagerduty(key: &str, url: &str, message: &Message) -> Result<Post, DeliveryError> {
    let words = &message.words;
    let severity = match words.level.as_str() {
        "error" => "error",
        "warning" => "warning",
        _ => "info",
    };
    let mut event = json!({
        "routing_key": key,
        "event_action": if message.action == Action::Resolve { "resolve" } else { "trigger" },
        "dedup_key": short(&message.key, PAGERDUTY_KEY_MAX),
    });
    if message.action != Action::Resolve {
        event["client"] = "groundcrew".into();
        event["payload"] = json!({
            "summary": cut(&message.title, PAGERDUTY_SUMMARY_MAX),
            "source": if words.instance.is_empty() { &words.host } else { &words.instance },
            "severity": severity,
            "timestamp": words.at,
            "component": words.tier,
            "group": words.environment,
            "class": words.topic,
            "custom_details": { "text": message.text, "event": words },
        });
    }
    let url = format!("{}/v2/enqueue", url.trim_end_matches('/'));
    post(&url, Some(key), Vec::new(), &event)
}

/// Opsgenie, alerts.
pub(super) fn opsgenie(key: &str, url: &str, message: &Message) -> Result<Post, DeliveryError> {
    let words = &message.words;
    let headers = vec![("authorization", format!("GenieKey {key}"))];
    let alias = short(&message.key, OPSGENIE_ALIAS_MAX);
    let url = url.trim_end_matches('/');
    if message.action == Action::Resolve {
        let alias: String = form_urlencoded::byte_serialize(alias.as_bytes()).collect();
        let close = json!({ "source": words.host, "note": message.title });
        let url = format!("{url}/v2/alerts/{alias}/close?identifierType=alias");
        return post(&url, Some(key), headers, &close);
    }
    let priority = if words.level == "error" { "P2" } else { "P3" };
    let alert = json!({
        "message": cut(&message.title, OPSGENIE_MESSAGE_MAX),
        "alias": alias,
        "description": format!("{}\n{}", message.title, message.text),
        "source": words.host,
        "entity": if words.tier.is_empty() { &words.host } else { &words.tier },
        "priority": priority,
        "tags": [&words.environment, &words.group, &words.topic],
        "details": {
            "instance": words.instance,
            "process": words.process,
            "release": words.release,
        },
    });
    post(&format!("{url}/v2/alerts"), Some(key), headers, &alert)
}

/// A document, signed as Standard Webhooks has it.
pub(super) fn webhook(
    url: &str,
    secret: Option<&str>,
    message: &Message,
) -> Result<Post, DeliveryError> {
    let words = &message.words;
    let document = json!({
        "type": words.topic,
        "timestamp": words.at,
        "data": {
            "title": message.title,
            "message": message.text,
            "action": message.action,
            "key": message.key,
            "event": words,
        },
    });
    let mut post = post(url, None, Vec::new(), &document)?;
    let seconds = clock::wall().0 / 1000;
    post.headers.push(("webhook-id", message.id.clone()));
    post.headers.push(("webhook-timestamp", seconds.to_string()));
    if let Some(secret) = secret {
        let signature = sign(secret, &message.id, seconds, &post.body);
        post.headers.push(("webhook-signature", signature));
    }
    Ok(post)
}

/// What SNS is given.
pub(super) fn sns(topic: &str, message: &Message) -> Publication {
    let words = &message.words;
    Publication {
        topic: topic.to_owned(),
        subject: message.title.clone(),
        message: format!("{}\n{}", message.title, message.text),
        attributes: vec![
            ("topic", words.topic.clone()),
            ("level", words.level.clone()),
            ("action", words.action.clone()),
            ("environment", words.environment.clone()),
            ("host", words.host.clone()),
            ("tier", words.tier.clone()),
            ("release", words.release.clone()),
        ],
        // Each host's messages stay in order; those of different hosts have none.
        group: hex(format!("{}/{}", words.environment, words.host).as_bytes()),
        deduplication: message.id.clone(),
    }
}

/// `v1,BASE64(HMAC-SHA256(id.timestamp.body))`. A secret that begins with `whsec_` is base64, any
/// other is taken as it is.
fn sign(secret: &str, id: &str, seconds: i64, body: &str) -> String {
    let decoded = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let key = decoded.unwrap_or_else(|| secret.as_bytes().to_vec());
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(signed.as_ref()))
}

fn post(
    url: &str,
    key: Option<&str>,
    headers: Vec<(&'static str, String)>,
    document: &serde_json::Value,
) -> Result<Post, DeliveryError> {
    let (body, key) = (document.to_string(), key.map(str::to_owned));
    Ok(Post { address: Address::parse(url)?, headers, body, key })
}

/// The key, or what stands for one that is too long.
fn short(key: &str, chars_max: usize) -> String {
    if key.chars().count() <= chars_max { key.to_owned() } else { hex(key.as_bytes()) }
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wording::Words;

    fn message(action: Action, text: &str) -> Message {
        let words = Words { text: text.to_owned(), ..Words::sample() };
        Message {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            title: text.to_owned(),
            text: "production, i-1".to_owned(),
            words,
            action,
            key: "groundcrew/production/crash-loop/web.1.1".to_owned(),
            at_ms: 0,
        }
    }

    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        // The example of the specification's reference libraries.
        let signature = sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn no_text_breaks_out_of_its_place() {
        let hostile = "\"},\"text\":\"<!channel>&\n\u{0}\u{1b}[2J";
        let message = message(Action::Trigger, hostile);
        let parsed = |post: Result<Post, DeliveryError>| -> serde_json::Value {
            serde_json::from_str(&post.unwrap().body).unwrap()
        };
        let slack = parsed(slack("https://hooks.example.com/x", &message));
        assert_eq!(slack.as_object().unwrap().len(), 1);
        assert!(slack["text"].as_str().unwrap().contains("&lt;!channel&gt;&amp;"));
        let pagerduty = parsed(pagerduty("k", "https://events.pagerduty.com", &message));
        assert_eq!(pagerduty["payload"]["summary"], hostile);
        assert_eq!(pagerduty["payload"]["severity"], "error");
        let webhook = parsed(webhook("https://example.com", None, &message));
        assert_eq!(webhook["data"]["event"]["text"], hostile);
    }

    #[test]
    fn ends_name_the_alarm_they_end() {
        let message = message(Action::Resolve, "over");
        let post = opsgenie("k", "https://api.opsgenie.com/", &message).unwrap();
        let expected = "close?identifierType=alias";
        assert!(post.body.contains("over") && format!("{:?}", post.address).contains("opsgenie"));
        let post = pagerduty("k", "https://events.pagerduty.com", &message).unwrap();
        let event: serde_json::Value = serde_json::from_str(&post.body).unwrap();
        assert_eq!((&event["event_action"], &event["payload"]), (&"resolve".into(), &json!(null)));
        assert!(!event.to_string().contains(expected));
    }

    #[test]
    fn keys_that_are_too_long_stay_apart() {
        let long = |end: &str| short(&format!("{}{end}", "x".repeat(300)), PAGERDUTY_KEY_MAX);
        assert_ne!(long("1"), long("2"));
        assert!(long("1").len() <= PAGERDUTY_KEY_MAX);
    }
}
