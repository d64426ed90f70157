//! Tells what happens as it happens: one line per event, with the time since the start and who it
//! is that speaks.

use std::io::Write;

use groundcrew_core::status::{EventLevel, EventStatus, StatusDocument};
use groundcrew_core::time::Wall;

use super::DemoError;
use crate::clock;

/// Prints the story.
pub struct Narrator {
    out: Box<dyn Write + Send>,
    began: Wall,
    last_event: Option<EventStatus>,
}

impl Narrator {
    /// The story begins now.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, began: clock::wall(), last_event: None }
    }

    /// What the demo itself has to say.
    pub fn note(&mut self, text: &str) -> Result<(), DemoError> {
        self.line(clock::wall(), "demo", text)
    }

    /// A command that a person would type.
    pub fn typed(&mut self, command: &str) -> Result<(), DemoError> {
        self.line(clock::wall(), "you", &format!("$ {command}"))
    }

    /// The agent's events that were not told yet, in their order.
    pub fn events(&mut self, status: &StatusDocument) -> Result<(), DemoError> {
        let known = self.last_event.as_ref();
        let fresh = status.events.iter().take_while(|event| Some(*event) != known);
        let mut fresh: Vec<_> = fresh.cloned().collect();
        fresh.reverse();
        for event in fresh {
            let text = match event.level {
                EventLevel::Normal => event.text.clone(),
                level => format!("{}: {}", level.word(), event.text),
            };
            self.line(event.at, "agent", &text)?;
            self.last_event = Some(event);
        }
        Ok(())
    }

    /// A block without times, such as a table.
    pub fn block(&mut self, text: &str) -> Result<(), DemoError> {
        write!(self.out, "\n{text}").and_then(|()| self.out.flush()).map_err(DemoError::Print)
    }

    fn line(&mut self, at: Wall, who: &str, text: &str) -> Result<(), DemoError> {
        let ms = at.0.saturating_sub(self.began.0).max(0);
        let (seconds, tenths) = (ms / 1000, ms % 1000 / 100);
        writeln!(self.out, "{seconds:>3}.{tenths}s  {who:<5}  {text}")
            .and_then(|()| self.out.flush())
            .map_err(DemoError::Print)
    }
}
