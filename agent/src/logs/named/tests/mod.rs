//! Named files on a real file system, read the way the shipper does.

mod lives;
mod rotations;
mod sights;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::logs::inventory::SourceId;
use groundcrew_core::logs::{FileRule, Multiline};
use groundcrew_core::time::{Moment, Now, Wall};
use tempfile::TempDir;

use super::super::testing::{append, scratch};
use super::{FileChange, Named, NamedUsage};

/// A source as the shipper sees it.
#[derive(Debug)]
struct Reading {
    path: Utf8PathBuf,
    file: Arc<File>,
    /// Where the first line begins that was not taken yet.
    at: u64,
    /// Lines that were read and not accepted.
    taken: Vec<String>,
    /// There was nothing more at the last look.
    at_end: bool,
    last: bool,
    ended: bool,
}

/// A directory of logs, the agent's view of it, and what was shipped.
struct World {
    _keep: TempDir,
    dir: Utf8PathBuf,
    spool: Utf8PathBuf,
    patterns: Vec<String>,
    named: Named,
    reading: BTreeMap<SourceId, Reading>,
    /// Lines as they were shipped.
    shipped: Vec<String>,
    now: Now,
}

fn rules(dir: &Utf8Path, patterns: &[String]) -> Vec<FileRule> {
    let rule = |pattern: &String| FileRule {
        path: format!("{dir}/{pattern}"),
        multiline: Multiline::Off,
        group: None,
        stream: None,
    };
    patterns.iter().map(rule).collect()
}

impl World {
    fn new(patterns: &[&str]) -> Self {
        Self::within(scratch(), patterns)
    }

    fn within((keep, root): (TempDir, Utf8PathBuf), patterns: &[&str]) -> Self {
        let (dir, spool) = (root.join("logs"), root.join("spool"));
        fs::create_dir(&dir).unwrap();
        fs::create_dir(&spool).unwrap();
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let named = Named::new(&rules(&dir, &patterns), spool.clone(), None).unwrap();
        let now = Now { at: Moment(1000), wall: Wall(1_800_000_000_000) };
        let (reading, shipped) = (BTreeMap::new(), Vec::new());
        Self { _keep: keep, dir, spool, patterns, named, reading, shipped, now }
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        self.dir.join(name)
    }

    /// Appends lines, each with its newline; creates the file.
    fn write(&self, name: &str, lines: &[&str]) {
        let lines: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
        self.write_raw(name, &lines.concat());
    }

    fn write_raw(&self, name: &str, text: &str) {
        let path = self.path(name);
        drop(OpenOptions::new().create(true).append(true).open(&path).unwrap());
        append(&path, text);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        let bytes = fs::read(self.path(from)).unwrap();
        // A new inode, as `cp` to a new name makes one.
        let mut file = OpenOptions::new().create_new(true).write(true).open(self.path(to)).unwrap();
        file.write_all(&bytes).unwrap();
    }

    fn truncate(&self, name: &str) {
        OpenOptions::new().write(true).open(self.path(name)).unwrap().set_len(0).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Replaces the file by its compressed form, as `gzip` does.
    fn gzip(&self, name: &str) {
        let bytes = fs::read(self.path(name)).unwrap();
        let to = File::create_new(self.path(&format!("{name}.gz"))).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap();
        self.remove(name);
    }

    /// Takes some time.
    fn pass(&mut self, time: Duration) {
        self.now.at = self.now.at.plus(time);
    }

    fn scan(&mut self) {
        let changes = self.named.scan(self.now);
        self.take(changes);
    }

    fn take(&mut self, changes: Vec<FileChange>) {
        for change in changes {
            match change {
                FileChange::Opened(opened) => {
                    let reading = Reading {
                        path: opened.path,
                        file: opened.file,
                        at: opened.from,
                        taken: Vec::new(),
                        at_end: false,
                        last: opened.last,
                        ended: false,
                    };
                    self.reading.insert(opened.id, reading);
                }
                FileChange::Continued { id, file, from } => {
                    let reading = self.reading.get_mut(&id).unwrap();
                    assert_eq!(from, reading.at, "offsets go on");
                    (reading.file, reading.last, reading.at_end) = (file, true, false);
                }
                FileChange::Moved { id, .. } => assert!(self.reading.contains_key(&id)),
                FileChange::Final { id } => {
                    let reading = self.reading.get_mut(&id).unwrap();
                    (reading.last, reading.at_end) = (true, false);
                }
                FileChange::Ended { id, .. } => self.reading.get_mut(&id).unwrap().ended = true,
                FileChange::Forgotten { id, .. } => assert!(!self.reading.contains_key(&id)),
            }
        }
    }

    /// Reads up to so many lines of each source.
    fn take_lines(&mut self, lines_max: usize) {
        let ids: Vec<SourceId> = self.reading.keys().copied().collect();
        for id in ids {
            if self.reading.get(&id).is_some_and(|reading| !reading.ended) {
                let changes = self.named.check(id, self.now);
                self.take(changes);
            }
            let Some(reading) = self.reading.get_mut(&id).filter(|reading| !reading.ended) else {
                continue;
            };
            let (lines, at_end) = reading.lines(lines_max);
            reading.taken.extend(lines);
            reading.at_end = at_end;
            self.named.read_to(id, reading.at);
        }
    }

    /// Everything that was read is accepted.
    fn accept(&mut self) {
        let mut closed = Vec::new();
        for (id, reading) in &mut self.reading {
            self.shipped.append(&mut reading.taken);
            self.named.accepted(*id, reading.at);
            if reading.ended || reading.last && reading.at_end {
                closed.push(*id);
            }
        }
        for id in closed {
            self.reading.remove(&id);
            self.named.closed(id);
        }
    }

    /// Reads up to so many lines of each source, and has them accepted.
    fn read(&mut self, lines_max: usize) {
        self.take_lines(lines_max);
        self.accept();
    }

    /// Scans and reads everything there is.
    fn ship(&mut self) {
        self.scan();
        self.read(usize::MAX);
    }

    /// Ships until nothing more is expected of what was rotated.
    fn settle(&mut self) {
        for _ in 0..3 {
            self.ship();
            self.pass(Duration::from_secs(31));
        }
        self.ship();
    }

    /// Another agent takes over from the checkpoint, which it reads as text.
    fn restart(&mut self) {
        let checkpoint = serde_json::to_string(&self.named.known()).unwrap();
        self.reading.clear();
        let rules = rules(&self.dir, &self.patterns);
        self.named = Named::new(&rules, self.spool.clone(), None).unwrap();
        self.named.restore(serde_json::from_str(&checkpoint).unwrap());
    }

    fn usage(&self) -> NamedUsage {
        self.named.usage()
    }

    /// The paths that are read, with how many sources each has.
    fn open_paths(&self) -> Vec<&str> {
        self.reading.values().map(|reading| reading.path.file_name().unwrap()).collect()
    }

    #[track_caller]
    fn check(&self, shipped: &[&str]) {
        assert_eq!(self.shipped, shipped);
    }
}

impl Reading {
    /// Lines from here on, and whether that was all. A last line without a newline counts when
    /// nothing more is expected.
    fn lines(&mut self, max: usize) -> (Vec<String>, bool) {
        let mut bytes = vec![0; usize::try_from(self.file.metadata().unwrap().len()).unwrap()];
        let size = self.file.read_at(&mut bytes, 0).unwrap() as u64;
        let from = usize::try_from(self.at).unwrap().min(bytes.len());
        let mut lines = Vec::new();
        for line in String::from_utf8(bytes[from..].to_vec()).unwrap().split_inclusive('\n') {
            if lines.len() >= max || !line.ends_with('\n') && !self.last {
                break;
            }
            lines.push(line.trim_end_matches('\n').to_owned());
            self.at += line.len() as u64;
        }
        (lines, self.at >= size)
    }
}
