//! One look at everything: which files there are, and which of them hold what is known.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::logs::inventory::{
    self, Against, Alike, Held, Identity, KnownFile, Look, Pair, Print, Seen, SourceId, Wanted,
};

use super::Named;
use super::content::{self, Stamp};
use super::leftover::{self, Leftover};
use super::limits::WALKS_MAX;
use super::pattern::Walk;
use crate::fsx::{About, FileError};
use crate::logs::files::identity;

/// Decompressed rests that answers were found in.
pub(super) type Spools = BTreeMap<(SourceId, usize), Leftover>;

/// What is known of a file that is not open, for as long as nothing about it changes.
#[derive(Debug)]
pub(super) struct Looked {
    stamp: Stamp,
    compressed: bool,
    /// The prints it was compared with, and whether it holds what they were taken of.
    answers: BTreeMap<(SourceId, bool), (Print, Print, bool)>,
}

impl Named {
    pub(super) fn look(&mut self) -> (Look, Alike, Spools) {
        let ids: Vec<SourceId> = self.held.keys().copied().collect();
        let held: BTreeMap<SourceId, Held> =
            ids.into_iter().filter_map(|id| Some((id, self.verify(id)?))).collect();
        let wanted = self.inventory.wanted(&held);
        let walk = self.walk(&wanted);
        let seen = self.see(&walk, &wanted, &held);
        let listed = walk.listings.keys().map(ToString::to_string).collect();
        let mut look = Look { held, seen, listed };
        let (mut alike, mut spools) = (Alike::new(), Spools::new());
        for pair in self.inventory.pairs(&look) {
            self.ask(pair, &mut look, &mut alike, &mut spools);
        }
        for pair in self.inventory.leftovers(&look, &alike) {
            self.ask(pair, &mut look, &mut alike, &mut spools);
        }
        (look, alike, spools)
    }

    /// Walks until every directory was listed after it was watched.
    fn walk(&mut self, wanted: &Wanted) -> Walk {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut walk = Walk::default();
            for (index, pattern) in self.patterns.iter().enumerate() {
                walk.pattern(index, pattern);
            }
            for directory in wanted.inodes.keys().chain(wanted.rotations.keys()) {
                walk.list(Utf8Path::new(directory));
            }
            let news = self.watch(&walk.watch);
            if news && attempt < WALKS_MAX {
                continue;
            }
            self.again |= news;
            self.usage.directories_skipped = walk.skipped;
            if let Some(error) = walk.failed.take() {
                self.note(&error);
            }
            return walk;
        }
    }

    /// Watches directories. Answers whether one of them was not watched before.
    fn watch(&mut self, directories: &BTreeSet<Utf8PathBuf>) -> bool {
        let Some(watches) = self.watches.clone() else { return false };
        let before = std::mem::take(&mut self.watched);
        let mut news = false;
        for directory in directories {
            match watches.directory(directory) {
                Ok(id) => {
                    news |= before.get(directory) != Some(&id);
                    self.watched.insert(directory.clone(), id);
                }
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => self.again = true,
                Err(error) => self.note(&error),
            }
        }
        news
    }

    /// Sets the kernel's watch on files that count as copies: one that grows may be none. Takes
    /// prints of them, so that they are known when what they are copies of is not any more.
    pub(super) fn mind_copies(&mut self) {
        let copies: Vec<(KnownFile, SourceId)> =
            self.inventory.copies().map(|(file, of)| (file.clone(), of)).collect();
        for (file, of) in copies {
            let path = Utf8Path::new(&file.at);
            let Some(identity) = file.identity else { continue };
            if file.tail.end() != file.offset {
                let opened = content::open(path, identity);
                let prints = opened.and_then(|opened| content::prints(&opened, file.offset));
                match prints.about("read", path) {
                    Ok((head, tail)) => self.inventory.printed(file.id, head, tail),
                    Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => self.note(&error),
                }
            }
            let Some(watches) = self.watches.as_ref().filter(|_| self.held.contains_key(&of))
            else {
                continue;
            };
            // One that is gone, or cannot be watched, is looked at by the next scan.
            let watched = watches.growth(path).is_ok();
            let size = fs::metadata(path).map(|metadata| metadata.len());
            self.again |= watched && size.is_ok_and(|size| size != file.offset);
        }
    }

    fn see(&mut self, walk: &Walk, wanted: &Wanted, held: &BTreeMap<SourceId, Held>) -> Vec<Seen> {
        let mut paths: BTreeMap<Utf8PathBuf, Option<usize>> =
            walk.matches.iter().map(|(path, rule)| (path.clone(), Some(*rule))).collect();
        for (directory, names) in &walk.listings {
            let inodes = wanted.inodes.get(directory.as_str());
            let rotations = wanted.rotations.get(directory.as_str());
            for (name, inode) in names {
                let known = inodes.is_some_and(|inodes| inodes.contains(inode));
                let rotated = |name: &str| {
                    rotations.is_some_and(|originals| {
                        originals.iter().any(|original| inventory::is_rotation(original, name))
                    })
                };
                if known || rotated(name) {
                    paths.entry(directory.join(name)).or_insert(None);
                }
            }
        }
        let open: BTreeSet<(u64, u64)> = held
            .iter()
            .filter(|(_, held)| held.intact)
            .filter_map(|(id, _)| self.inventory.file(*id)?.identity)
            .map(|identity| (identity.device, identity.inode))
            .collect();
        let mut before = std::mem::take(&mut self.looked);
        let mut seen = Vec::new();
        for (path, rule) in paths {
            match self.see_one(&path, rule, &open, &mut before) {
                Ok(Some(file)) => seen.push(file),
                Ok(None) => {}
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.usage.unreadable += 1;
                    self.note(&error);
                }
            }
        }
        // The core looks for names by their beginnings, as text; paths are sorted by component.
        seen.sort_by(|a, b| a.path.cmp(&b.path));
        seen
    }

    /// What there is to say about one path; `None` when it is no regular file.
    fn see_one(
        &mut self,
        path: &Utf8Path,
        rule: Option<usize>,
        open: &BTreeSet<(u64, u64)>,
        before: &mut BTreeMap<(u64, u64), Looked>,
    ) -> Result<Option<Seen>, FileError> {
        let mut metadata = fs::symlink_metadata(path).about("ask about", path)?;
        let mut at = path.to_string();
        if metadata.is_symlink() {
            metadata = fs::metadata(path).about("ask about", path)?;
            at = path.canonicalize_utf8().about("follow", path)?.into_string();
        }
        if !metadata.is_file() {
            // A directory that a pattern also matches is as it should be.
            self.usage.unreadable += usize::from(rule.is_some() && !metadata.is_dir());
            return Ok(None);
        }
        let (identity, stamp) = (identity(&metadata), Stamp::of(&metadata));
        let mut seen = Seen {
            path: path.to_string(),
            at,
            rule,
            identity,
            size: stamp.size,
            modified_ns: stamp.modified_ns(),
            compressed: false,
        };
        let key = (identity.device, identity.inode);
        if open.contains(&key) {
            return Ok(Some(seen));
        }
        // The same file may have two names.
        let known = self.looked.remove(&key).or_else(|| before.remove(&key));
        let looked = match known.filter(|looked| looked.stamp == stamp) {
            Some(looked) => looked,
            None => match is_compressed(path, identity, stamp) {
                Ok(compressed) => Looked { stamp, compressed, answers: BTreeMap::new() },
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    // It is there, so that it is not missed, but nothing new can be made of it.
                    self.usage.unreadable += 1;
                    seen.rule = None;
                    return Ok(Some(seen));
                }
                Err(error) => return Err(error).about("read", path),
            },
        };
        seen.compressed = looked.compressed;
        self.looked.insert(key, looked);
        Ok(Some(seen))
    }

    /// Answers one question.
    fn ask(&mut self, pair: Pair, look: &mut Look, alike: &mut Alike, spools: &mut Spools) {
        let seen = &mut look.seen[pair.seen];
        let path = Utf8PathBuf::from(&seen.path);
        let answer = match self.answer(pair, seen, spools) {
            // It cannot be read now, but its inode and its birth say that it is the one.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(pair.own),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.again = true;
                Ok(false)
            }
            answer => answer,
        };
        match answer.about("compare", &path) {
            Ok(true) => {
                alike.insert((pair.id, pair.seen));
            }
            Ok(false) => {}
            Err(error) => self.note(&error),
        }
    }

    fn answer(&mut self, pair: Pair, seen: &mut Seen, spools: &mut Spools) -> io::Result<bool> {
        let Some(known) = self.inventory.file(pair.id) else { return Ok(false) };
        let path = Utf8Path::new(&seen.path);
        if pair.against == Against::Content {
            let Some(held) = self.held.get(&pair.id) else { return Ok(false) };
            let file = content::open(path, seen.identity)?;
            return content::begins(&file, &held.file);
        }
        let key = (seen.identity.device, seen.identity.inode);
        let question = (pair.id, pair.own);
        let looked = self.looked.get_mut(&key);
        if let Some(looked) = &looked
            && let Some((head, tail, answer)) = looked.answers.get(&question)
            && (*head, *tail) == (known.head, known.tail)
            && !seen.compressed
        {
            return Ok(*answer);
        }
        let file = content::open(path, seen.identity)?;
        let answer = if seen.compressed {
            let leftover = leftover::decompress(&file, known, &self.spool)?;
            let found = leftover.is_some();
            if let Some(leftover) = leftover {
                seen.size = leftover.size;
                spools.insert((pair.id, pair.seen), leftover);
            }
            found
        } else {
            content::matches(&file, seen.size, known, pair.own)?
        };
        if let Some(looked) = looked {
            looked.answers.insert(question, (known.head, known.tail, answer));
        }
        Ok(answer)
    }
}

/// Whether a file is compressed. One that holds too little to tell goes by its name.
fn is_compressed(path: &Utf8Path, identity: Identity, stamp: Stamp) -> io::Result<bool> {
    let file = content::open(path, identity)?;
    if stamp.size < content::MAGIC_BYTES {
        return Ok(inventory::is_compressed(path.as_str()));
    }
    Ok(content::is_compressed(&content::bytes_at(&file, 0, content::MAGIC_BYTES)?))
}
