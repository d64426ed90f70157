//! One look becomes changes: first which file is whose, then what that means for each source, then
//! what is new.

use std::collections::BTreeMap;

use super::*;

struct Round<'a> {
    look: &'a Look,
    alike: &'a Alike,
    now: Moment,
    /// Whose each seen file is.
    owners: Vec<Option<SourceId>>,
    by_inode: BTreeMap<u64, Vec<usize>>,
    /// The seen file of each source.
    found: BTreeMap<SourceId, usize>,
    /// Sources opened by this look.
    opened: BTreeSet<SourceId>,
    open: usize,
    changes: Vec<Change>,
}

impl Round<'_> {
    fn is_alike(&self, id: SourceId, seen: usize) -> bool {
        self.alike.contains(&(id, seen))
    }

    /// Gives a file, under all its paths, to a source, or to none.
    fn give(&mut self, identity: Identity, owner: Option<SourceId>) {
        for at in self.by_inode.get(&identity.inode).into_iter().flatten() {
            if self.look.seen[*at].identity.is(identity) {
                self.owners[*at] = owner;
            }
        }
    }
}

impl Inventory {
    /// Decides what to do about what was seen; `alike` are the answers to [`pairs`](Self::pairs)
    /// and [`leftovers`](Self::leftovers).
    pub fn decide(&mut self, look: &Look, alike: &Alike, now: Moment) -> Vec<Change> {
        let mut round = Round {
            look,
            alike,
            now,
            owners: vec![None; look.seen.len()],
            by_inode: look.by_inode(),
            found: BTreeMap::new(),
            opened: BTreeSet::new(),
            open: self.open_count(),
            changes: Vec::new(),
        };
        self.identify(&mut round);
        let ids: Vec<SourceId> = self.entries.keys().copied().collect();
        for id in &ids {
            self.follow(*id, &mut round);
        }
        (self.waiting, self.again) = (0, false);
        for id in &ids {
            self.remember(*id, &mut round);
        }
        self.take_up(&mut round);
        self.make_room(&mut round);
        round.changes
    }

    fn identify(&self, round: &mut Round) {
        for (id, entry) in &self.entries {
            let Some(identity) = entry.file.identity else { continue };
            let held = round.look.held.get(id);
            let same = round.by_inode.get(&identity.inode);
            let candidates = same.into_iter().flatten().copied();
            let fits = |at: &usize| {
                let seen = &round.look.seen[*at];
                let free = round.owners[*at].is_none();
                match held {
                    Some(held) => free && held.intact && identity.is(seen.identity),
                    None => free && entry.is_in(seen, round.is_alike(*id, *at)),
                }
            };
            let rank = |at: &usize| {
                let seen = &round.look.seen[*at];
                (identity.is(seen.identity), seen.path == entry.file.path)
            };
            if let Some(best) = candidates.filter(fits).max_by_key(rank) {
                round.found.insert(*id, best);
                round.give(round.look.seen[best].identity, Some(*id));
            }
        }
    }

    /// What a look means for a source that is not read to its end.
    fn follow(&mut self, id: SourceId, round: &mut Round) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.is_unfinished()) else {
            return;
        };
        let found = round.found.get(&id).copied();
        match round.look.held.get(&id) {
            Some(held) if held.intact => entry.stays_open(id, *held, found, round),
            Some(held) => {
                entry.size = entry.size.max(held.size);
                self.truncated(id, round);
            }
            // It ended, and is about to be closed.
            None if entry.open => {}
            None => match found {
                Some(seen) => entry.goes_on(id, seen, round),
                None if entry.was_looked_for(round.look) => self.missing(id, round),
                None => {}
            },
        }
    }

    /// The open file does not hold any more what was read.
    fn truncated(&mut self, id: SourceId, round: &mut Round) {
        let rest = self.adopt(id, round);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.file.stage = Stage::Ending;
        let read = entry.read;
        round.changes.push(match rest {
            Some(seen) if round.look.seen[seen].size > read => {
                Change::Continue { id, seen, from: read }
            }
            Some(_) => Change::End { id, lost_bytes: 0 },
            None => {
                entry.file.identity = None;
                Change::End { id, lost_bytes: entry.size.saturating_sub(read) }
            }
        });
    }

    /// A source of an earlier run, whose file is not to be found.
    fn missing(&mut self, id: SourceId, round: &mut Round) {
        if let Some(seen) = self.adopt(id, round) {
            let Some(entry) = self.entries.get_mut(&id) else { return };
            entry.file.stage = Stage::Ending;
            entry.goes_on(id, seen, round);
            return;
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.sought = true;
        if entry.is_missed_too_long(round.now) {
            round.changes.push(Change::Forget { id, path: entry.file.path.clone() });
            self.entries.remove(&id);
        }
    }

    /// Finds the file that holds what the source's own file does not any more, and makes it the
    /// source's.
    fn adopt(&mut self, id: SourceId, round: &mut Round) -> Option<usize> {
        let entry = self.entries.get(&id)?;
        let own = entry.file.identity;
        let is_copy = |at: &usize| match round.owners[*at].and_then(|own| self.entries.get(&own)) {
            None => round.owners[*at].is_none() && round.is_alike(id, *at),
            // It began the same when that could be told. A shorter one says nothing that matters.
            Some(owner) => {
                owner.file.stage == Stage::Copy(id)
                    && (round.is_alike(id, *at) || round.look.seen[*at].size > entry.read)
            }
        };
        let other = |at: &usize| own.is_none_or(|own| !own.may_be(round.look.seen[*at].identity));
        let seen = (0..round.look.seen.len())
            .filter(|at| other(at) && is_copy(at))
            // The last one made: files that all begin alike differ in nothing else.
            .max_by_key(|at| {
                let file = &round.look.seen[*at];
                (round.is_alike(id, *at), file.modified_ns, file.size)
            })?;
        if let Some(copy) = round.owners[seen] {
            self.entries.remove(&copy);
        }
        let file = &round.look.seen[seen];
        round.give(file.identity, Some(id));
        let entry = self.entries.get_mut(&id)?;
        entry.file.identity = Some(file.identity);
        entry.file.at.clone_from(&file.at);
        entry.file.compressed = file.compressed;
        // Copied before the last of it was written: that must not be asked of the copy.
        for print in [&mut entry.file.head, &mut entry.file.tail] {
            if file.size < print.end() {
                *print = Print::default();
            }
        }
        (entry.size, entry.moved) = (file.size, true);
        Some(seen)
    }

    /// What a look means for a source that is only remembered.
    fn remember(&mut self, id: SourceId, round: &mut Round) {
        let Some(entry) = self.entries.get(&id).filter(|entry| !entry.is_unfinished()) else {
            return;
        };
        let Some(seen) = round.found.get(&id).copied() else {
            let looked = entry.was_looked_for(round.look);
            let entry = self.entries.get_mut(&id).filter(|_| looked);
            if entry.is_some_and(|entry| entry.is_missed_too_long(round.now)) {
                self.entries.remove(&id);
            }
            return;
        };
        if let Stage::Copy(of) = entry.file.stage {
            let original = self.entries.get(&of).filter(|entry| entry.is_unfinished());
            let live = round.look.held.get(&of).is_some_and(|held| held.intact);
            let begins = |entry: &Entry| !entry.open || round.opened.contains(&of);
            let waits = original.is_some_and(|entry| live || begins(entry));
            let grew = round.look.seen[seen].size != entry.file.offset;
            let alone = original.is_some_and(|entry| entry.missing_since.is_some());
            let differs = (live && !round.is_alike(of, seen)) || (alone && grew);
            if differs && original.is_some() {
                // It was never a copy, or is one no longer: a file like any other.
                let identity = round.look.seen[seen].identity;
                self.entries.remove(&id);
                round.give(identity, None);
                return;
            }
            let Some(entry) = self.entries.get_mut(&id) else { return };
            entry.missing_since = None;
            if waits {
                if live {
                    entry.file.offset = round.look.seen[seen].size;
                }
                return;
            }
            entry.file.stage = Stage::Done;
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.missing_since = None;
        entry.file.at.clone_from(&round.look.seen[seen].at);
        if round.look.seen[seen].size > entry.file.offset && !entry.file.compressed {
            if round.open >= limits::OPEN_MAX {
                self.waiting += 1;
                return;
            }
            entry.file.stage = Stage::Following;
            entry.goes_on(id, seen, round);
        }
    }

    /// Opens what is new.
    fn take_up(&mut self, round: &mut Round) {
        let mut new: Vec<usize> = (0..round.look.seen.len())
            .filter(|at| round.owners[*at].is_none() && round.look.seen[*at].rule.is_some())
            .filter(|at| !round.look.seen[*at].compressed)
            .collect();
        // What is rotated has a longer name than what it is rotated from.
        new.sort_by_key(|at| round.look.seen[*at].path.len());
        if new.len() > limits::OPEN_MAX.saturating_sub(round.open) {
            new.sort_by_key(|at| std::cmp::Reverse(round.look.seen[*at].modified_ns));
        }
        let mut late = BTreeSet::new();
        for seen in new {
            let file = &round.look.seen[seen];
            let Some(rule) = file.rule.filter(|_| round.owners[seen].is_none()) else { continue };
            let copy_of = self.original_of(seen, round);
            if copy_of.is_none() && self.is_rotation_of_opened(&file.path, round) {
                // Whether it is a copy can be told when the other is held.
                self.again = true;
                late.insert(rule);
                continue;
            }
            let full = round.open >= limits::OPEN_MAX && copy_of.is_none();
            if full || self.entries.len() >= limits::KNOWN_MAX {
                self.waiting += 1;
                late.insert(rule);
                continue;
            }
            let id = SourceId(self.next);
            self.next = self.next.saturating_add(1);
            round.give(file.identity, Some(id));
            let old = !self.begun.contains(&rule) && file.size > limits::FIRST_BYTES_MAX;
            let from = if old || copy_of.is_some() { file.size } else { 0 };
            let mut entry = Entry {
                file: KnownFile {
                    id,
                    rule: self.rules.get(rule).cloned().unwrap_or_default(),
                    path: file.path.clone(),
                    at: file.at.clone(),
                    identity: Some(file.identity),
                    head: Print::default(),
                    tail: Print::default(),
                    offset: from,
                    stage: copy_of.map_or(Stage::Following, Stage::Copy),
                    compressed: false,
                },
                rule,
                read: from,
                open: false,
                size: file.size,
                moved: false,
                grew_at: round.now,
                missing_since: None,
                sought: false,
            };
            if copy_of.is_none() {
                entry.goes_on(id, seen, round);
            }
            self.entries.insert(id, entry);
        }
        self.begun.extend((0..self.rules.len()).filter(|rule| !late.contains(rule)));
    }

    /// The source that a file holds the content of.
    fn original_of(&self, seen: usize, round: &Round) -> Option<SourceId> {
        let is_read = |entry: &Entry| entry.is_unfinished() && entry.open;
        let mut entries = self.entries.iter().filter(|(_, entry)| is_read(entry));
        entries.find(|(id, _)| round.is_alike(**id, seen)).map(|(id, _)| *id)
    }

    fn is_rotation_of_opened(&self, path: &str, round: &Round) -> bool {
        let opened = round.opened.iter().filter_map(|id| self.entries.get(id));
        opened.into_iter().any(|entry| pairs::may_hold(&entry.file.path, path))
    }

    /// Gives up idle files for those that wait. An idle one that grows is opened again.
    fn make_room(&mut self, round: &mut Round) {
        let intact = |id: &SourceId| round.look.held.get(id).is_some_and(|held| held.intact);
        let idle = |entry: &Entry| {
            entry.open
                && entry.file.stage == Stage::Following
                && entry.file.offset == entry.size
                && round.now.since(entry.grew_at) >= limits::IDLE
        };
        let idle = self.entries.iter_mut().filter(|(id, entry)| intact(id) && idle(entry));
        for (id, entry) in idle.take(self.waiting) {
            entry.file.stage = Stage::Ending;
            round.changes.push(Change::Final { id: *id });
        }
    }
}

impl Entry {
    /// Whether a seen file is this source's, which is not open. `alike`: the contents agree.
    fn is_in(&self, seen: &Seen, alike: bool) -> bool {
        let Some(identity) = self.file.identity.filter(|own| own.may_be(seen.identity)) else {
            return false;
        };
        match self.file.stage {
            // Decompressing it again would tell nothing that its inode does not.
            Stage::Done if self.file.compressed => identity.may_be(seen.identity),
            Stage::Following => alike && seen.size >= self.file.offset,
            Stage::Ending | Stage::Done | Stage::Copy(_) => alike,
        }
    }

    fn is_missed_too_long(&mut self, now: Moment) -> bool {
        let since = *self.missing_since.get_or_insert(now);
        now.since(since) >= limits::MISSING_MAX
    }

    /// Its file is open and holds what was read.
    fn stays_open(&mut self, id: SourceId, held: Held, found: Option<usize>, round: &mut Round) {
        if held.size != self.size {
            (self.size, self.grew_at) = (held.size, round.now);
        }
        if round.look.listed.contains(split(&self.file.path).0) {
            let seen = found.map(|at| &round.look.seen[at]);
            let moved = seen.is_none_or(|seen| seen.path != self.file.path);
            let elsewhere = seen.is_some_and(|seen| seen.at != self.file.at);
            if moved && !self.moved {
                // Its writer has from now on to change to the new file.
                self.grew_at = round.now;
            }
            if moved != self.moved || elsewhere {
                if let Some(seen) = seen {
                    self.file.at.clone_from(&seen.at);
                }
                let to = seen.map(|seen| seen.path.clone());
                round.changes.push(Change::Moved { id, to });
            }
            self.moved = moved;
        }
        let quiet = round.now.since(self.grew_at) >= limits::ROTATED_QUIET;
        if self.file.stage == Stage::Following && self.moved && quiet {
            self.file.stage = Stage::Ending;
            round.changes.push(Change::Final { id });
        }
    }

    /// Its file is there and is opened, unless there is nothing left to read and nothing to come.
    fn goes_on(&mut self, id: SourceId, seen: usize, round: &mut Round) {
        let file = &round.look.seen[seen];
        self.file.identity = Some(file.identity);
        self.file.at.clone_from(&file.at);
        self.moved = file.path != self.file.path;
        (self.size, self.grew_at, self.missing_since) = (file.size, round.now, None);
        let last = self.file.stage == Stage::Ending;
        if last && file.size <= self.file.offset {
            self.file.stage = Stage::Done;
            return;
        }
        self.open = true;
        round.open += 1;
        round.opened.insert(id);
        round.changes.push(Change::Open { id, seen, from: self.read, last });
    }
}
