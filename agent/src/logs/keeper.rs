//! Keeps the log files bounded and their indexes current. The only one that removes what processes
//! wrote.
//!
//! It sleeps until a file grows. While files grow it looks at them once a second, however much is
//! written; a file that has not grown since the last look is handed back to the kernel's watch.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use groundcrew_core::time::{Moment, Now, Wall, ms};
use groundcrew_core::types::ProcessId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::error::LogError;
use super::files::{LogFile, LogFiles, open};
use super::index::Index;
use super::limits::{self, LogLimits, MARK_EVERY};
use super::ship::Progress;
use super::sparse::{self, Facts, Punch};
use super::usage::LogUsage;
use super::watch::{Events, Happened, WatchId, Watches};
use crate::fsx::{About, FileError};
use crate::{clock, errors};

/// Asks the keeper to put the large files of a process aside.
#[derive(Debug)]
pub(super) struct Rotate {
    pub(super) process: ProcessId,
    pub(super) answer: oneshot::Sender<Result<bool, LogError>>,
}

/// How the keeper is reached.
pub(super) struct Inputs {
    /// `None` once events cannot be read.
    pub(super) events: Option<Events>,
    pub(super) rotations: mpsc::Receiver<Rotate>,
    pub(super) living: watch::Receiver<Option<Arc<BTreeSet<ProcessId>>>>,
    pub(super) cancellation: CancellationToken,
}

/// One file under the keeper's care.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) log: LogFile,
    pub(super) index: Index,
    pub(super) facts: Facts,
    /// Where data begins; everything before is a hole.
    pub(super) data: u64,
    /// Set while the kernel watches it; otherwise it is looked at every second.
    watched: Option<WatchId>,
    marked_at: Moment,
}

/// What woke the keeper.
#[derive(Debug, Default)]
pub(super) struct Woken {
    pub(super) happened: Happened,
    /// A second has passed since files were last looked at.
    pub(super) tick: bool,
    /// It is time to look at everything.
    pub(super) sweep: bool,
    /// The set of living processes, when it is known.
    pub(super) living: Option<Arc<BTreeSet<ProcessId>>>,
    pub(super) rotate: Option<Rotate>,
}

/// The state between two wakeups. Its methods block: they run on a blocking thread.
#[derive(Debug)]
pub(super) struct Keeper {
    files: LogFiles,
    pub(super) limits: LogLimits,
    pub(super) punch: Punch,
    pub(super) progress: Progress,
    watches: Watches,
    usage: watch::Sender<LogUsage>,
    pub(super) tracked: BTreeMap<Utf8PathBuf, Tracked>,
    pub(super) living: Option<Arc<BTreeSet<ProcessId>>>,
    pub(super) counted: LogUsage,
    swept_at: Option<Moment>,
    /// When growing files were last looked at; `None` while none grows.
    ticked_at: Option<Moment>,
    failing: bool,
    /// There are no events.
    polls: bool,
}

/// Runs the keeper until it is cancelled.
pub(super) async fn run(mut keeper: Keeper, mut inputs: Inputs) -> Result<(), JoinError> {
    let mut woken = Woken { sweep: true, ..Woken::default() };
    loop {
        woken.living.clone_from(&inputs.living.borrow_and_update());
        let pause;
        // A pass is never cut short: a half-done one would leave the counts wrong.
        (keeper, pause) = tokio::task::spawn_blocking(move || {
            let pause = keeper.pass(woken, clock::now());
            (keeper, pause)
        })
        .await?;
        woken = Woken::default();
        tokio::select! {
            biased;
            () = inputs.cancellation.cancelled() => return Ok(()),
            Some(rotate) = inputs.rotations.recv() => woken.rotate = Some(rotate),
            Ok(()) = inputs.living.changed() => woken.sweep = true,
            () = tokio::time::sleep(pause.lasts) => {
                woken.tick = !pause.for_sweep;
                woken.sweep = pause.for_sweep;
            }
            happened = next(inputs.events.as_ref()) => match happened {
                Ok(happened) => woken.happened = happened,
                // Does not happen to an inotify object. Rather looks every second than unbounded
                // logs.
                Err(error) => {
                    let error = errors::chain(&error);
                    tracing::error!(error, "could not read events of the log files; polling them");
                    inputs.events = None;
                    keeper.polls = true;
                    woken.sweep = true;
                }
            },
        }
    }
}

async fn next(events: Option<&Events>) -> io::Result<Happened> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// When to look again without being told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    pub(super) lasts: Duration,
    pub(super) for_sweep: bool,
}

impl Keeper {
    pub(super) fn new(
        files: LogFiles,
        limits: LogLimits,
        freeing: (Punch, Progress),
        watches: Watches,
        usage: watch::Sender<LogUsage>,
    ) -> Self {
        Self {
            files,
            limits,
            punch: freeing.0,
            progress: freeing.1,
            watches,
            usage,
            tracked: BTreeMap::new(),
            living: None,
            counted: LogUsage { punching: true, ..LogUsage::default() },
            swept_at: None,
            ticked_at: None,
            failing: false,
            polls: false,
        }
    }

    /// One look. Errors are counted and told, and the next look tries again.
    pub(super) fn pass(&mut self, woken: Woken, now: Now) -> Pause {
        self.counted.wakeups += 1;
        self.living = woken.living;
        let mut failed = None;
        let mut keep = |result: Result<(), FileError>| failed = result.err().or(failed.take());
        let sweep = woken.sweep || woken.happened.names;
        if sweep {
            keep(self.rescan(now));
        }
        let mut grown = sweep;
        for (path, fired) in self.due(&woken.happened.grew, woken.tick, woken.sweep, now) {
            grown |= fired;
            keep(self.observe(&path, now, woken.tick || woken.sweep));
        }
        if grown || woken.tick {
            keep(self.enforce(now.wall));
        }
        if woken.sweep {
            self.swept_at = Some(now.at);
        }
        if woken.sweep || woken.tick {
            self.ticked_at = Some(now.at);
        }
        if let Some(Rotate { process, answer }) = woken.rotate {
            // Whoever asked may have given up: then nobody needs the answer.
            drop(answer.send(self.rotate(&process, now)));
        }
        self.tell(failed);
        self.pause(now)
    }

    /// Takes up new files, forgets those that are gone.
    fn rescan(&mut self, now: Now) -> Result<(), FileError> {
        self.files.create_root()?;
        self.watches.directory(self.files.root())?;
        let mut found = BTreeSet::new();
        let mut failed = Ok(());
        for directory in self.files.tier_directories()? {
            // Watched before it is listed: a file is in the list or in an event.
            self.watches.directory(&directory)?;
            for log in LogFiles::list(&directory)? {
                found.insert(log.path.clone());
                failed = failed.and(self.track(log, now));
            }
        }
        self.tracked.retain(|path, _| found.contains(path));
        failed
    }

    fn track(&mut self, log: LogFile, now: Now) -> Result<(), FileError> {
        let Some((file, facts)) = stat(&log)? else { return Ok(()) };
        let known = self.tracked.get(&log.path);
        if known.is_some_and(|known| known.facts.identity == facts.identity) {
            return Ok(());
        }
        // The clock may have been ahead when the file was written.
        let modified = facts.modified.min(now.wall);
        let index = Index::open(&log.path, facts.size, modified)?;
        let data = sparse::data_from(&file, 0).about("look for data in", &log.path)?;
        let path = log.path.clone();
        let data = data.unwrap_or(facts.size);
        let tracked = Tracked { log, index, facts, data, watched: None, marked_at: Moment(0) };
        self.tracked.insert(path.clone(), tracked);
        self.hand_back(&path, now)
    }

    /// The files to look at, each with whether its watch has fired.
    fn due(
        &mut self,
        grew: &BTreeSet<WatchId>,
        tick: bool,
        sweep: bool,
        now: Now,
    ) -> Vec<(Utf8PathBuf, bool)> {
        let mut paths = Vec::new();
        for (path, tracked) in &mut self.tracked {
            let fired = tracked.watched.is_some_and(|id| grew.contains(&id));
            if fired {
                tracked.watched = None;
            }
            let growing = tracked.watched.is_none() && tick;
            let first = fired && now.at.since(tracked.marked_at) >= MARK_EVERY;
            if growing || first || sweep {
                paths.push((path.clone(), fired));
            }
        }
        paths
    }

    /// Looks at one file: marks its growth, or hands it back to the kernel when `quiet_ends` and
    /// there was none.
    fn observe(&mut self, path: &Utf8PathBuf, now: Now, quiet_ends: bool) -> Result<(), FileError> {
        let Some(tracked) = self.tracked.get_mut(path) else { return Ok(()) };
        let Some((file, facts)) = stat(&tracked.log)? else {
            self.tracked.remove(path);
            return Ok(());
        };
        let before = tracked.facts.size;
        tracked.facts = facts;
        if facts.size < before {
            tracked.data = 0;
        }
        if facts.size != tracked.index.marks.end() {
            tracked.marked_at = now.at;
            tracked.index.mark(now.wall, facts.size)?;
        }
        if tracked.data >= before {
            let data = sparse::data_from(&file, tracked.data).about("look for data in", path)?;
            tracked.data = data.unwrap_or(facts.size);
        }
        if quiet_ends && facts.size == before && tracked.watched.is_none() {
            return self.hand_back(path, now);
        }
        Ok(())
    }

    /// Sets the kernel's watch, then looks whether something was written just before.
    fn hand_back(&mut self, path: &Utf8PathBuf, now: Now) -> Result<(), FileError> {
        let Some(tracked) = self.tracked.get_mut(path) else { return Ok(()) };
        if tracked.log.is_aside() {
            // Nobody writes to it any more; a watch that never fires costs nothing, none costs
            // less.
            tracked.watched = Some(WatchId::MAX);
            return Ok(());
        }
        match self.watches.growth(path) {
            Ok(id) => tracked.watched = Some(id),
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let late = stat(&tracked.log)?.is_some_and(|(_, facts)| facts.size != tracked.facts.size);
        if late { self.observe(path, now, false) } else { Ok(()) }
    }

    fn rotate(&mut self, process: &ProcessId, now: Now) -> Result<bool, LogError> {
        if self.counted.punching {
            return Ok(false);
        }
        let from = self.limits.file_bytes_max / limits::ROTATE_DIVISOR;
        let large: Vec<LogFile> = self
            .tracked
            .values()
            .filter(|tracked| !tracked.log.is_aside() && tracked.log.process == *process)
            .filter(|tracked| tracked.held() >= from)
            .map(|tracked| tracked.log.clone())
            .collect();
        for log in &large {
            // What was written since the last look, before its index goes along.
            self.observe(&log.path, now, false)?;
            self.files.put_aside(log)?;
            self.tracked.remove(&log.path);
            self.counted.files_rotated += 1;
        }
        self.rescan(now)?;
        Ok(!large.is_empty())
    }

    /// Publishes what was counted; says what failed, once until it works again.
    fn tell(&mut self, failed: Option<FileError>) {
        let tracked = self.tracked.values();
        self.counted.files = self.tracked.len();
        self.counted.bytes = tracked.clone().map(Tracked::held).sum();
        let file_max = self.limits.file_bytes_max;
        self.counted.files_over_limit = tracked.filter(|tracked| tracked.held() > file_max).count();
        self.counted.over_limit = self.counted.bytes > self.limits.total_bytes_max;
        if let Some(error) = &failed {
            self.counted.errors += 1;
            let text = errors::chain(error);
            if !self.failing {
                tracing::warn!(error = text, "could not keep the log files; trying again");
            }
            self.counted.last_error = Some(text);
        }
        self.failing = failed.is_some();
        self.usage.send_replace(self.counted.clone());
    }

    fn pause(&mut self, now: Now) -> Pause {
        let again = self.failing || self.polls;
        if again || self.tracked.values().any(|tracked| tracked.watched.is_none()) {
            // Counted from the last tick: events of other files must not put this one off.
            let ticked = *self.ticked_at.get_or_insert(now.at);
            let lasts = MARK_EVERY.saturating_sub(now.at.since(ticked));
            // After a failure everything is looked at again, so that what failed is tried again.
            return Pause { lasts, for_sweep: again };
        }
        self.ticked_at = None;
        let swept = self.swept_at.map_or(Duration::ZERO, |at| now.at.since(at));
        let every = limits::SWEEP_EVERY.saturating_sub(swept);
        let lasts = self.expires_in(now.wall).unwrap_or(every).min(every);
        Pause { lasts: lasts.max(limits::SWEEP_EVERY_MIN), for_sweep: true }
    }

    /// How long until something is too old that can go then.
    fn expires_in(&self, wall: Wall) -> Option<Duration> {
        let oldest =
            self.tracked.values().filter_map(|tracked| self.expires(tracked, wall)).min()?;
        let age_max = i64::try_from(ms(self.limits.age_max)).unwrap_or(i64::MAX);
        let left = oldest.0.saturating_add(age_max).saturating_sub(wall.0);
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }
}

impl Tracked {
    /// Bytes of the log on disk. Not plainly `st_blocks`: XFS counts blocks it set aside behind the
    /// end of a growing file, as many as the file is long, and others free blocks a while later.
    pub(super) fn held(&self) -> u64 {
        let end = self.facts.size.next_multiple_of(self.facts.block);
        self.facts.allocated.min(end - self.facts.block_floor(self.data.min(self.facts.size)))
    }

    /// By when the oldest data still there was written.
    pub(super) fn oldest(&self) -> Option<Wall> {
        (self.data < self.facts.size)
            .then(|| self.index.marks.after(self.data).map_or(self.facts.modified, |m| m.wall))
    }
}

/// Opens a file and asks about it; `None` when it is gone.
pub(super) fn stat(log: &LogFile) -> Result<Option<(std::fs::File, Facts)>, FileError> {
    let file = match open(&log.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.about("open", &log.path)?,
    };
    let metadata = file.metadata().about("ask about", &log.path)?;
    Ok(Some((file, Facts::of(&metadata))))
}
