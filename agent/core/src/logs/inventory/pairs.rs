//! What must be looked for and compared before anything can be decided. Only what could matter is
//! asked: each answer costs reading.

use std::collections::BTreeMap;

use super::names::{common_prefix, unnumbered};
use super::*;

impl Entry {
    pub(super) fn is_unfinished(&self) -> bool {
        matches!(self.file.stage, Stage::Following | Stage::Ending)
    }

    /// The path that its file had before it was numbered, if it was at first sight.
    fn original(&self) -> &str {
        let (directory, _) = split(&self.file.path);
        let end = unnumbered(&self.file.path[directory.len()..]).len();
        &self.file.path[..directory.len() + end]
    }

    /// Whether the names of all directories that it may be in are known.
    pub(super) fn was_looked_for(&self, look: &Look) -> bool {
        [&self.file.path, &self.file.at].iter().all(|path| look.listed.contains(split(path).0))
    }
}

/// Whether a rotation of the file at `original` could be at `candidate`.
pub(super) fn may_hold(original: &str, candidate: &str) -> bool {
    let ((directory, name), (other, candidate)) = (split(original), split(candidate));
    directory == other && is_rotation(name, candidate)
}

impl Look {
    /// Indices into `seen`.
    pub(super) fn by_inode(&self) -> BTreeMap<u64, Vec<usize>> {
        let mut by_inode: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, seen) in self.seen.iter().enumerate() {
            by_inode.entry(seen.identity.inode).or_default().push(at);
        }
        by_inode
    }

    /// The seen files that could be rotations of the one at `path`.
    fn rotations<'a>(&'a self, path: &'a str) -> impl Iterator<Item = usize> + 'a {
        let (directory, name) = split(path);
        let prefix = format!("{directory}/{}", common_prefix(name));
        let first = self.seen.partition_point(|seen| seen.path.as_str() < prefix.as_str());
        let near = self.seen[first..].iter().enumerate();
        near.take_while(move |(_, seen)| seen.path.starts_with(&prefix))
            .filter(|(_, seen)| may_hold(path, &seen.path))
            .map(move |(at, _)| first + at)
    }
}

impl Inventory {
    /// What to look for beside what the rules match. `held` are the files that are open.
    #[must_use]
    pub fn wanted(&self, held: &BTreeMap<SourceId, Held>) -> Wanted {
        let mut wanted = Wanted::default();
        for (id, entry) in &self.entries {
            let file = &entry.file;
            let paths = [split(&file.path), split(&file.at)];
            if let Some(identity) = file.identity {
                for (directory, _) in paths {
                    let inodes = wanted.inodes.entry(directory.to_owned()).or_default();
                    inodes.insert(identity.inode);
                }
            }
            let needy = held.get(id).map_or(!entry.open, |held| !held.intact);
            if needy && entry.is_unfinished() {
                for (directory, name) in paths {
                    let names = wanted.rotations.entry(directory.to_owned()).or_default();
                    names.insert(unnumbered(name).to_owned());
                }
            }
        }
        wanted
    }

    /// What must be compared before [`decide`](Self::decide).
    #[must_use]
    pub fn pairs(&self, look: &Look) -> Vec<Pair> {
        let by_inode = look.by_inode();
        let intact = |id: &SourceId| look.held.get(id).is_some_and(|held| held.intact);
        let open = self.entries.iter().filter(|(id, _)| intact(id));
        let held: BTreeSet<(u64, u64)> = open
            .filter_map(|(_, entry)| entry.file.identity)
            .map(|identity| (identity.device, identity.inode))
            .collect();
        let is_held = |seen: &Seen| held.contains(&(seen.identity.device, seen.identity.inode));
        let mut pairs = Vec::new();
        for (id, entry) in &self.entries {
            let own = entry.file.identity.filter(|_| !look.held.contains_key(id));
            let may_be = own.and_then(|own| by_inode.get(&own.inode)).into_iter().flatten();
            let may_be: Vec<usize> = may_be
                .copied()
                .filter(|at| own.is_some_and(|own| own.may_be(look.seen[*at].identity)))
                .collect();
            let pair = |seen, against, own| Pair { id: *id, seen, against, own };
            if !(entry.file.compressed && entry.file.stage == Stage::Done) {
                pairs.extend(may_be.iter().map(|at| pair(*at, Against::Prints, true)));
            }
            if !entry.is_unfinished() {
                continue;
            }
            let against = if intact(id) { Against::Content } else { Against::Prints };
            if against == Against::Prints && entry.file.head.length == 0 {
                // Everything begins like nothing.
                continue;
            }
            let original = match against {
                Against::Content => entry.file.path.as_str(),
                Against::Prints => entry.original(),
            };
            for at in look.rotations(original) {
                let other = !look.seen[at].compressed && !may_be.contains(&at);
                if other && !is_held(&look.seen[at]) {
                    pairs.push(pair(at, against, false));
                }
            }
        }
        pairs
    }

    /// Compressed files that may hold the rest of a source for which `alike` has no plain one. They
    /// are asked for once per source.
    #[must_use]
    pub fn leftovers(&self, look: &Look, alike: &Alike) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for (id, entry) in &self.entries {
            let needy = match look.held.get(id) {
                Some(held) => !held.intact,
                None => !entry.open && !entry.sought && entry.was_looked_for(look),
            };
            let first = (*id, 0);
            let answered = alike.range(first..=(*id, usize::MAX)).next().is_some();
            let says = entry.file.head.length > 0;
            if needy && says && entry.is_unfinished() && !answered {
                let rotations = look.rotations(entry.original());
                let compressed = rotations.filter(|at| look.seen[*at].compressed);
                pairs.extend(compressed.map(|seen| Pair {
                    id: *id,
                    seen,
                    against: Against::Prints,
                    own: false,
                }));
            }
        }
        pairs
    }
}
