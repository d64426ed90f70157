//! Numbered lines, as an application's log has them: about 213 bytes of JSON, with the time of
//! their writing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const LEVELS: [&str; 5] = ["INFO", "INFO", "INFO", "WARN", "ERROR"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const PATHS: [&str; 4] = ["/api/v1/orders", "/api/v1/users/42/cart", "/healthz", "/api/v2/search"];
const STATUSES: [u16; 5] = [200, 200, 201, 404, 500];
/// How often a writer with a rate writes.
const SLICE: Duration = Duration::from_millis(20);

/// The lines of one source.
#[derive(Debug)]
pub struct Lines {
    source: u64,
    next: u64,
    random: u64,
    checksum: u64,
    bytes: u64,
    time_ms: u64,
    time: String,
}

impl Lines {
    /// From line 0.
    pub fn of(source: u64) -> Self {
        let random = 0x2545_f491_4f6c_dd1d ^ (source + 1);
        Self { source, next: 0, random, checksum: 0, bytes: 0, time_ms: 0, time: String::new() }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.next
    }

    /// How many bytes they had, their ends included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The sum of the CRC-32 of each, without its end.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// Appends the next line, with its end.
    pub fn append_to(&mut self, text: &mut Vec<u8>) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let r = self.random;
        let pick = |shift: u32, below: u64| (r >> shift) % below;
        let of = |shift: u32, count: usize| {
            usize::try_from(pick(shift, u64::try_from(count).unwrap_or(1))).unwrap_or_default()
        };
        self.look_at_the_clock();
        let start = text.len();
        let written = write!(
            text,
            "{{\"ts\":\"{}\",\"src\":{},\"seq\":{},\"level\":\"{}\",\"req\":\"{r:016x}\",\
             \"method\":\"{}\",\"path\":\"{}\",\"status\":{},\"dur_ms\":{}.{},\
             \"msg\":\"handled request for tenant {} in pool {}\"}}",
            self.time,
            self.source,
            self.next,
            LEVELS[of(8, LEVELS.len())],
            METHODS[of(16, METHODS.len())],
            PATHS[of(24, PATHS.len())],
            STATUSES[of(32, STATUSES.len())],
            pick(40, 900),
            pick(0, 10),
            pick(48, 5000),
            pick(20, 16),
        );
        written.expect("memory takes everything");
        self.checksum = self.checksum.wrapping_add(u64::from(crc32fast::hash(&text[start..])));
        text.push(b'\n');
        self.bytes += u64::try_from(text.len() - start).unwrap_or_default();
        self.next += 1;
    }

    /// Writing the time anew for each line would cost more than the rest of it.
    fn look_at_the_clock(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or_default();
        if now_ms != self.time_ms {
            self.time_ms = now_ms;
            let time = jiff::Timestamp::from_millisecond(i64::try_from(now_ms).unwrap_or_default());
            self.time = time.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        }
    }
}

/// How a writer's file is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// `x` becomes `x.1`, `x.1` becomes `x.2`; the writer opens a new `x`.
    Rename,
    /// `x` is copied to `x.1` and truncated; the writer, which appends, goes on.
    CopyTruncate,
    /// The writer itself goes on in `x.N.log`, which is new.
    Create,
}

/// Writes the lines of a source to a file, at a rate if wanted.
pub struct Writer {
    lines: Lines,
    path: PathBuf,
    file: File,
    rotations: u32,
    text: Vec<u8>,
}

impl Writer {
    /// Appends to `path`.
    pub fn new(path: &Path, source: u64) -> io::Result<Self> {
        let file = append_to(path)?;
        let text = Vec::with_capacity(1 << 20);
        Ok(Self { lines: Lines::of(source), path: path.to_owned(), file, rotations: 0, text })
    }

    /// What was written.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Writes so many lines as fast as the file takes them.
    pub fn write(&mut self, count: u64) -> io::Result<()> {
        for _ in 0..count {
            self.lines.append_to(&mut self.text);
            if self.text.len() >= 1 << 20 {
                self.flush()?;
            }
        }
        self.flush()
    }

    /// Writes so many bytes a second for so long.
    pub fn write_at(&mut self, bytes_per_second: u64, during: Duration) -> io::Result<()> {
        let (started, before) = (Instant::now(), self.lines.bytes);
        while started.elapsed() < during {
            let due = started.elapsed().as_secs_f64() * bytes_per_second as f64;
            while ((self.lines.bytes - before) as f64) < due {
                self.lines.append_to(&mut self.text);
            }
            self.flush()?;
            // A rate is a matter of time, not of a condition.
            std::thread::sleep(SLICE);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.text)?;
        self.text.clear();
        Ok(())
    }

    /// Rotates the file.
    pub fn rotate(&mut self, how: Rotation) -> io::Result<()> {
        self.rotations += 1;
        match how {
            Rotation::Rename => {
                self.shift()?;
                std::fs::rename(&self.path, self.numbered(1))?;
                self.file = append_to(&self.path)?;
            }
            Rotation::CopyTruncate => {
                self.shift()?;
                std::fs::copy(&self.path, self.numbered(1))?;
                self.file.set_len(0)?;
            }
            Rotation::Create => {
                let next = self.path.with_extension(format!("{}.log", self.rotations));
                self.file = append_to(&next)?;
            }
        }
        Ok(())
    }

    /// `x.1` becomes `x.2`, and so on: none is lost.
    fn shift(&self) -> io::Result<()> {
        for number in (1..self.rotations).rev() {
            std::fs::rename(self.numbered(number), self.numbered(number + 1))?;
        }
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_json_of_about_213_bytes() {
        let mut lines = Lines::of(3);
        let mut text = Vec::new();
        for _ in 0..1000 {
            lines.append_to(&mut text);
        }
        let text = String::from_utf8(text).unwrap();
        for (number, line) in text.lines().enumerate() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&value["src"], &value["seq"]), (&3.into(), &number.into()));
            assert!(value["ts"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
        }
        assert_eq!((lines.count(), lines.bytes()), (1000, text.len() as u64));
        let mean = lines.bytes() / lines.count();
        assert!((205..=220).contains(&mean), "{mean} bytes");
    }

    #[test]
    fn rotated_files_hold_every_line_once() {
        for how in [Rotation::Rename, Rotation::CopyTruncate, Rotation::Create] {
            let directory = tempfile::tempdir().unwrap();
            let mut writer = Writer::new(&directory.path().join("x"), 1).unwrap();
            for _ in 0..2 {
                writer.write(10).unwrap();
                writer.rotate(how).unwrap();
            }
            writer.write(10).unwrap();
            let files = std::fs::read_dir(directory.path()).unwrap();
            let texts: Vec<_> =
                files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
            let lines: usize = texts.iter().map(|text| text.lines().count()).sum();
            assert_eq!(lines, 30, "{how:?}");
        }
    }
}
