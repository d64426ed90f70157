//! Finds, at the start of the agent, what the agent before it left running. The truth is the host:
//! a record helps to tell processes apart, and never makes one exist. Blocking.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;

use groundcrew_core::types::{Exit, ProcessId, Run};

use super::cgroup::Group;
use super::process::reap;
use super::record::{Identity, Record};
use super::spawn::Host;
use super::sweep::{self, ENV_OWNER, ENV_PROCESS, ENV_RUN, Target};
use crate::errors::chain;
use crate::fsx::FileError;
use crate::procfs::{self, Stat};

/// Why the host could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The records.
    #[error(transparent)]
    Records(#[from] FileError),
    /// The processes.
    #[error("could not look at the host's processes")]
    Processes(#[source] io::Error),
    /// What was to be killed.
    #[error("could not kill what is left of {id}")]
    Kill {
        /// Whose.
        id: ProcessId,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

/// A process of the agent before that is still there.
#[derive(Debug)]
pub(super) struct Living {
    pub(super) record: Record,
    pub(super) identity: Identity,
    pub(super) pidfd: OwnedFd,
    pub(super) group: Option<Group>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) living: Vec<Living>,
    pub(super) lost: Vec<(Record, Exit)>,
    pub(super) notes: Vec<String>,
}

/// A process that carries this agent's marker.
struct Marked {
    stat: Stat,
    id: ProcessId,
    run: Option<Run>,
}

impl Marked {
    fn identity(&self) -> Identity {
        Identity { pid: self.stat.pid, start_ticks: self.stat.start_ticks }
    }
}

impl Host {
    /// Looks at the host, kills what nobody knows, and returns the rest.
    pub(super) fn look(&self) -> Result<Look, AdoptError> {
        let remembered = self.records.read_all()?;
        let marked = self.marked().map_err(AdoptError::Processes)?;
        let mut look = Look { notes: remembered.unreadable, ..Look::default() };
        for record in remembered.records {
            self.sort(record, &marked, &mut look)?;
        }
        let runs: BTreeMap<&ProcessId, Run> =
            look.living.iter().map(|living| (&living.record.id, living.record.run)).collect();
        let (known, strangers): (Vec<&Marked>, Vec<&Marked>) =
            marked.iter().partition(|marked| runs.contains_key(&marked.id));
        let mut notes = Vec::new();
        for older in known.into_iter().filter(|m| m.run != runs.get(&m.id).copied()) {
            let (id, pid) = (&older.id, older.stat.pid);
            notes.push(format!("killed pid {pid}, left of an earlier start of {id}"));
            kill_one(older.identity())
                .map_err(|e| AdoptError::Kill { id: id.clone(), source: e })?;
        }
        let lost: BTreeSet<&ProcessId> = look.lost.iter().map(|(record, _)| &record.id).collect();
        let mut unknown: BTreeSet<&ProcessId> = strangers.iter().map(|m| &m.id).collect();
        unknown.retain(|id| !lost.contains(id));
        for id in unknown {
            notes.push(format!("killed {id}, which has no record"));
            self.clear(id, None, None, &mut notes)?;
        }
        self.clear_groups(&runs.into_keys().cloned().collect(), &mut notes)?;
        look.notes.extend(notes);
        self.clean_directories(&mut look)?;
        Ok(look)
    }

    /// Every process with this agent's marker in its environment, the dead not counted.
    fn marked(&self) -> io::Result<Vec<Marked>> {
        let mut marked = Vec::new();
        for stat in sweep::all()? {
            // What cannot be read has ended by now, or is another user's.
            let Ok(environ) = procfs::environ(stat.pid) else { continue };
            if stat.is_dead() || environ.get(ENV_OWNER) != Some(&self.owner) {
                continue;
            }
            if let Some(id) = environ.get(ENV_PROCESS).and_then(|id| id.parse().ok()) {
                let run = environ.get(ENV_RUN).and_then(|run| run.parse().ok());
                marked.push(Marked { stat, id, run });
            }
        }
        Ok(marked)
    }

    /// Finds out whether what a record speaks of lives.
    fn sort(
        &self,
        mut record: Record,
        marked: &[Marked],
        look: &mut Look,
    ) -> Result<(), AdoptError> {
        let candidate = self.candidate(&record, marked);
        let pidfd = match candidate {
            Some(identity) => sweep::open(identity).map_err(AdoptError::Processes)?,
            None => None,
        };
        let group =
            record.cgroup.as_deref().and_then(|directory| self.base.as_ref()?.existing(directory));
        let ended = pidfd.as_ref().map(sweep::has_ended).transpose();
        let ended = ended.map_err(AdoptError::Processes)?;
        if let (Some(identity), Some(pidfd), Some(false)) = (candidate, pidfd.as_ref(), ended) {
            if record.process != Some(identity) {
                record.process = Some(identity);
                self.records.write(&record)?;
            }
            let pidfd = pidfd.try_clone().map_err(AdoptError::Processes)?;
            look.living.push(Living { record, identity, pidfd, group });
            return Ok(());
        }
        self.clear(&record.id, candidate, group, &mut look.notes)?;
        // A zombie, when it is a child of this very process.
        let exit = pidfd.map_or(Exit::Unknown, |pidfd| reap(&pidfd).unwrap_or(Exit::Unknown));
        self.records.remove(&record.id)?;
        look.lost.push((record, exit));
        Ok(())
    }

    fn candidate(&self, record: &Record, marked: &[Marked]) -> Option<Identity> {
        if record.boot_id != self.boot_id {
            return None;
        }
        record.process.or_else(|| {
            // The agent died between the start and the second writing of the record. The process
            // leads its session; so may one of its children, which is younger.
            let same = |m: &&Marked| m.id == record.id && m.run == Some(record.run);
            let leaders = marked.iter().filter(same).filter(|m| m.stat.session == m.stat.pid);
            leaders.min_by_key(|m| m.stat.start_ticks).map(Marked::identity)
        })
    }

    /// Kills what is left of `id`, whose main process is not there.
    fn clear(
        &self,
        id: &ProcessId,
        main: Option<Identity>,
        group: Option<Group>,
        notes: &mut Vec<String>,
    ) -> Result<(), AdoptError> {
        let kill = |group: Option<Group>| {
            let target =
                Target { id: id.clone(), owner: self.owner.clone(), main, group, since: None };
            sweep::sweep(&target).map_err(|source| AdoptError::Kill { id: id.clone(), source })
        };
        let mut left = Vec::new();
        if group.is_some() {
            left.extend(kill(group)?);
        }
        // Also by marker: the process that died between its start and joining its group.
        left.extend(kill(None)?);
        if !left.is_empty() {
            notes.push(format!("{id}: these are killed and do not end: {left:?}"));
        }
        Ok(())
    }

    /// Removes the groups of processes that are not there, and what still runs in them.
    fn clear_groups(
        &self,
        living: &BTreeSet<ProcessId>,
        notes: &mut Vec<String>,
    ) -> Result<(), AdoptError> {
        let Some(base) = &self.base else { return Ok(()) };
        for (id, group) in base.groups().map_err(AdoptError::Processes)? {
            if living.contains(&id) {
                continue;
            }
            let pids = group.pids().map_err(AdoptError::Processes)?;
            if !pids.is_empty() {
                notes.push(format!("killed {} processes left of {id}", pids.len()));
                self.clear(&id, None, Some(group.clone()), notes)?;
            }
            if let Err(error) = group.remove() {
                notes.push(format!("could not remove {}: {}", group.directory(), chain(&error)));
            }
        }
        Ok(())
    }

    /// Removes the directories of ids that nobody remembers.
    fn clean_directories(&self, look: &mut Look) -> Result<(), AdoptError> {
        let kept: BTreeSet<&ProcessId> = look
            .living
            .iter()
            .map(|living| &living.record)
            .chain(look.lost.iter().map(|(record, _)| record))
            .map(|record| &record.id)
            .collect();
        for id in self.directories.ids()? {
            if !kept.contains(&id)
                && let Err(error) = self.directories.remove(&id)
            {
                look.notes.push(chain(&error));
            }
        }
        Ok(())
    }
}

fn kill_one(identity: Identity) -> io::Result<()> {
    let Some(pidfd) = sweep::open(identity)? else { return Ok(()) };
    match rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
