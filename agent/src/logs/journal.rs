//! What units say to journald: entries in order, from a cursor on. Reads through libsystemd, which
//! every host with systemd has; it must never write to a journal, nor hold journald up.
//!
//! The order is the journal's. An entry's cursor is opaque, and names the entry across rotation,
//! reboots and agents: whoever keeps the cursor of the last entry that was dealt with goes on with
//! the one after it.

use std::os::fd::BorrowedFd;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::logs::limits::GROUPED_BYTES_MAX;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use systemd::id128::Id128;
use systemd::journal::{Journal, JournalWaitResult, OpenDirectoryOptions, OpenOptions};

mod feed;
#[cfg(test)]
mod tests;

pub use feed::{JournalFeed, News};

/// Bytes of a message; what is longer is cut. journald takes lines of 48 KiB from a process's
/// stdout (LineMax of journald.conf), but messages of 768 MiB from one that speaks to it itself.
pub const MESSAGE_BYTES_MAX: usize = GROUPED_BYTES_MAX;
/// The longest wait for news. The journal tells of every change, but for one on a file system of
/// the network (`sd_journal_get_timeout(3)`).
const WAIT_SECONDS_MAX: i64 = 30;
/// The service manager's process.
const MANAGER_PID: &str = "1";

/// What a unit said once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who said it, or whom the service manager speaks about.
    pub unit: String,
    /// What, in the bytes in which it was said: not necessarily UTF-8, nor one line.
    pub message: Vec<u8>,
    /// The message was longer than [`MESSAGE_BYTES_MAX`], and this is its beginning.
    pub cut: bool,
    /// When journald heard it, in milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
    /// syslog's word for how much it matters, from 0 (emergency) to 7 (debug), where one was given.
    pub priority: Option<u8>,
    /// Names this entry.
    pub cursor: String,
}

/// The journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It could not be opened.
    #[error("could not open the journal{}", place(.directory.as_ref()))]
    Open {
        /// Where it is, when it is not the host's.
        directory: Option<Utf8PathBuf>,
        /// Why.
        #[source]
        source: systemd::Error,
    },
    /// There is nothing to read.
    #[error("could not read the journal: no unit is named")]
    NoUnits,
    /// It could not be filtered.
    #[error("could not look for {what} in the journal")]
    Match {
        /// The units, or the boot.
        what: String,
        /// Why.
        #[source]
        source: systemd::Error,
    },
    /// The place to begin at could not be found.
    #[error("could not go to {cursor} in the journal")]
    Seek {
        /// The cursor.
        cursor: String,
        /// Why.
        #[source]
        source: systemd::Error,
    },
    /// The next entry could not be read.
    #[error("could not read the journal's entry after {after}")]
    Read {
        /// The cursor of the last one that could.
        after: String,
        /// Why.
        #[source]
        source: systemd::Error,
    },
    /// It could not be waited for news.
    #[error("could not wait for news of the journal")]
    Wait(#[source] std::io::Error),
    /// The reader was not there to be told.
    #[error("could not wake the reader of the journal")]
    Wake(#[source] std::io::Error),
}

fn place(directory: Option<&Utf8PathBuf>) -> String {
    directory.map_or_else(String::new, |directory| format!(" in {directory}"))
}

/// Reads entries of some units. Blocks, and stays on the thread that made it.
pub struct JournalReader {
    journal: Journal,
    units: Vec<String>,
    /// The journal stands on an entry that is still to be looked at.
    at_entry: bool,
    lost_place: bool,
    /// For errors: the cursor of the entry that was read last.
    last: String,
}

/// The boot as the service manager sees it, and journald: in a container both see another than the
/// kernel's, and a unit with `ProtectKernelTunables=` sees the kernel's. `None`: it is not to be
/// had.
fn boot_of_manager() -> Option<String> {
    let text = std::fs::read_to_string("/proc/1/root/proc/sys/kernel/random/boot_id").ok()?;
    let boot = text.trim().replace('-', "");
    (boot.len() == 32).then_some(boot)
}

impl JournalReader {
    /// Opens the host's journal. `cursor` is that of the last entry that was dealt with; without
    /// one it begins with what the units said first in this boot: an image brings the journal of
    /// the host on which it was made.
    pub fn open(units: &[String], cursor: Option<&str>) -> Result<Self, JournalError> {
        // Also the journals of users: a service whose user is a person's speaks there.
        let journal = OpenOptions::default().local_only(true).open();
        Self::begin(journal, None, units, cursor)
    }

    /// Opens the journal files of a directory.
    pub fn open_directory(
        directory: &Utf8Path,
        units: &[String],
        cursor: Option<&str>,
    ) -> Result<Self, JournalError> {
        let journal = OpenDirectoryOptions::default().open_directory(directory.as_str());
        Self::begin(journal, Some(directory), units, cursor)
    }

    fn begin(
        journal: systemd::Result<Journal>,
        directory: Option<&Utf8Path>,
        units: &[String],
        cursor: Option<&str>,
    ) -> Result<Self, JournalError> {
        if units.is_empty() {
            // Without a filter, everything would come.
            return Err(JournalError::NoUnits);
        }
        let directory = directory.map(Utf8Path::to_owned);
        let journal = journal.and_then(prepare);
        let mut reader = Self {
            journal: journal.map_err(|source| JournalError::Open { directory, source })?,
            units: units.to_vec(),
            at_entry: false,
            lost_place: false,
            last: cursor.unwrap_or("the beginning").to_owned(),
        };
        match cursor {
            None => reader.select_in_this_boot()?,
            Some(cursor) => {
                // Before the units are selected: one that is asked for no more is no loss.
                reader.lost_place = !reader.go_to(cursor)?;
                reader.select(None)?;
                let found = reader.go_to(cursor)?;
                reader.at_entry &= !found;
            }
        }
        Ok(reader)
    }

    fn select_in_this_boot(&mut self) -> Result<(), JournalError> {
        let failed = |source| JournalError::Match { what: "this boot".to_owned(), source };
        let boot = match boot_of_manager() {
            Some(boot) => boot,
            None => Id128::from_boot().map_err(failed)?.to_string(),
        };
        self.select(Some(&boot))?;
        self.journal.seek_head().map_err(failed)
    }

    /// Filters: what the units say themselves, and what the service manager says about them, as
    /// `journalctl --unit` has it.
    fn select(&mut self, boot: Option<&str>) -> Result<(), JournalError> {
        // Matches of one field are an `or`, those of several an `and`.
        let matching = |source| JournalError::Match { what: self.units.join(", "), source };
        for unit in &self.units {
            self.journal.match_add("_SYSTEMD_UNIT", unit.as_str()).map_err(matching)?;
        }
        if let Some(boot) = boot {
            self.journal.match_add("_BOOT_ID", boot).map_err(matching)?;
        }
        self.journal.match_or().map_err(matching)?;
        self.journal.match_add("_PID", MANAGER_PID).map_err(matching)?;
        for unit in &self.units {
            self.journal.match_add("UNIT", unit.as_str()).map_err(matching)?;
        }
        if let Some(boot) = boot {
            self.journal.match_add("_BOOT_ID", boot).map_err(matching)?;
        }
        Ok(())
    }

    /// Goes to the entry of `cursor`, or else to the first one after its place. Answers whether it
    /// is there.
    fn go_to(&mut self, cursor: &str) -> Result<bool, JournalError> {
        let mut go = || {
            self.journal.seek_cursor(cursor)?;
            self.at_entry = self.journal.next()? > 0;
            Ok(self.at_entry && self.journal.test_cursor(cursor)?)
        };
        go().map_err(|source| JournalError::Seek { cursor: cursor.to_owned(), source })
    }

    /// Whether the journal does not hold the cursor's entry any more. Then the reader goes on with
    /// the first one after its place, and nobody knows what was said in between.
    #[must_use]
    pub fn has_lost_its_place(&self) -> bool {
        self.lost_place
    }

    /// The next entry; `None`: there is none yet. Passes over what has no message, and what cannot
    /// be read because its file is damaged.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, JournalError> {
        loop {
            let there = self.advance().map_err(|source| self.failed(source))?;
            if !there {
                return Ok(None);
            }
            if let Some(entry) = self.entry().map_err(|source| self.failed(source))? {
                self.last.clone_from(&entry.cursor);
                return Ok(Some(entry));
            }
        }
    }

    fn failed(&self, source: systemd::Error) -> JournalError {
        JournalError::Read { after: self.last.clone(), source }
    }

    /// Whether there is a further entry.
    fn advance(&mut self) -> systemd::Result<bool> {
        if std::mem::take(&mut self.at_entry) {
            return Ok(true);
        }
        loop {
            if self.journal.next()? > 0 {
                return Ok(true);
            }
            // Files come and go as journald rotates them.
            if matches!(self.journal.process()?, JournalWaitResult::Nop) {
                return Ok(false);
            }
        }
    }

    /// The entry on which the journal stands.
    fn entry(&mut self) -> systemd::Result<Option<Entry>> {
        let cursor = self.journal.cursor()?;
        let Some(mut message) = self.field("MESSAGE", &cursor)? else { return Ok(None) };
        let cut = message.len() > MESSAGE_BYTES_MAX;
        message.truncate(MESSAGE_BYTES_MAX);
        let unit = self.unit(&cursor)?;
        let priority = self.field("PRIORITY", &cursor)?;
        let priority = priority.and_then(|text| str::from_utf8(&text).ok()?.parse().ok());
        let at_ms = self.journal.timestamp_usec()? / 1000;
        let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
        Ok(Some(Entry { unit, message, cut, at_ms, priority, cursor }))
    }

    fn unit(&mut self, cursor: &str) -> systemd::Result<String> {
        let text = |bytes: Option<Vec<u8>>| {
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        };
        let own = text(self.field("_SYSTEMD_UNIT", cursor)?);
        if self.units.contains(&own) {
            return Ok(own);
        }
        Ok(text(self.field("UNIT", cursor)?))
    }

    /// A field of the entry on which the journal stands, as far as it is of use.
    fn field(&mut self, name: &str, cursor: &str) -> systemd::Result<Option<Vec<u8>>> {
        match self.journal.get_data(name) {
            Ok(field) => Ok(field.and_then(|field| {
                let value = field.value()?;
                Some(value[..value.len().min(MESSAGE_BYTES_MAX + 1)].to_vec())
            })),
            Err(error) if is_damage(&error) => {
                tracing::warn!("{name} of the journal's entry {cursor} cannot be read: {error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until the journal has changed, or `wake` is readable, or it has taken half a minute.
    pub fn wait(&self, wake: BorrowedFd<'_>) -> Result<(), JournalError> {
        let fd = self.journal.fd().map_err(|source| self.failed(source))?;
        // SAFETY: the journal owns the descriptor and keeps it open until it is dropped, which it
        // cannot be while it is borrowed here.
        let journal = unsafe { BorrowedFd::borrow_raw(fd) };
        let mut fds = [&journal, &wake].map(|fd| PollFd::new(fd, PollFlags::IN));
        let limit = Timespec { tv_sec: WAIT_SECONDS_MAX, tv_nsec: 0 };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(JournalError::Wait(error.into())),
        }
    }
}

/// From then on the journal watches its files.
fn prepare(mut journal: Journal) -> systemd::Result<Journal> {
    // One more byte says that a message is longer.
    journal.set_data_threshold(b"MESSAGE=".len() + MESSAGE_BYTES_MAX + 1)?;
    journal.fd()?;
    Ok(journal)
}

/// Whether an entry, or the file that it is in, is damaged, or written by a journald that packs it
/// in another way than this host's libsystemd can unpack.
fn is_damage(error: &systemd::Error) -> bool {
    let damage = [Errno::BADMSG, Errno::TOOBIG, Errno::PROTONOSUPPORT];
    damage.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
