//! Logs what the controller tells, with fields by which the journal can be searched.

use groundcrew_core::effect::{Level, Told};
use groundcrew_core::types::{TierName, Version};

/// Writes it to the log.
pub(super) fn tell(told: &Told) {
    let subject = &told.subject;
    let tier = subject.tier.as_ref().map(TierName::as_str);
    let process = subject.process.as_ref().map(tracing::field::display);
    let release = subject.release.as_ref().map(Version::as_str);
    let topic = told.topic.word();
    match told.level {
        Level::Normal => tracing::info!(tier, process, release, topic, "{}", told.text),
        Level::Warning => tracing::warn!(tier, process, release, topic, "{}", told.text),
        Level::Error => tracing::error!(tier, process, release, topic, "{}", told.text),
    }
}
