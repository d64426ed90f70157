//! The journal, as the shipper hears it: begins again where it was when it could not be read.

use std::time::Duration;

use futures_util::FutureExt;
use groundcrew_core::logs::{Destination, LogSettings};
use groundcrew_core::time::Moment;

use super::engine::Engine;
use crate::errors::chain;
use crate::logs::journal::{Entry, JournalError, JournalFeed, JournalReader, News};
use crate::{clock, systemd};

/// The agent's own unit.
const OWN_UNIT: &str = "groundcrew.service";
/// Pause before a journal that could not be read is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Entries taken at once.
const TAKEN_MAX: usize = 256;

/// What units say.
pub(super) struct Units {
    units: Vec<String>,
    feed: Option<JournalFeed>,
    cursor: Option<String>,
    again_at: Moment,
    failing: bool,
    /// Everything that was said before it was asked for has come.
    pub(super) has_ended: bool,
}

impl Units {
    /// The units that the settings name, and the agent's own where it says its log to the journal;
    /// `None`: there are none.
    pub(super) fn open(settings: &LogSettings, engine: &Engine) -> Option<Self> {
        let mut units: Vec<String> =
            settings.journals.iter().flat_map(|rule| rule.units.iter().cloned()).collect();
        // To its standard output, which is the journal, it would say what it reads from there.
        let echoes = settings.to == Destination::Stdout;
        if systemd::listens() && !echoes && !units.iter().any(|unit| unit == OWN_UNIT) {
            units.push(OWN_UNIT.to_owned());
        }
        (!units.is_empty()).then(|| Self {
            units,
            feed: None,
            cursor: engine.journal_cursor(),
            again_at: Moment(0),
            failing: false,
            has_ended: true,
        })
    }

    /// Waits for entries; empty: the journal could not be read, or has nothing more for now. Safe
    /// to drop half-way.
    pub(super) async fn next(&mut self) -> Vec<Entry> {
        if self.feed.is_none() {
            tokio::time::sleep(self.again_at.since(clock::at())).await;
            let (units, cursor) = (self.units.clone(), self.cursor.clone());
            let opened = JournalFeed::start(move || JournalReader::open(&units, cursor.as_deref()));
            match opened {
                Ok(feed) => self.feed = Some(feed),
                Err(error) => self.failed(&error),
            }
        }
        let Some(feed) = &mut self.feed else { return Vec::new() };
        let mut entries = Vec::new();
        let mut news = feed.next().await;
        loop {
            match news {
                Some(Ok(News::Entry(entry))) => {
                    self.cursor = Some(entry.cursor.clone());
                    self.failing = false;
                    entries.push(entry);
                }
                Some(Ok(News::End)) => {
                    self.has_ended = true;
                    return entries;
                }
                Some(Ok(News::Gap)) => {
                    tracing::error!("the journal was cut off before everything in it was shipped");
                }
                Some(Err(error)) => {
                    self.failed(&error);
                    return entries;
                }
                None => {
                    self.feed = None;
                    self.has_ended = true;
                    return entries;
                }
            }
            let Some(feed) = &mut self.feed else { return entries };
            if entries.len() >= TAKEN_MAX {
                return entries;
            }
            match feed.next().now_or_never() {
                Some(next) => news = next,
                None => return entries,
            }
        }
    }

    /// Asks for everything that was said by now.
    pub(super) fn ask_for_end(&mut self) {
        let Some(feed) = &self.feed else { return };
        match feed.ask_for_end() {
            Ok(()) => self.has_ended = false,
            Err(error) => tracing::warn!("{}", chain(&error)),
        }
    }

    fn failed(&mut self, error: &JournalError) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!("{}; trying again", chain(error));
        }
        self.feed = None;
        self.has_ended = true;
        self.again_at = clock::at().plus(AGAIN_AFTER);
    }

    /// Ends the reader.
    pub(super) async fn shutdown(self) {
        if let Some(feed) = self.feed {
            feed.shutdown().await;
        }
    }
}
