//! The status in one line: what `systemctl status` shows.

use std::fmt::Write;

use super::StatusDocument;

impl StatusDocument {
    /// How the host is, which release it runs, how many processes of each tier are ready, and why
    /// that is not as it should be.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = self.state.word().to_owned();
        let release = self.release.as_ref().map(|release| release.version.as_str());
        // Into a String nothing fails.
        let _ = write!(line, " {}", release.unwrap_or("no release"));
        for (index, tier) in self.tiers.iter().enumerate() {
            let before = if index == 0 { ":" } else { "," };
            let _ = write!(line, "{before} {} {}/{}", tier.name, tier.ready, tier.wanted);
        }
        if let Some(reason) = &self.reason {
            let _ = write!(line, "; {}", reason.replace('\n', " "));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::tests::document;
    use super::*;

    #[test]
    fn names_the_state_the_release_the_tiers_and_the_reason() {
        let serving = document();
        assert_eq!(serving.line(), "serving v42: web 1/2");
        let mut worker = serving.tiers[0].clone();
        worker.name = "worker".parse().unwrap();
        let degraded = StatusDocument {
            state: State::Degraded,
            release: None,
            reason: Some("worker keeps\ncrashing".to_owned()),
            tiers: vec![serving.tiers[0].clone(), worker],
            ..serving
        };
        let expected = "degraded no release: web 1/2, worker 1/2; worker keeps crashing";
        assert_eq!(degraded.line(), expected);
    }
}
