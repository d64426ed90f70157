//! The table `[lifecycle]` of the host's file: the host's place in its Auto Scaling group.

use std::collections::BTreeSet;
use std::time::Duration;

use groundcrew_core::lifecycle::{LifecycleSettings, Reaction};

use super::fields;
use super::problem::shown;
use super::reader::{Node, Read};

pub(super) const KEYS: &[&str] =
    &["metadata", "rebalance", "scheduled", "scheduled_before", "hooks", "launch_within"];

const BEFORE_MAX: Duration = Duration::from_hours(24);
const LAUNCH_WITHIN_MIN: Duration = Duration::from_secs(30);
/// A hook holds an instance for two days at most.
const LAUNCH_WITHIN_MAX: Duration = Duration::from_hours(48);
/// Bytes of a hook's name (Auto Scaling API: `LifecycleHookName`, 1 to 255).
const HOOK_NAME_BYTES_MAX: usize = 255;

/// What the host's file says about it, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LifecycleConfig {
    /// Whether to look at the instance's metadata; `None`: on EC2.
    pub metadata: Option<bool>,
    /// The rest, for the core.
    pub settings: LifecycleSettings,
}

pub(super) fn lifecycle(node: &Node<'_, '_>) -> Read<LifecycleConfig> {
    let section = node.section(KEYS)?;
    let usual = LifecycleSettings::default();
    let metadata = section.optional("metadata", |node| {
        one_of(node, &[("auto", None), ("on", Some(true)), ("off", Some(false))])
    });
    let rebalance = section.or("rebalance", usual.rebalance, reaction);
    let scheduled = section.or("scheduled", usual.scheduled, reaction);
    let before = section.or("scheduled_before", usual.scheduled_before, |node| {
        fields::duration(node, Duration::ZERO..=BEFORE_MAX)
    });
    let hooks = section.optional("hooks", hooks);
    let launch_within = section.or("launch_within", usual.launch_within, |node| {
        fields::duration(node, LAUNCH_WITHIN_MIN..=LAUNCH_WITHIN_MAX)
    });
    Ok(LifecycleConfig {
        metadata: metadata?.flatten(),
        settings: LifecycleSettings {
            enabled: false,
            rebalance: rebalance?,
            scheduled: scheduled?,
            scheduled_before: before?,
            hooks: hooks?,
            launch_within: launch_within?,
        },
    })
}

fn reaction(node: &Node<'_, '_>) -> Read<Reaction> {
    let words =
        [("ignore", Reaction::Ignore), ("prepare", Reaction::Prepare), ("drain", Reaction::Drain)];
    one_of(node, &words)
}

fn one_of<T: Copy>(node: &Node<'_, '_>, words: &[(&str, T)]) -> Read<T> {
    let text = node.as_text();
    let known = words.iter().find(|(word, _)| text == Some(word));
    known.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        node.wanted(&words.join(" or "))
    })
}

fn hooks(node: &Node<'_, '_>) -> Read<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for item in node.items("an array of names of lifecycle hooks, such as [\"drain\"]")? {
        let text = item.as_text().ok_or_else(|| item.wanted("the name of a lifecycle hook"))?;
        let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
        if text.is_empty() || text.len() > HOOK_NAME_BYTES_MAX || !text.chars().all(usual) {
            let message = format!("{} is not the name of a lifecycle hook", shown(text));
            return Err(item.refuse(message, "letters, digits, '-', '_' and '/'"));
        }
        names.insert(text.to_owned());
    }
    Ok(names)
}
