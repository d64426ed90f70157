//! `groundcrew doctor`: one line a finding, below it what to do.

use groundcrew_core::doctor::{Finding, Verdict};

use super::human::clean;
use super::{Style, Tone};

/// From the worst to the best.
const VERDICTS: [Verdict; 4] = [Verdict::Bad, Verdict::Caution, Verdict::Unknown, Verdict::Good];

/// The findings as text that ends with a newline. The first line answers for all of them.
#[must_use]
pub fn render(findings: &[Finding], style: Style) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let counts: Vec<_> = VERDICTS
        .into_iter()
        .map(|verdict| (verdict, count(verdict)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let worst = counts.first().map_or(Verdict::Good, |(worst, _)| *worst);
    let all: Vec<_> =
        counts.iter().map(|(verdict, count)| format!("{count} {}", verdict.word())).collect();
    let answer = style.paint(tone(worst), &format!("● {}", worst.word()));
    let mut text = format!("{answer}: {}\n", all.join(", "));
    let width = |text: &str| text.chars().count();
    let words = VERDICTS.iter().map(|verdict| width(verdict.word())).max().unwrap_or(0);
    let checks = findings.iter().map(|finding| width(finding.check)).max().unwrap_or(0);
    for finding in findings {
        let word = finding.verdict.word();
        let (gap, check) = (words - width(word), finding.check);
        let word = style.paint(tone(finding.verdict), word);
        let lead = format!("  {word}{}  {check:<checks$}  ", " ".repeat(gap));
        text.push_str(&style.paragraph(&lead, words + checks + 6, &finding.numbers));
        if let Some(fix) = &finding.fix {
            // Never wrapped: it is there to be copied.
            let fix = clean(fix);
            text.push_str(&" ".repeat(words + 4));
            text.push_str("fix: ");
            text.push_str(&fix);
            text.push('\n');
        }
    }
    text
}

fn tone(verdict: Verdict) -> Option<Tone> {
    match verdict {
        Verdict::Good => Some(Tone::Good),
        Verdict::Caution => Some(Tone::Caution),
        Verdict::Bad => Some(Tone::Bad),
        Verdict::Unknown => None,
    }
}
