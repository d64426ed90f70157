//! Events of the file system: new names in directories, growth of files. Owns one inotify object.
//!
//! Not the `notify` crate: it has no one-shot watches, so that a process that writes 50 MB/s would
//! wake it for each write, and it needs a thread. A growth watch fires once and is set again by
//! whoever has read to the end; in between the kernel keeps no events.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use camino::Utf8Path;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::error::LogError;
use crate::fsx::{About, FileError};

/// Names a watch in its events.
pub(super) type WatchId = i32;

/// What happened since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    /// Names in watched directories came or went, or events were lost: look at everything.
    pub(super) names: bool,
    /// Growth watches that fired, and are gone.
    pub(super) grew: BTreeSet<WatchId>,
}

/// Waits for events. The watches are set through [`Watches`].
#[derive(Debug)]
pub(super) struct Events {
    fd: AsyncFd<Arc<OwnedFd>>,
}

/// Sets watches; may be used from a thread that blocks.
#[derive(Debug, Clone)]
pub struct Watches {
    fd: Arc<OwnedFd>,
}

/// A new inotify object. Must be called within a runtime.
pub(super) fn watch() -> Result<(Watches, Events), LogError> {
    let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
        .map_err(|error| LogError::Watch(error.into()))?;
    let fd = Arc::new(fd);
    // SAFETY: the descriptor must stay open, and the same, for as long as it is registered.
    // `AsyncFd` owns a share of the `OwnedFd`, which nothing can close or replace before the last
    // share is dropped.
    let events = unsafe { AsyncFd::register(Arc::clone(&fd)) };
    let events = events.map_err(|error| LogError::Watch(error.into()))?;
    Ok((Watches { fd }, Events { fd: events }))
}

impl Watches {
    /// Reports names that come and go in `directory`. Again for the same one changes nothing, and
    /// gives the same answer.
    pub(super) fn directory(&self, directory: &Utf8Path) -> Result<WatchId, FileError> {
        let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
        inotify::add_watch(&self.fd, directory.as_std_path(), flags | WatchFlags::ONLYDIR)
            .about("watch", directory)
    }

    /// Reports the next write to `file`, once. Whoever sets it looks at the file's size afterwards.
    pub(super) fn growth(&self, file: &Utf8Path) -> Result<WatchId, FileError> {
        let flags = WatchFlags::MODIFY | WatchFlags::ONESHOT | WatchFlags::DONT_FOLLOW;
        inotify::add_watch(&self.fd, file.as_std_path(), flags).about("watch", file)
    }
}

impl Watches {
    /// Reports the next write to an open file, once, whatever its name is by now.
    pub(super) fn growth_of(&self, file: &File, path: &Utf8Path) -> Result<WatchId, FileError> {
        let flags = WatchFlags::MODIFY | WatchFlags::ONESHOT;
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        inotify::add_watch(&self.fd, link.as_str(), flags).about("watch", path)
    }
}

impl Events {
    /// What has happened by now.
    #[cfg(test)]
    pub(super) fn try_next(&self) -> Happened {
        drain(self.fd.get_ref()).unwrap()
    }

    /// Waits until something happened. Safe to drop half-way: events stay in the kernel.
    pub(super) async fn next(&self) -> io::Result<Happened> {
        loop {
            let mut ready = self.fd.readable().await?;
            let happened = drain(self.fd.get_ref())?;
            ready.clear_ready();
            if happened != Happened::default() {
                return Ok(happened);
            }
        }
    }
}

fn drain(fd: &OwnedFd) -> io::Result<Happened> {
    let mut happened = Happened::default();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(fd, &mut buffer);
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(Errno::AGAIN) => return Ok(happened),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let flags = event.events();
        // Sidecars and temporary files are hidden, and nobody's news.
        let hidden = event.file_name().is_some_and(|name| name.to_bytes().starts_with(b"."));
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            happened.names = true;
        } else if flags.contains(ReadFlags::MODIFY) {
            happened.grew.insert(event.wd());
        } else if !hidden && !flags.contains(ReadFlags::IGNORED) {
            happened.names = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::super::testing::scratch;
    use super::*;

    #[tokio::test]
    async fn many_writes_are_one_event_and_hidden_names_are_none() {
        let (_keep, directory) = scratch();
        let (watches, events) = watch().unwrap();
        let path = directory.join("log");
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        watches.directory(&directory).unwrap();
        let id = watches.growth(&path).unwrap();
        for _ in 0..1000 {
            file.write_all(b"line\n").unwrap();
        }
        drop(OpenOptions::new().create(true).append(true).open(directory.join(".i")).unwrap());
        let happened = events.next().await.unwrap();
        assert_eq!(happened, Happened { names: false, grew: BTreeSet::from([id]) });

        file.write_all(b"not watched any more\n").unwrap();
        fs::rename(&path, directory.join("aside")).unwrap();
        let happened = events.next().await.unwrap();
        assert_eq!(happened, Happened { names: true, grew: BTreeSet::new() });
    }
}
