//! The reader against real journal files, written by systemd-journal-remote in the place of
//! journald, which a test cannot have of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use camino::Utf8PathBuf;

use super::*;

const REMOTE: &str = "/lib/systemd/systemd-journal-remote";
/// Nothing here takes longer, even on a busy machine.
const SOON: Duration = Duration::from_secs(20);
const AT_MS: i64 = 1_790_000_000_000;

/// A directory of journal files, as they would be on a host.
struct Host {
    directory: tempfile::TempDir,
    boot: String,
    clock_ms: i64,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let boot = Id128::from_boot().unwrap().to_string();
        Self { directory, boot, clock_ms: AT_MS }
    }

    fn path(&self) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.directory.path().to_owned()).unwrap()
    }

    fn read(&self, units: &[&str], cursor: Option<&str>) -> JournalReader {
        let units: Vec<_> = units.iter().map(ToString::to_string).collect();
        JournalReader::open_directory(&self.path(), &units, cursor).unwrap()
    }

    fn follow(&self, units: &[&str], cursor: Option<&str>) -> JournalFeed {
        let units: Vec<_> = units.iter().map(ToString::to_string).collect();
        let (path, cursor) = (self.path(), cursor.map(ToOwned::to_owned));
        let open = move || JournalReader::open_directory(&path, &units, cursor.as_deref());
        JournalFeed::start(open).unwrap()
    }

    /// Adds messages of a unit to a file, a second apart.
    fn say(&mut self, file: &str, unit: &str, messages: &[&str]) {
        for message in messages {
            let message = message.as_bytes();
            let fields = [("_SYSTEMD_UNIT", unit.as_bytes()), ("MESSAGE", message)];
            self.write(file, &fields.into());
        }
    }

    #[expect(clippy::disallowed_methods, reason = "stands in for journald")]
    fn write(&mut self, file: &str, fields: &BTreeMap<&str, &[u8]>) {
        self.clock_ms += 1000;
        let (at_us, up_us) = (self.clock_ms * 1000, (self.clock_ms - AT_MS) * 1000);
        // The journal export format of systemd.io/JOURNAL_EXPORT_FORMATS.
        let mut entry = format!(
            "__REALTIME_TIMESTAMP={at_us}\n__MONOTONIC_TIMESTAMP={up_us}\n_BOOT_ID={}\n",
            self.boot
        )
        .into_bytes();
        for (name, value) in fields {
            entry.extend_from_slice(name.as_bytes());
            entry.push(b'\n');
            entry.extend_from_slice(&u64::try_from(value.len()).unwrap().to_le_bytes());
            entry.extend_from_slice(value);
            entry.push(b'\n');
        }
        entry.push(b'\n');
        let output = self.path().join(file);
        let remote = Command::new(REMOTE)
            .args(["--output", output.as_str(), "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut remote = remote.unwrap_or_else(|error| {
            panic!("{REMOTE}: {error}; it is of the package systemd-journal-remote")
        });
        remote.stdin.take().unwrap().write_all(&entry).unwrap();
        assert!(remote.wait().unwrap().success(), "{file} is not written");
    }
}

fn rest(reader: &mut JournalReader) -> Vec<Entry> {
    std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
}

fn messages(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| str::from_utf8(&entry.message).unwrap()).collect()
}

#[test]
fn units_and_what_the_manager_says_of_them_come_in_order_and_nothing_else() {
    let mut host = Host::new();
    host.say("a.journal", "ssh.service", &["one"]);
    host.say("a.journal", "other.service", &["not this"]);
    let manager = |pid: &'static [u8]| -> BTreeMap<&str, &[u8]> {
        [
            ("_PID", pid),
            ("_SYSTEMD_UNIT", b"init.scope"),
            ("UNIT", b"ssh.service"),
            ("MESSAGE", b"Started ssh"),
            ("PRIORITY", b"6"),
        ]
        .into()
    };
    host.write("a.journal", &manager(b"1"));
    // Anybody may say that it is about a unit.
    host.write("a.journal", &manager(b"4711"));
    host.say("a.journal", "cron.service", &["two"]);
    host.write("a.journal", &[("_SYSTEMD_UNIT", &b"ssh.service"[..])].into());
    let entries = rest(&mut host.read(&["ssh.service", "cron.service"], None));
    assert_eq!(messages(&entries), ["one", "Started ssh", "two"]);
    let units: Vec<_> = entries.iter().map(|entry| entry.unit.as_str()).collect();
    assert_eq!(units, ["ssh.service", "ssh.service", "cron.service"]);
    assert_eq!(entries[1].priority, Some(6));
    assert_eq!((entries[0].priority, entries[0].at_ms), (None, AT_MS + 1000));
}

#[test]
fn a_message_is_bytes_and_has_a_bound() {
    let mut host = Host::new();
    let (odd, long) = (&b"a\0\xff\nb"[..], vec![b'x'; MESSAGE_BYTES_MAX + 1]);
    for message in [odd, &long[1..], &long] {
        let fields = [("_SYSTEMD_UNIT", &b"ssh.service"[..]), ("MESSAGE", message)];
        host.write("a.journal", &fields.into());
    }
    let entries = rest(&mut host.read(&["ssh.service"], None));
    assert_eq!(entries[0].message, odd);
    let sizes: Vec<_> = entries.iter().map(|entry| (entry.message.len(), entry.cut)).collect();
    let max = MESSAGE_BYTES_MAX;
    assert_eq!(sizes, [(odd.len(), false), (max, false), (max, true)]);
}

#[test]
fn a_reader_goes_on_after_its_cursor_through_rotation() {
    let mut host = Host::new();
    host.say("a.journal", "ssh.service", &["one", "two"]);
    let first = rest(&mut host.read(&["ssh.service"], None));
    host.say("a.journal", "ssh.service", &["three"]);
    host.say("b.journal", "ssh.service", &["four"]);
    for (after, left) in [(0, &["two", "three", "four"][..]), (1, &["three", "four"])] {
        let mut reader = host.read(&["ssh.service"], Some(&first[after].cursor));
        assert!(!reader.has_lost_its_place());
        assert_eq!(messages(&rest(&mut reader)), left);
    }
    // The last one there is: nothing follows, and nothing is lost.
    let all = rest(&mut host.read(&["ssh.service"], None));
    let mut reader = host.read(&["ssh.service"], Some(&all[3].cursor));
    assert!(rest(&mut reader).is_empty() && !reader.has_lost_its_place());
}

#[test]
fn a_cursor_whose_entry_is_gone_leads_to_the_next_there_is() {
    for other_boot in [false, true] {
        goes_on_after_a_gap(other_boot);
    }
}

fn goes_on_after_a_gap(other_boot: bool) {
    let mut host = Host::new();
    host.say("a.journal", "ssh.service", &["one"]);
    host.say("b.journal", "ssh.service", &["two", "three"]);
    if other_boot {
        host.boot = "0123456789abcdef0123456789abcdef".to_owned();
    }
    host.say("c.journal", "ssh.service", &["four"]);
    let first = rest(&mut host.read(&["ssh.service"], None)).remove(0);
    let mut reader = host.read(&["ssh.service"], Some(&first.cursor));
    let all: Vec<_> = [vec![first], rest(&mut reader)].concat();
    std::fs::remove_file(host.path().join("b.journal")).unwrap();
    let mut reader = host.read(&["ssh.service"], Some(&all[1].cursor));
    assert!(reader.has_lost_its_place());
    assert_eq!(messages(&rest(&mut reader)), ["four"]);
    // Everything is gone; what comes then is taken.
    std::fs::remove_file(host.path().join("a.journal")).unwrap();
    std::fs::remove_file(host.path().join("c.journal")).unwrap();
    let mut reader = host.read(&["ssh.service"], Some(&all[3].cursor));
    assert!(reader.has_lost_its_place() && rest(&mut reader).is_empty());
    host.say("d.journal", "ssh.service", &["five"]);
    assert_eq!(messages(&rest(&mut reader)), ["five"]);
}

#[test]
fn a_unit_that_is_asked_for_no_more_is_no_loss() {
    let mut host = Host::new();
    host.say("a.journal", "ssh.service", &["one"]);
    host.say("a.journal", "cron.service", &["two"]);
    host.say("a.journal", "ssh.service", &["three"]);
    let all = rest(&mut host.read(&["ssh.service", "cron.service"], None));
    let mut reader = host.read(&["ssh.service"], Some(&all[1].cursor));
    assert!(!reader.has_lost_its_place());
    assert_eq!(messages(&rest(&mut reader)), ["three"]);
}

#[test]
fn without_a_cursor_it_begins_with_this_boot() {
    let mut host = Host::new();
    let boot = std::mem::replace(&mut host.boot, "0123456789abcdef0123456789abcdef".to_owned());
    host.say("a.journal", "ssh.service", &["on the host of the image"]);
    let old = {
        let mut reader = host.read(&["ssh.service"], None);
        assert!(rest(&mut reader).is_empty());
        host.directory.path().join("a.journal")
    };
    host.boot = boot;
    host.say("b.journal", "ssh.service", &["here"]);
    assert_eq!(messages(&rest(&mut host.read(&["ssh.service"], None))), ["here"]);
    assert!(old.exists());
}

#[test]
fn what_cannot_be_read_is_named() {
    let cursor = Some("none");
    let units = ["ssh.service".to_owned()];
    for (directory, units, error) in [
        ("/nowhere", &units[..], "could not open the journal in /nowhere"),
        ("/tmp", &[], "could not read the journal: no unit is named"),
        ("/tmp", &units, "could not go to none in the journal"),
    ] {
        let opened = JournalReader::open_directory(Utf8Path::new(directory), units, cursor);
        assert_eq!(opened.err().unwrap().to_string(), error);
    }
}

#[tokio::test]
async fn a_feed_has_what_is_said_while_it_runs_and_says_where_it_ends() {
    let mut host = Host::new();
    host.say("a.journal", "ssh.service", &["one"]);
    let mut feed = host.follow(&["ssh.service"], None);
    let first = entry(&mut feed).await;
    host.say("a.journal", "ssh.service", &["two"]);
    assert_eq!(entry(&mut feed).await.message, b"two");
    // As journald rotates.
    host.say("b.journal", "ssh.service", &["three"]);
    assert_eq!(entry(&mut feed).await.message, b"three");
    host.say("b.journal", "ssh.service", &["four"]);
    feed.ask_for_end().unwrap();
    assert_eq!(entry(&mut feed).await.message, b"four");
    assert_eq!(next(&mut feed).await, News::End);
    feed.shutdown().await;
    std::fs::remove_file(host.path().join("a.journal")).unwrap();
    let mut feed = host.follow(&["ssh.service"], Some(&first.cursor));
    assert_eq!(next(&mut feed).await, News::Gap);
    assert_eq!(entry(&mut feed).await.message, b"three");
}

#[tokio::test]
async fn a_feed_that_nobody_listens_to_ends_though_its_queue_is_full() {
    let mut host = Host::new();
    host.say("a.journal", "ssh.service", &["x"; feed::ENTRIES_QUEUE + 2]);
    let mut feed = host.follow(&["ssh.service"], None);
    entry(&mut feed).await;
    tokio::time::timeout(SOON, feed.shutdown()).await.unwrap();
    // And one that waits for news.
    let mut feed = host.follow(&["cron.service"], None);
    feed.ask_for_end().unwrap();
    assert_eq!(next(&mut feed).await, News::End);
    tokio::time::timeout(SOON, feed.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_journal_that_cannot_be_opened_ends_the_feed_with_the_reason() {
    let open = || JournalReader::open_directory(Utf8Path::new("/tmp"), &[], None);
    let mut feed = JournalFeed::start(open).unwrap();
    assert!(matches!(feed.next().await, Some(Err(JournalError::NoUnits))));
    assert!(feed.next().await.is_none());
}

async fn next(feed: &mut JournalFeed) -> News {
    tokio::time::timeout(SOON, feed.next()).await.unwrap().unwrap().unwrap()
}

async fn entry(feed: &mut JournalFeed) -> Entry {
    match next(feed).await {
        News::Entry(entry) => entry,
        other => panic!("{other:?}"),
    }
}
