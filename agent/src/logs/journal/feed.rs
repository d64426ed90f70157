//! The journal's entries as they come, read on a thread of their own: whoever reads a journal
//! blocks, and its handle stays where it was made. No more than a few entries wait here; what is
//! not fetched stays in the journal.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Entry, JournalError, JournalReader};

/// Entries that wait to be fetched: with the longest messages, 4 MiB.
pub(super) const ENTRIES_QUEUE: usize = 16;

/// What comes from a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The journal does not hold the entry any more after which it should have gone on. What
    /// follows is what it holds.
    Gap,
    /// A unit said something.
    Entry(Entry),
    /// Everything that stood in the journal when [`JournalFeed::ask_for_end`] was called has come.
    End,
}

/// The entries of some units, from a cursor on, until it is shut down or dropped.
#[derive(Debug)]
pub struct JournalFeed {
    news: mpsc::Receiver<Result<News, JournalError>>,
    wake: Arc<OwnedFd>,
    reader: JoinSet<()>,
}

impl JournalFeed {
    /// Begins to read. `open` makes the reader, such as with [`JournalReader::open`]; it is called
    /// on the reader's thread. Must be called within a runtime.
    pub fn start(
        open: impl FnOnce() -> Result<JournalReader, JournalError> + Send + 'static,
    ) -> Result<Self, JournalError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = Arc::new(eventfd(0, flags).map_err(|error| JournalError::Wake(error.into()))?);
        let (sender, news) = mpsc::channel(ENTRIES_QUEUE);
        let woken = Arc::clone(&wake);
        let mut reader = JoinSet::new();
        reader.spawn_blocking(move || {
            if let Err(error) = open().and_then(|reader| read(reader, &woken, &sender)) {
                // Nobody may be there to hear it.
                drop(sender.blocking_send(Err(error)));
            }
        });
        Ok(Self { news, wake, reader })
    }

    /// What comes next. After an error nothing comes any more: begin again with the cursor of the
    /// last entry, after a pause. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<Result<News, JournalError>> {
        self.news.recv().await
    }

    /// Asks for [`News::End`]. Asking again before it came is asking once.
    pub fn ask_for_end(&self) -> Result<(), JournalError> {
        match rustix::io::write(&self.wake, &1_u64.to_ne_bytes()) {
            // It is full of questions already.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(JournalError::Wake(error.into())),
        }
    }

    /// Ends the reader, and waits until it has ended.
    pub async fn shutdown(mut self) {
        self.end();
        while let Some(ended) = self.reader.join_next().await {
            if let Err(error) = ended {
                tracing::error!("the reader of the journal failed: {error}");
            }
        }
    }

    /// A reader that is woken sees that nobody listens.
    fn end(&mut self) {
        self.news.close();
        if let Err(error) = self.ask_for_end() {
            tracing::error!("{}", crate::errors::chain(&error));
        }
    }
}

impl Drop for JournalFeed {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads until nobody listens any more.
fn read(
    mut reader: JournalReader,
    wake: &OwnedFd,
    sender: &mpsc::Sender<Result<News, JournalError>>,
) -> Result<(), JournalError> {
    let send = |news| sender.blocking_send(Ok(news)).is_ok();
    if reader.has_lost_its_place() && !send(News::Gap) {
        return Ok(());
    }
    let mut asked = false;
    while !sender.is_closed() {
        if let Some(entry) = reader.next_entry()? {
            if !send(News::Entry(entry)) {
                return Ok(());
            }
            continue;
        }
        if std::mem::take(&mut asked) && !send(News::End) {
            return Ok(());
        }
        reader.wait(wake.as_fd())?;
        asked = was_asked(wake)?;
    }
    Ok(())
}

/// Takes the questions back that were put.
fn was_asked(wake: &OwnedFd) -> Result<bool, JournalError> {
    match rustix::io::read(wake, &mut [0; 8]) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(error) => Err(JournalError::Wake(error.into())),
    }
}
