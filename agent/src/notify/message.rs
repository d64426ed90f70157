//! A message, as all services get it: title, text, and what is known of the event.

use groundcrew_core::notify::settings::TargetSettings;
use groundcrew_core::notify::{Action, Note, Pending};
use groundcrew_core::types::Digest;
use ring::digest::{SHA256, digest};

use crate::wording::{self, WordingError, Words};

/// Which host tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The environment.
    pub environment: String,
    /// The host's name.
    pub host: String,
}

/// A message for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same each time this message is tried.
    pub id: String,
    /// One line.
    pub title: String,
    /// Some.
    pub text: String,
    /// What the event is made of.
    pub words: Words,
    /// What the other side is to do.
    pub action: Action,
    /// Tells alarms apart.
    pub key: String,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: i64,
}

impl Message {
    /// Fills the target's templates.
    pub fn new(
        place: &Place,
        instance: Option<String>,
        target: &TargetSettings,
        pending: Pending<Note>,
    ) -> Result<Self, WordingError> {
        let words = words(place, instance, &pending);
        let title = match &target.title {
            Some(template) => wording::render(template, &words)?,
            None => title(&words),
        };
        let text = match &target.text {
            Some(template) => wording::render(template, &words)?,
            None => text(&words),
        };
        let Pending { id, what: Note { told, action, key }, .. } = pending;
        let name = &target.rules.name;
        let id = format!("{}/{name}/{id}/{}/{key}", place.host, told.at.0);
        Ok(Self {
            id: format!("msg_{}", &hex(id.as_bytes())[..32]),
            title: title.replace('\n', " "),
            text,
            words,
            action,
            key,
            at_ms: told.at.0,
        })
    }
}

/// The SHA-256 of some bytes, in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Digest::from_bytes(sum).to_string()
}

fn words(place: &Place, instance: Option<String>, pending: &Pending<Note>) -> Words {
    let Note { told, action, .. } = &pending.what;
    let subject = &told.subject;
    let shown = |name: Option<String>| name.unwrap_or_default();
    let at = jiff::Timestamp::from_millisecond(told.at.0);
    Words {
        text: told.text.clone(),
        topic: told.topic.word().to_owned(),
        group: told.topic.group().to_owned(),
        level: told.level.word().to_owned(),
        action: match action {
            Action::Inform => "inform",
            Action::Trigger => "trigger",
            Action::Resolve => "resolve",
        }
        .to_owned(),
        environment: place.environment.clone(),
        host: place.host.clone(),
        instance: shown(instance),
        tier: shown(subject.tier.as_ref().map(ToString::to_string)),
        process: shown(subject.process.as_ref().map(ToString::to_string)),
        release: shown(subject.release.as_ref().map(ToString::to_string)),
        pipeline: shown(subject.pipeline.clone()),
        backup: shown(subject.backup.clone()),
        at: at.map(|at| at.to_string()).unwrap_or_default(),
        suppressed: pending.suppressed,
        more: pending.more,
    }
}

fn title(words: &Words) -> String {
    let level = match (words.action.as_str(), words.level.as_str()) {
        ("resolve", _) => "resolved: ",
        (_, "normal") => "",
        (_, level) => level,
    };
    let colon = if level.is_empty() || level.ends_with(' ') { "" } else { ": " };
    format!("{level}{colon}{}", words.text)
}

fn text(words: &Words) -> String {
    let host = if words.instance.is_empty() { &words.host } else { &words.instance };
    let mut parts = vec![format!("{}, {host}", words.environment)];
    if words.suppressed > 0 {
        parts.push(format!("{} times more since the last message", words.suppressed));
    }
    if words.more > 0 {
        parts.push(format!("and {} more events", words.more));
    }
    parts.join("; ")
}
