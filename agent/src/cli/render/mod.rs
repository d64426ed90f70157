//! Documents as text for a terminal. Pure: no clock, no environment, no terminal is asked; ages are
//! counted from the document's own `now`.

pub mod audit;
pub mod backups;
pub mod cost;
pub mod doctor;
pub(super) mod human;
pub mod metrics;
mod pipelines;
pub mod releases;
pub mod status;
mod table;
#[cfg(test)]
mod tests;

/// How text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; long sentences are wrapped there. `usize::MAX`: never.
    pub width: usize,
    /// Whether colours may repeat what the words say.
    pub colour: bool,
}

/// What a colour repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// A person may look.
    Caution,
    /// A person has to look.
    Bad,
    /// A person may skip it.
    Faint,
}

impl Style {
    /// `text` in the colour of `tone`.
    #[must_use]
    pub fn paint(self, tone: Option<Tone>, text: &str) -> String {
        let code = match tone {
            Some(Tone::Good) => 32,
            Some(Tone::Caution) => 33,
            Some(Tone::Bad) => 31,
            Some(Tone::Faint) => 2,
            None => return text.to_owned(),
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// `lead` and `text` on as many lines as it takes, the later ones indented to the end of the
    /// lead. Control characters in `text` are escaped: it may come from the application.
    fn paragraph(self, lead: &str, lead_width: usize, text: &str) -> String {
        let room = self.width.saturating_sub(lead_width).max(20);
        let mut lines = vec![String::new()];
        for word in human::clean(text).split(' ') {
            let last = lines.last_mut().filter(|line| {
                line.is_empty() || line.chars().count() + 1 + word.chars().count() <= room
            });
            match last {
                Some(line) if line.is_empty() => line.push_str(word),
                Some(line) => {
                    line.push(' ');
                    line.push_str(word);
                }
                None => lines.push(word.to_owned()),
            }
        }
        format!("{lead}{}\n", lines.join(&format!("\n{}", " ".repeat(lead_width))))
    }
}
