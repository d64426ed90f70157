//! What processes use, from look to look: a share of a core and a counter take two.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::time::Duration;

use groundcrew_core::metrics::counters::{Backwards, Counters};
use groundcrew_core::time::{Moment, ms};
use groundcrew_core::types::Pid;

use crate::clock;
use crate::supervisor::usage::{self, Usage};

/// Looks that follow each other closer than that would measure the tick of the clock: the one
/// before is given again.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Open files of one process that are counted.
const FILES_MAX: usize = 65_536;
/// Directory entries that are looked at in one sampling where the kernel does not tell how many
/// there are: some milliseconds. Whose turn did not come keeps its number until the next one.
const FILE_ENTRIES_PER_SAMPLE: usize = 4096;

/// What one process was seen to use.
#[derive(Debug, Clone)]
pub(super) struct Used {
    pid: Pid,
    at: Moment,
    pub usage: Usage,
    /// Percent of one core between the last two looks.
    pub cpu_percent: Option<u32>,
    /// Time on a CPU since the agent began, over restarts of the process.
    pub cpu_total: Option<Duration>,
    /// Open files; only root and the process's own user may look.
    pub files: Option<u64>,
}

/// Of all processes.
#[derive(Debug)]
pub(super) struct Usages<K> {
    used: BTreeMap<K, Used>,
    cpu: Counters<K>,
    /// Whose files were counted last.
    turn: Option<K>,
}

impl<K: Ord> Default for Usages<K> {
    fn default() -> Self {
        let cpu = Counters::new(Backwards::Restarted);
        Self { used: BTreeMap::new(), cpu, turn: None }
    }
}

impl<K: Ord + Clone> Usages<K> {
    /// Looks at a process; `None` when it is gone.
    pub fn look(&mut self, id: &K, pid: Pid) -> Option<&Used> {
        let now = clock::at();
        let before = self.used.get(id).filter(|before| before.pid == pid).cloned();
        if before.as_ref().is_some_and(|before| now.since(before.at) < LOOK_EVERY) {
            return self.used.get(id);
        }
        let Ok(usage) = usage::of(pid) else {
            self.used.remove(id);
            return None;
        };
        let percent = |before: &Used| {
            let more_ms = ms(usage.cpu.saturating_sub(before.usage.cpu));
            u32::try_from(more_ms * 100 / ms(now.since(before.at)).max(1)).ok()
        };
        if before.is_none() {
            self.cpu.restarted(id);
        }
        let cpu_percent = before.as_ref().and_then(percent);
        let (cpu_total, files) = before.map_or((None, None), |old| (old.cpu_total, old.files));
        let used = Used { pid, at: now, usage, cpu_percent, cpu_total, files };
        self.used.insert(id.clone(), used);
        self.used.get(id)
    }

    /// Looks at all there are, counts on, and forgets the others.
    pub fn sample(&mut self, living: &[(K, Pid)]) {
        self.used.retain(|id, _| living.iter().any(|(living, _)| living == id));
        self.cpu.begin();
        for (id, pid) in living {
            let Some(cpu) = self.look(id, *pid).map(|used| used.usage.cpu) else { continue };
            let total = self.cpu.see(id.clone(), ms(cpu)).map(Duration::from_millis);
            if let Some(used) = self.used.get_mut(id) {
                used.cpu_total = total;
            }
        }
        self.count_files(crate::procfs::open_files);
    }

    /// How often there was no room to count another process's time.
    pub fn refused(&self) -> u64 {
        self.cpu.refused()
    }

    /// The last look.
    pub fn last(&self, id: &K) -> Option<&Used> {
        self.used.get(id)
    }

    /// Forgets a process for good.
    pub fn remove(&mut self, id: &K) {
        self.used.remove(id);
        self.cpu.forget(id);
    }

    /// In turns, as far as the budget of a sampling goes.
    fn count_files(&mut self, open_files: impl Fn(Pid, usize) -> io::Result<(u64, usize)>) {
        let first = self.turn.take().map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.used.range((first.clone(), Bound::Unbounded));
        let rest = match first {
            Bound::Excluded(last) => Some(self.used.range(..=last)),
            _ => None,
        };
        let order = after.chain(rest.into_iter().flatten());
        let order: Vec<_> = order.map(|(id, used)| (id.clone(), used.pid)).collect();
        let mut entries_left = FILE_ENTRIES_PER_SAMPLE;
        for (id, pid) in order {
            if entries_left == 0 {
                break;
            }
            let counted = open_files(pid, FILES_MAX);
            if let Ok((_, entries)) = counted {
                entries_left = entries_left.saturating_sub(entries);
            }
            if let Some(used) = self.used.get_mut(&id) {
                used.files = counted.ok().map(|(files, _)| files);
            }
            self.turn = Some(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use groundcrew_core::metrics::counters::COUNTERS_MAX;

    use super::*;

    fn own() -> Pid {
        Pid::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn a_process_is_looked_at_once_for_all_who_ask_at_the_same_time() {
        let mut usages = Usages::default();
        usages.sample(&[("a", own())]);
        let first = usages.last(&"a").unwrap().clone();
        assert!(first.files.is_some_and(|files| files >= 3), "{first:?}");
        assert_eq!((first.cpu_total, first.cpu_percent), (Some(Duration::ZERO), None));
        // Time passes for the look before, not for the test.
        let soon = first.at.plus(Duration::from_hours(1));
        usages.used.get_mut("a").unwrap().at = soon;
        assert_eq!(usages.look(&"a", own()).unwrap().at, soon);
        usages.used.get_mut("a").unwrap().at = Moment(first.at.0 - 1000);
        let used = usages.look(&"a", own()).unwrap();
        assert!(used.cpu_percent.is_some() && used.files == first.files, "{used:?}");
    }

    #[test]
    fn time_is_counted_over_restarts() {
        let mut usages = Usages::default();
        usages.sample(&[("a", own())]);
        // The process that it was had used more.
        let used = usages.used.get_mut("a").unwrap();
        (used.pid, used.usage.cpu) = (1, Duration::from_hours(1));
        usages.sample(&[("a", own())]);
        let used = usages.last(&"a").unwrap();
        assert_eq!(used.cpu_total, Some(Duration::from_millis(ms(used.usage.cpu))));
        assert_eq!(used.cpu_percent, None);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut usages = Usages::default();
        usages.sample(&[("a", own()), ("b", own()), ("c", i32::MAX)]);
        assert!(usages.last(&"c").is_none());
        usages.sample(&[("a", own())]);
        assert!(usages.last(&"b").is_none());
        usages.used.get_mut("a").unwrap().at = Moment(0);
        assert!(usages.look(&"a", i32::MAX).is_none());
        assert!(usages.last(&"a").is_none());
    }

    #[test]
    fn there_is_room_for_so_many_and_the_others_are_counted() {
        let mut usages = Usages::default();
        let living: Vec<_> = (0..COUNTERS_MAX + 2).map(|id| (id, own())).collect();
        usages.sample(&living);
        assert_eq!(usages.refused(), 2);
        assert_eq!(usages.last(&(COUNTERS_MAX + 1)).unwrap().cpu_total, None);
    }

    #[test]
    fn files_are_counted_in_turns_where_counting_costs() {
        let mut usages = Usages::default();
        let ids = ["a", "b", "c", "d", "e"];
        usages.sample(&ids.map(|id| (id, own())));
        let mut rounds = Vec::new();
        usages.turn = None;
        for round in 1..=3 {
            usages.count_files(|_, _| Ok((round, FILE_ENTRIES_PER_SAMPLE / 2)));
            rounds.push(ids.map(|id| usages.last(&id).unwrap().files.unwrap_or(0).min(3)));
        }
        assert_eq!(rounds[0][..2], [1, 1]);
        assert_eq!(rounds[1][..4], [1, 1, 2, 2]);
        assert_eq!(rounds[2], [3, 1, 2, 2, 3]);
        usages.count_files(|_, _| Err(io::ErrorKind::PermissionDenied.into()));
        assert!(ids.iter().all(|id| usages.last(id).unwrap().files.is_none()));
    }
}
