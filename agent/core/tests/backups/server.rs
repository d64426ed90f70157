//! AWS, as far as backups can tell: objects with conditional writes, a database, its snapshots in
//! two regions that show late, dumps, and instances restored for proof.

use std::collections::BTreeMap;
use std::time::Duration;

use groundcrew_core::backups::backup::{Backup, BackupState, Marks, Tag};
use groundcrew_core::backups::call::{Answer, Call, CallError, CallErrorKind, Make, Put};
use groundcrew_core::backups::database::{Database, Target};
use groundcrew_core::backups::lease::*;
use groundcrew_core::backups::proof::{Copied, DumpFacts, EMPTY, Inspection, Scratch};
use groundcrew_core::backups::record::{Place, Record};
use groundcrew_core::backups::slot::JobName;

use crate::dice::Dice;

pub const RESOURCE: &str = "db-SHOP";
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A snapshot, or a copy, from its request to its end. Milliseconds.
#[derive(Debug, Clone)]
pub struct SimSnapshot {
    pub from: i64,
    pub ready: i64,
    pub fails: bool,
    pub deleted: Option<i64>,
    pub tags: Vec<Tag>,
}

#[derive(Debug, Clone)]
pub struct SimScratch {
    pub from: i64,
    pub ready: i64,
    pub gone: Option<i64>,
    pub until_s: i64,
    /// It is a cluster, and has no instance until it is asked for again.
    pub empty: bool,
}

#[derive(Debug, Clone)]
struct SimLease {
    body: LeaseBody,
    etag: u64,
    modified: i64,
}

/// What the database does from then on.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub from: i64,
    pub to: i64,
    pub status: &'static str,
}

pub struct Server {
    pub job: JobName,
    pub records: BTreeMap<String, Record>,
    pub snapshots: BTreeMap<(Place, String), SimSnapshot>,
    pub manifests: BTreeMap<String, (i64, u64, Vec<Tag>)>,
    pub scratches: BTreeMap<String, SimScratch>,
    pub troubles: Vec<Trouble>,
    /// Until when a region takes no more snapshots.
    pub full_until: i64,
    /// Snapshots fail.
    pub failing: bool,
    /// What is shown is behind.
    pub behind: bool,
    /// Which snapshots were ever available.
    pub takeovers: u64,
    leases: BTreeMap<String, SimLease>,
    etags: u64,
}

impl Server {
    pub fn new(job: JobName) -> Self {
        Self {
            job,
            records: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            manifests: BTreeMap::new(),
            scratches: BTreeMap::new(),
            troubles: Vec::new(),
            full_until: i64::MIN,
            failing: false,
            behind: false,
            takeovers: 0,
            leases: BTreeMap::new(),
            etags: 0,
        }
    }

    /// Carries a call out. `since` is when the host sent it: how long a dump or a proof takes is
    /// the world's matter.
    pub fn serve(&mut self, now: i64, dice: &mut Dice, call: &Call) -> Answer {
        // What is described was so some seconds ago.
        let seen = if self.behind { now - i64_of(dice.between(0, 6000)) } else { now };
        match call {
            Call::Read(key) => {
                let record = self.records.get(&key.path(&self.job)).cloned();
                Answer::Record(Ok(record.map(Box::new)))
            }
            Call::Write(record) => {
                let path = record.key.path(&self.job);
                if self.records.contains_key(&path) {
                    return Answer::Written(Ok(Put::Exists));
                }
                self.records.insert(path, (**record).clone());
                Answer::Written(Ok(Put::Written))
            }
            Call::Database => Answer::Database(Ok(Some(Database {
                target: Target::Instance,
                status: self.status(now).to_owned(),
                resource: RESOURCE.to_owned(),
            }))),
            Call::Look { place, id, .. } => {
                let shown = self.shown(seen, place, id).or_else(|| self.manifest(id));
                Answer::Seen(Ok(shown.map(Box::new)))
            }
            Call::List { place, .. } => Answer::Listed(Ok(self.list(seen, place))),
            Call::Snapshot { id, tags, .. } => self.snapshot(now, dice, id, tags),
            Call::Copy { region, id, source, tags, .. } => {
                self.copy(now, dice, region, id, source, tags)
            }
            Call::Delete { place, id, .. } => self.delete(now, place, id),
            Call::Lease(call) => Answer::Lease(self.lease(now, call)),
            Call::Dump { .. } => Answer::Dumped(Ok(Box::new(self.dump(dice)))),
            Call::Commit { slot, tags, .. } => self.commit(now, &slot.to_string(), tags),
            Call::Inspect { id, copies, .. } => {
                let of = |region: &String| {
                    let place = Place::Region(region.clone());
                    let shown = self.shown(seen, &place, id);
                    (region.clone(), shown.map(|backup| Copied { backup, encrypted: true }))
                };
                let backup = self.shown(seen, &Place::Home, id).or_else(|| self.manifest(id));
                let copies = copies.iter().map(of).collect();
                let inspection = Inspection { backup, encrypted: true, key_state: None, copies };
                Answer::Inspected(Ok(Box::new(inspection)))
            }
            Call::Prove { id, .. } => {
                let empty = self.scratches.get(id).is_some_and(|scratch| scratch.empty);
                assert!(!empty, "{id} has no instance that could be asked");
                let bad = self.failing && dice.one_in(5);
                Answer::Proved(Ok(if bad { vec!["it is bad".to_owned()] } else { Vec::new() }))
            }
            Call::Mark { id, tags, .. } => {
                let key = (Place::Home, id.clone());
                if let Some(snapshot) = self.snapshots.get_mut(&key) {
                    snapshot.tags.retain(|(name, _)| tags.iter().all(|(new, _)| new != name));
                    snapshot.tags.extend(tags.clone());
                }
                Answer::Marked(Ok(()))
            }
            Call::Restore { id, from, until_s, .. } => self.restore(now, dice, id, from, *until_s),
            Call::Scratches => Answer::Scratches(Ok(self.scratches(seen))),
            Call::Destroy { id } => {
                if let Some(scratch) = self.scratches.get_mut(id) {
                    let gone = now + i64_of(dice.between(1, 15)) * MINUTE;
                    scratch.gone = Some(scratch.gone.unwrap_or(gone));
                }
                Answer::Deleted(Ok(()))
            }
        }
    }

    pub fn status(&self, now: i64) -> &'static str {
        let trouble = self.troubles.iter().find(|it| it.from <= now && now < it.to);
        let making = self.snapshots.iter().any(|((place, _), snapshot)| {
            *place == Place::Home && snapshot.from <= now && now < snapshot.ready
        });
        trouble.map_or(if making { "backing-up" } else { "available" }, |it| it.status)
    }

    fn shown(&self, seen: i64, place: &Place, id: &str) -> Option<Backup> {
        let snapshot = self.snapshots.get(&(place.clone(), id.to_owned()))?;
        if seen < snapshot.from || snapshot.deleted.is_some_and(|at| at <= seen) {
            return None;
        }
        let state = if seen < snapshot.ready {
            BackupState::Underway
        } else if snapshot.fails {
            BackupState::Failed("failed".to_owned())
        } else {
            BackupState::Available
        };
        Some(Backup {
            id: id.to_owned(),
            arn: format!("arn:{id}"),
            state,
            marks: Marks::of(&snapshot.tags),
            resource: RESOURCE.to_owned(),
            created_s: Some(snapshot.from / 1000),
            bytes: Some(1 << 30),
        })
    }

    fn manifest(&self, id: &str) -> Option<Backup> {
        let (_, bytes, tags) = self.manifests.get(id)?;
        Some(Backup {
            id: id.to_owned(),
            arn: String::new(),
            state: BackupState::Available,
            marks: Marks::of(tags),
            resource: RESOURCE.to_owned(),
            created_s: None,
            bytes: Some(*bytes),
        })
    }

    pub fn list(&self, seen: i64, place: &Place) -> Vec<Backup> {
        let ids = self.snapshots.keys().filter(|(at, _)| at == place);
        let dumps = self.manifests.keys().filter(|_| *place == Place::Home);
        let snapshots = ids.filter_map(|(place, id)| self.shown(seen, place, id));
        snapshots.chain(dumps.filter_map(|id| self.manifest(id))).collect()
    }

    fn snapshot(&mut self, now: i64, dice: &mut Dice, id: &str, tags: &[Tag]) -> Answer {
        let key = (Place::Home, id.to_owned());
        if self.exists(now, &key) {
            return Answer::Made(Ok(Make::AlreadyExists));
        }
        if self.status(now) != "available" {
            return Answer::Made(Ok(Make::InvalidState));
        }
        if now < self.full_until {
            let words = "Cannot create more than 100 manual snapshots".to_owned();
            return Answer::Made(Ok(Make::Quota(words)));
        }
        let minutes = if dice.one_in(10) { dice.between(60, 240) } else { dice.between(2, 45) };
        let fails = self.failing && dice.one_in(8);
        self.make(now, key, minutes, fails, tags);
        Answer::Made(Ok(Make::Begun))
    }

    fn copy(
        &mut self,
        now: i64,
        dice: &mut Dice,
        region: &str,
        id: &str,
        source: &str,
        tags: &[Tag],
    ) -> Answer {
        let key = (Place::Region(region.to_owned()), id.to_owned());
        if self.exists(now, &key) {
            return Answer::Made(Ok(Make::AlreadyExists));
        }
        let source = source.strip_prefix("arn:").unwrap();
        let home = self.shown(now, &Place::Home, source);
        if home.is_none_or(|home| home.state != BackupState::Available) {
            return Answer::Made(Ok(Make::NoSource));
        }
        if self.failing && dice.one_in(6) {
            let words = "Cannot copy more than 5 snapshots across regions".to_owned();
            return Answer::Made(Ok(Make::Quota(words)));
        }
        let minutes = if dice.one_in(6) { dice.between(120, 480) } else { dice.between(10, 60) };
        let fails = self.failing && dice.one_in(10);
        self.make(now, key, minutes, fails, tags);
        Answer::Made(Ok(Make::Begun))
    }

    fn exists(&self, now: i64, key: &(Place, String)) -> bool {
        let snapshot = self.snapshots.get(key);
        snapshot.is_some_and(|snapshot| snapshot.deleted.is_none_or(|at| now < at))
    }

    fn make(&mut self, now: i64, key: (Place, String), minutes: u64, fails: bool, tags: &[Tag]) {
        assert!(!self.snapshots.contains_key(&key), "{key:?} is made a second time");
        let ready = now + i64_of(minutes) * MINUTE;
        let tags = tags.to_vec();
        self.snapshots.insert(key, SimSnapshot { from: now, ready, fails, deleted: None, tags });
    }

    fn delete(&mut self, now: i64, place: &Place, id: &str) -> Answer {
        let key = (place.clone(), id.to_owned());
        if !self.exists(now, &key) {
            self.manifests.remove(id);
            return Answer::Deleted(Ok(()));
        }
        let snapshot = self.snapshots.get_mut(&key).unwrap();
        if now < snapshot.ready {
            let text = "InvalidDBSnapshotState".to_owned();
            return Answer::Deleted(Err(CallError { kind: CallErrorKind::Refused, text }));
        }
        snapshot.deleted = Some(now);
        Answer::Deleted(Ok(()))
    }

    fn lease(&mut self, now: i64, call: &LeaseCall) -> LeaseAnswer {
        self.etags += 1;
        let etag = self.etags;
        let found = self.leases.get(&call.path);
        let body = match (&call.action, found) {
            (LeaseAction::Read, found) => {
                let seen = found.map(|lease| {
                    // The header has whole seconds.
                    let age_s = now / 1000 - lease.modified / 1000;
                    let age = Duration::from_secs(u64::try_from(age_s).unwrap());
                    let (body, etag) = (lease.body.clone(), lease.etag.to_string());
                    Box::new(LeaseSeen { body, etag, age })
                });
                return LeaseAnswer::Read(Ok(seen));
            }
            (LeaseAction::Create(body), None) => body,
            (LeaseAction::Replace { etag, body }, Some(lease))
                if *etag == lease.etag.to_string() =>
            {
                self.takeovers += u64::from(lease.body.run != body.run);
                body
            }
            (LeaseAction::Create(_) | LeaseAction::Replace { .. }, _) => {
                return LeaseAnswer::Put(Ok(None));
            }
        };
        let lease = SimLease { body: body.clone(), etag, modified: now };
        self.leases.insert(call.path.clone(), lease);
        LeaseAnswer::Put(Ok(Some(etag.to_string())))
    }

    fn dump(&self, dice: &mut Dice) -> DumpFacts {
        let bad = self.failing && dice.one_in(6);
        DumpFacts {
            exit_code: if bad { None } else { Some(0) },
            complaint: None,
            bytes: 1 << 30,
            stored_bytes: 1 << 28,
            trailer: !bad,
            previous_bytes: None,
        }
    }

    fn commit(&mut self, now: i64, slot: &str, tags: &[Tag]) -> Answer {
        if self.manifests.contains_key(slot) {
            return Answer::Committed(Ok(Put::Exists));
        }
        self.manifests.insert(slot.to_owned(), (now, 1 << 28, tags.to_vec()));
        Answer::Committed(Ok(Put::Written))
    }

    fn restore(&mut self, now: i64, dice: &mut Dice, id: &str, from: &str, until_s: i64) -> Answer {
        self.scratches.retain(|_, scratch| scratch.gone.is_none_or(|gone| now < gone));
        if let Some(scratch) = self.scratches.get_mut(id) {
            if !scratch.empty || now < scratch.ready {
                return Answer::Made(Ok(Make::AlreadyExists));
            }
            scratch.empty = false;
            scratch.ready = now + i64_of(dice.between(5, 30)) * MINUTE;
            return Answer::Made(Ok(Make::Begun));
        }
        if self.shown(now, &Place::Home, from).is_none() {
            return Answer::Made(Ok(Make::NoSource));
        }
        let ready = now + i64_of(dice.between(10, 120)) * MINUTE;
        let empty = dice.one_in(3);
        let scratch = SimScratch { from: now, ready, gone: None, until_s, empty };
        self.scratches.insert(id.to_owned(), scratch);
        Answer::Made(Ok(Make::Begun))
    }

    fn scratches(&self, seen: i64) -> Vec<Scratch> {
        let living = self.scratches.iter().filter(|(_, scratch)| {
            scratch.from <= seen && scratch.gone.is_none_or(|gone| seen < gone)
        });
        let scratch = |(id, scratch): (&String, &SimScratch)| {
            let status = if scratch.gone.is_some() {
                "deleting"
            } else if seen < scratch.ready {
                "creating"
            } else if scratch.empty {
                EMPTY
            } else {
                "available"
            };
            let until_s = Some(scratch.until_s);
            Scratch { id: id.clone(), status: status.to_owned(), until_s }
        };
        living.map(scratch).collect()
    }
}

pub fn i64_of(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

/// How long the host is at a call that is work.
pub fn takes(dice: &mut Dice, call: &Call) -> i64 {
    match call {
        Call::Dump { .. } => i64_of(dice.between(5, 100)) * MINUTE,
        Call::Prove { .. } => i64_of(dice.between(1, 60)) * MINUTE,
        Call::Inspect { .. } => 5000,
        _ => 0,
    }
}

/// How long a fault lasts.
pub fn some_hours(dice: &mut Dice) -> i64 {
    i64_of(dice.between(1, 7)) * HOUR
}
