//! What goes when there is too much or it is too old. Whole blocks from the front, the oldest
//! first.

use std::io;
use std::path::Path;

use camino::Utf8PathBuf;
use groundcrew_core::time::{Wall, ms};

use super::files::{index_path, no_follow};
use super::keeper::{Keeper, Tracked, stat};
use super::limits::{GONE_GRACE, SLACK_DIVISOR};
use super::sparse;
use crate::fsx::{self, About, FileError};

/// The least that is punched at once for the sake of the total.
const STEP_BYTES: u64 = 1024 * 1024;

/// What is not freed yet.
#[derive(Debug, Clone, Copy)]
struct Spared {
    /// Bytes at the end of each file.
    tail: u64,
    /// What was not accepted.
    pending: bool,
}

impl Keeper {
    /// Brings the files within the limits, as far as that can be done.
    pub(super) fn enforce(&mut self, wall: Wall) -> Result<(), FileError> {
        let paths: Vec<Utf8PathBuf> = self.tracked.keys().cloned().collect();
        for path in &paths {
            self.enforce_age_and_size(path, wall)?;
        }
        self.enforce_total(wall)
    }

    fn enforce_age_and_size(&mut self, path: &Utf8PathBuf, wall: Wall) -> Result<(), FileError> {
        let Some(tracked) = self.tracked.get(path) else { return Ok(()) };
        let gone = self.is_gone(tracked, wall);
        let expired = before(wall, ms(self.limits.age_max));
        let empty = tracked.data >= tracked.facts.block_floor(tracked.facts.size);
        // What was not accepted goes only when there is no room.
        let accepted = self.progress.accepted(path);
        let gone = gone && accepted >= tracked.facts.size;
        if gone && ((empty && tracked.data > 0) || tracked.facts.modified <= expired) {
            return self.remove(path);
        }
        if gone && tracked.facts.size == 0 {
            return self.remove(path);
        }
        let (limits, facts, held) = (self.limits, tracked.facts, tracked.held());
        let mut cut = tracked.index.marks.end_of(expired);
        if held > limits.file_bytes_max {
            let target = limits.file_bytes_max - limits.file_bytes_max / SLACK_DIVISOR;
            cut = cut.max(tracked.data.saturating_add(held - target));
        }
        let kept = facts.size.saturating_sub(limits.tail_bytes_kept);
        self.punch_until(path, cut.min(kept).min(accepted))
    }

    /// The time whose age decides when something of a file goes next; `None` when nothing will.
    pub(super) fn expires(&self, tracked: &Tracked, wall: Wall) -> Option<Wall> {
        let facts = &tracked.facts;
        let whole = facts.block_floor(facts.size.saturating_sub(self.limits.tail_bytes_kept));
        let oldest = tracked.oldest().filter(|_| self.counted.punching && whole > tracked.data);
        let file = self.is_gone(tracked, wall).then_some(facts.modified);
        [oldest, file].into_iter().flatten().min()
    }

    /// Frees the oldest data of all files until the total is right: first what was accepted,
    /// sparing the end of each file and then not even that; then also what was not accepted.
    fn enforce_total(&mut self, wall: Wall) -> Result<(), FileError> {
        if self.total() <= self.limits.total_bytes_max {
            return Ok(());
        }
        let target = self.limits.total_bytes_max - self.limits.total_bytes_max / SLACK_DIVISOR;
        let tail = self.limits.tail_bytes_kept;
        for spared in [
            Spared { tail, pending: true },
            Spared { tail: 0, pending: true },
            Spared { tail, pending: false },
            Spared { tail: 0, pending: false },
        ] {
            while let Some(excess) = self.total().checked_sub(target).filter(|excess| *excess > 0) {
                let Some(path) = self.oldest(spared, wall) else { break };
                self.free(&path, excess, spared, wall)?;
            }
        }
        Ok(())
    }

    /// Up to where a file may be freed.
    fn reach(&self, tracked: &Tracked, spared: Spared) -> u64 {
        let end = tracked.facts.size.saturating_sub(spared.tail);
        let accepted = if spared.pending { self.progress.accepted(&tracked.log.path) } else { end };
        end.min(accepted)
    }

    /// The file with the oldest data among those from which something can be taken.
    fn oldest(&self, spared: Spared, wall: Wall) -> Option<Utf8PathBuf> {
        self.tracked
            .values()
            .filter(|tracked| {
                let whole = tracked.facts.block_floor(self.reach(tracked, spared));
                self.is_removable(tracked, spared, wall)
                    || (self.counted.punching && whole > tracked.data)
            })
            .min_by_key(|tracked| (tracked.oldest(), &tracked.log.path))
            .map(|tracked| tracked.log.path.clone())
    }

    /// Whether the whole file may go.
    fn is_removable(&self, tracked: &Tracked, spared: Spared, wall: Wall) -> bool {
        let done = self.progress.accepted(&tracked.log.path) >= tracked.facts.size;
        tracked.held() > 0 && self.is_gone(tracked, wall) && (done || !spared.pending)
    }

    /// Takes up to `excess` bytes of the oldest data from a file, the file itself when it is gone
    /// and nothing else would be left of it. Always makes progress.
    fn free(
        &mut self,
        path: &Utf8PathBuf,
        excess: u64,
        spared: Spared,
        wall: Wall,
    ) -> Result<(), FileError> {
        let progress = self.progress.clone();
        let _reading = progress.hold();
        let Some(tracked) = self.tracked.get(path) else { return Ok(()) };
        let facts = tracked.facts;
        let removable = self.is_removable(tracked, spared, wall);
        let reach =
            self.reach(tracked, if removable { Spared { tail: 0, ..spared } } else { spared });
        let step = excess.max(STEP_BYTES).max(facts.block);
        let mark = tracked.index.marks.after(tracked.data).map_or(facts.size, |mark| mark.offset);
        let mark = mark.max(tracked.data.saturating_add(facts.block));
        let cut = facts.block_floor(mark.min(tracked.data.saturating_add(step)));
        let cut = cut.min(facts.block_floor(reach));
        if removable && (cut <= tracked.data || !self.counted.punching) {
            self.count_lost(path, facts.size)?;
            return self.remove(path);
        }
        self.count_lost(path, cut)?;
        self.punch_until(path, cut)
    }

    /// Counts the lines before `cut` that were not accepted, and are about to go.
    fn count_lost(&mut self, path: &Utf8PathBuf, cut: u64) -> Result<(), FileError> {
        let Some(tracked) = self.tracked.get(path) else { return Ok(()) };
        let from = self.progress.taken(path).max(tracked.data);
        if from >= cut {
            return Ok(());
        }
        let lines = sparse::lines_between(path, from, cut).about("count the lines of", path)?;
        self.progress.lost(path, lines, cut - from);
        self.counted.lines_lost += lines;
        self.counted.bytes_lost += cut - from;
        Ok(())
    }

    /// Whether nobody will write to the file again.
    fn is_gone(&self, tracked: &Tracked, wall: Wall) -> bool {
        if tracked.log.is_aside() {
            return true;
        }
        let gone = |living: &std::collections::BTreeSet<_>| !living.contains(&tracked.log.process);
        self.living.as_deref().is_some_and(gone)
            && tracked.facts.modified <= before(wall, ms(GONE_GRACE))
    }

    fn total(&self) -> u64 {
        self.tracked.values().map(Tracked::held).sum()
    }

    /// Makes a hole of the whole blocks before `cut`.
    fn punch_until(&mut self, path: &Utf8PathBuf, cut: u64) -> Result<(), FileError> {
        let Some(tracked) = self.tracked.get_mut(path) else { return Ok(()) };
        let (from, cut) = (tracked.facts.block_floor(tracked.data), tracked.facts.block_floor(cut));
        if cut <= tracked.data || !self.counted.punching {
            return Ok(());
        }
        let file = open_to_punch(path.as_std_path()).about("open", path)?;
        match (self.punch)(&file, from, cut - from) {
            Err(error) if sparse::is_unsupported(&error) => {
                self.counted.punching = false;
                tracing::warn!(
                    %path,
                    "the file system of the logs cannot punch holes: logs of processes that are \
                     gone are removed whole, those of others are put aside at their restart"
                );
                return Ok(());
            }
            done => done.about("punch a hole into", path)?,
        }
        let Some((file, facts)) = stat(&tracked.log)? else {
            self.tracked.remove(path);
            return Ok(());
        };
        let before = tracked.held();
        // The size stays as it was marked: what was written meanwhile is found at the next look.
        tracked.facts.allocated = facts.allocated;
        let data = sparse::data_from(&file, cut).about("look for data in", path)?;
        tracked.data = data.unwrap_or(facts.size).min(tracked.facts.size);
        self.counted.bytes_punched += before.saturating_sub(tracked.held());
        Ok(())
    }

    fn remove(&mut self, path: &Utf8PathBuf) -> Result<(), FileError> {
        fsx::remove_if_exists(path)?;
        fsx::remove_if_exists(&index_path(path))?;
        if let Some(tracked) = self.tracked.remove(path) {
            self.counted.files_removed += 1;
            self.counted.bytes_removed += tracked.held();
            tracing::debug!(%path, "removed a log file whose process is gone");
        }
        Ok(())
    }
}

fn before(wall: Wall, age_ms: u64) -> Wall {
    Wall(wall.0.saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX)))
}

fn open_to_punch(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).custom_flags(no_follow()).open(path)
}
