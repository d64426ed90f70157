//! Logs what the controller tells, with fields by which the journal can be searched.

use groundcrew_core::effect::{Level, Told};
use groundcrew_core::ledger::Ledger;
use groundcrew_core::types::{ProcessId, Version};

use super::Agent;

/// Whom a sentence is about.
#[derive(Debug, Default, PartialEq, Eq)]
struct About {
    process: Option<ProcessId>,
    release: Option<Version>,
}

/// A sentence begins with the process or the release that it is about, if it is about one.
fn about(text: &str, ledger: &Ledger) -> About {
    let first = text.split([' ', ':', ',']).next().unwrap_or_default();
    if let Ok(process) = first.parse::<ProcessId>() {
        let record = ledger.generations.get(&process.generation);
        let release = record.map(|record| record.target.release.version.clone());
        return About { process: Some(process), release };
    }
    let targets = [&ledger.current, &ledger.desired.as_ref().map(|desired| desired.target.clone())];
    let targets = targets.into_iter().flatten().chain(&ledger.history);
    let targets = targets.chain(ledger.generations.values().map(|record| &record.target));
    let versions = targets.map(|target| &target.release.version);
    let versions = versions.chain(ledger.rejected.as_ref().map(|rejected| &rejected.version));
    let release = versions.into_iter().find(|version| version.as_str() == first).cloned();
    About { process: None, release }
}

impl Agent {
    pub(super) fn tell(&self, told: &Told) {
        let About { process, release } = about(&told.text, self.controller.ledger());
        let tier = process.as_ref().map(|process| process.tier.as_str());
        let process = process.as_ref().map(tracing::field::display);
        let release = release.as_ref().map(Version::as_str);
        match told.level {
            Level::Normal => tracing::info!(tier, process, release, "{}", told.text),
            Level::Warning => tracing::warn!(tier, process, release, "{}", told.text),
            Level::Error => tracing::error!(tier, process, release, "{}", told.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use groundcrew_core::ledger::Rejected;
    use groundcrew_core::time::Wall;
    use groundcrew_core::types::Digest;

    use super::*;

    #[test]
    fn a_sentence_is_about_its_first_word() {
        let rejected = Rejected {
            digest: Digest::from_bytes([7; 32]),
            version: "v43".parse().unwrap(),
            channel_generation: 1,
            reason: String::new(),
            at: Wall::default(),
        };
        let ledger = Ledger { rejected: Some(rejected), ..Ledger::default() };
        let check = |text: &str, process: Option<&str>, release: Option<&str>| {
            let found = about(text, &ledger);
            let expected = About {
                process: process.map(|process| process.parse().unwrap()),
                release: release.map(|release| release.parse().unwrap()),
            };
            assert_eq!(found, expected, "{text}");
        };
        check("v43 rejected: it crashed", None, Some("v43"));
        check("v43: fetched", None, Some("v43"));
        check("web.17.1 ended with code 1", Some("web.17.1"), None);
        check("leaving: SIGTERM received", None, None);
        check("the source cannot be read: v43", None, None);
        check("", None, None);
    }
}
