//! Bytes of a file into events of a batch: lines found, grouped, dated, cleaned. Reads from an
//! offset through one window that all files share, so that memory does not grow with their number.
//!
//! Never moves on over what is not in the batch, refused for good, or dropped by a rule.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use groundcrew_core::logs::limits::{
    BATCH_BYTES_MAX, EVENT_AGE_MAX, EVENT_AHEAD_MAX, GROUPED_BYTES_MAX,
};
use groundcrew_core::time::{Now, Wall, ms};

use super::batch::{Builder, Push};
use super::source::Queued;
use crate::logs::events::{Clock, Grouper, Redactor, Rules, may_be_emf};
use crate::logs::segment::character_floor;

/// Bytes of a line; a longer one comes in pieces. A quarter of what an event may have, so that
/// there is room for what redaction puts in the place of a match, and as much as other readers of
/// these logs have long taken for the limit.
const PIECE_BYTES: usize = 256 * 1024;
/// Bytes read at once: a batch, and what decides where its last event ends.
const WINDOW_BYTES: usize = BATCH_BYTES_MAX + PIECE_BYTES;
/// How long an event at the end of a file waits for lines that may belong to it.
const GROUP_SETTLES_AFTER: Duration = Duration::from_secs(1);
/// How long a line without a newline waits for its end.
const LINE_SETTLES_AFTER: Duration = Duration::from_secs(5);
/// Bytes of events that are refused here, before the rest has to wait.
const REFUSED_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(GROUPED_BYTES_MAX + PIECE_BYTES < WINDOW_BYTES);

/// Where reading goes on.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub(super) struct Position {
    /// Bytes from the file's beginning.
    pub(super) offset: u64,
    /// Pieces of the line there that were taken already.
    #[serde(default)]
    pub(super) part: u32,
}

/// An event that the service would not take, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) at: i64,
    pub(super) message: Vec<u8>,
    pub(super) reason: &'static str,
}

/// What became of the bytes between two positions.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Where the next batch begins.
    pub(super) to: Position,
    /// Events that are in the batch.
    pub(super) events: u64,
    /// Events and bytes that a rule left out.
    pub(super) dropped: (u64, u64),
    /// Bytes of [`refused`](Self::refused) in the file.
    pub(super) refused_bytes: u64,
    /// Pieces of lines that seem to be of the embedded metric format: no metrics are made of them.
    pub(super) emf_cut: u64,
    /// Events that the service would refuse.
    pub(super) refused: Vec<Refused>,
    /// The batch is full: there is more.
    pub(super) full: bool,
    /// What stands at the end stays until it has settled.
    pub(super) waits: Option<Waits>,
}

/// What keeps the end of a file from being taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// The last line has no newline.
    Line,
    /// Lines may follow that belong to the last event.
    Group,
}

impl Waits {
    /// How long the file must not have grown.
    pub(super) const fn settles_after(self) -> Duration {
        match self {
            Self::Line => LINE_SETTLES_AFTER,
            Self::Group => GROUP_SETTLES_AFTER,
        }
    }
}

/// What reading needs beside the file.
pub(super) struct Tools<'a> {
    builder: &'a mut Builder,
    window: &'a mut Vec<u8>,
    clock: &'a mut Clock,
    redactor: &'a Redactor,
    scratch: &'a mut Vec<u8>,
    pub(super) now: Now,
}

/// What all sources are read with: one at a time, in the same memory.
pub(super) struct Reader {
    pub(super) builder: Builder,
    redactor: Redactor,
    window: Vec<u8>,
    clock: Clock,
    scratch: Vec<u8>,
}

impl Reader {
    pub(super) fn new(builder: Builder, redactor: Redactor) -> Self {
        let (window, scratch) = (Vec::new(), Vec::new());
        Self { builder, redactor, window, clock: Clock::default(), scratch }
    }

    pub(super) fn tools(&mut self, now: Now) -> Tools<'_> {
        Tools {
            builder: &mut self.builder,
            window: &mut self.window,
            clock: &mut self.clock,
            redactor: &self.redactor,
            scratch: &mut self.scratch,
            now,
        }
    }
}

/// What is particular to a file.
pub(super) struct Particulars<'a> {
    pub(super) file: &'a File,
    /// Bytes to read; later ones are for later.
    pub(super) size: u64,
    /// For how long it has not grown; for ever, when nothing more is expected.
    pub(super) quiet: Duration,
    pub(super) grouper: &'a mut Grouper,
    pub(super) rules: &'a mut Rules,
    /// By when what stands before an offset was written; `None`: now.
    pub(super) written: &'a dyn Fn(u64) -> Option<Wall>,
}

/// One event within the window.
struct Found {
    from: usize,
    /// Behind its last byte, the newline not counted.
    to: usize,
    /// Where the next begins.
    next: usize,
    /// It is a piece of a line that goes on.
    goes_on: bool,
}

enum Look {
    Event(Found),
    /// The window ends before the event does.
    Beyond,
    /// The file ends before the event surely does.
    Waits(Waits),
}

/// Takes events from `from` on until the batch is full or the file at its end.
pub(super) fn take(
    from: Position,
    particulars: &mut Particulars<'_>,
    tools: &mut Tools<'_>,
) -> io::Result<Taken> {
    let mut taken = Taken { to: from, ..Taken::default() };
    let mut window = std::mem::take(tools.window);
    let mut outcome = Ok(());
    while !taken.full && taken.waits.is_none() && taken.to.offset < particulars.size {
        let left = particulars.size - taken.to.offset;
        // No more than the batch may take, and whatever the longest event may need.
        let wanted = (tools.builder.room() + PIECE_BYTES).min(WINDOW_BYTES);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        if window.len() < wanted {
            window.resize(wanted, 0);
        }
        let read = read_full(particulars.file, &mut window[..wanted], taken.to.offset);
        let read = match read {
            Ok(read) if read > 0 => read,
            // Cut off meanwhile.
            Ok(_) => break,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        };
        let is_end = read as u64 == left;
        let before = taken.to;
        take_window(&window[..read], is_end, &mut taken, particulars, tools);
        if taken.to == before && !taken.full && taken.waits.is_none() {
            // The window shrinks with the room: what does not end in it does not fit.
            taken.full = true;
        }
    }
    *tools.window = window;
    outcome.map(|()| taken)
}

/// Takes entries of the journal from `from` on until the batch is full.
pub(super) fn take_entries(
    from: Position,
    queue: &VecDeque<Queued>,
    tools: &mut Tools<'_>,
) -> Taken {
    let mut taken = Taken { to: from, ..Taken::default() };
    let now = tools.now.wall.0;
    let first = queue.partition_point(|entry| entry.end <= from.offset);
    for entry in queue.iter().skip(first) {
        let message = tools.redactor.apply(&entry.message, tools.scratch);
        let bytes = entry.message.len() as u64 + 1;
        if let Some(reason) = unacceptable(entry.at, now) {
            taken.refused_bytes += bytes;
            taken.refused.push(Refused { at: entry.at, message: message.to_vec(), reason });
        } else if !message.is_empty() {
            if tools.builder.push(entry.at, message) == Push::Full {
                taken.full = true;
                break;
            }
            taken.events += 1;
        }
        taken.to.offset = entry.end;
    }
    taken
}

fn read_full(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut held = 0;
    while held < into.len() {
        match file.read_at(&mut into[held..], offset + held as u64) {
            Ok(0) => break,
            Ok(read) => held += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

fn take_window(
    window: &[u8],
    is_end: bool,
    taken: &mut Taken,
    particulars: &mut Particulars<'_>,
    tools: &mut Tools<'_>,
) {
    let base = taken.to.offset;
    let mut at = 0;
    while at < window.len() {
        let found = match look(window, at, is_end, taken.to.part, particulars) {
            Look::Event(found) => found,
            Look::Beyond => return,
            Look::Waits(waits) => {
                taken.waits = Some(waits);
                return;
            }
        };
        if !take_event(window, &found, base, taken, particulars, tools) {
            taken.full = true;
            return;
        }
        at = found.next;
        taken.to.offset = base + at as u64;
        taken.to.part = if found.goes_on { taken.to.part.saturating_add(1) } else { 0 };
    }
}

/// Finds the event that begins at `at`.
fn look(
    window: &[u8],
    at: usize,
    is_end: bool,
    part: u32,
    particulars: &mut Particulars<'_>,
) -> Look {
    let line_end = |from: usize| memchr::memchr(b'\n', &window[from..]).map(|end| from + end);
    let end = match line_end(at) {
        Some(end) if end - at <= PIECE_BYTES => end,
        None if window.len() - at <= PIECE_BYTES => {
            return match (is_end, particulars.quiet >= LINE_SETTLES_AFTER) {
                (false, _) => Look::Beyond,
                (true, false) => Look::Waits(Waits::Line),
                (true, true) => {
                    let to = window.len();
                    Look::Event(Found { from: at, to, next: to, goes_on: false })
                }
            };
        }
        _ => {
            let to = at + character_floor(&window[at..], PIECE_BYTES);
            return Look::Event(Found { from: at, to, next: to, goes_on: true });
        }
    };
    let mut found = Found { from: at, to: end, next: end + 1, goes_on: false };
    if part > 0 {
        return Look::Event(found);
    }
    particulars.grouper.begin(&window[at..end]);
    loop {
        if found.next < window.len()
            && let Some(end) = line_end(found.next)
        {
            if !particulars.grouper.joins(&window[found.next..end]) {
                return Look::Event(found);
            }
            (found.to, found.next) = (end, end + 1);
            continue;
        }
        // A line that is too long for one event joins none.
        let rest = window.len() - found.next;
        if rest > PIECE_BYTES || !particulars.grouper.may_go_on() {
            return Look::Event(found);
        }
        return match (is_end, particulars.quiet >= GROUP_SETTLES_AFTER) {
            (false, _) => Look::Beyond,
            (true, false) => Look::Waits(Waits::Group),
            (true, true) => {
                let rest = &window[found.next..];
                let is_line = particulars.quiet >= LINE_SETTLES_AFTER && !rest.is_empty();
                if is_line && particulars.grouper.joins(rest) {
                    (found.to, found.next) = (window.len(), window.len());
                }
                Look::Event(found)
            }
        };
    }
}

/// Puts an event into the batch, or where it belongs; `false`: the batch is full.
fn take_event(
    window: &[u8],
    found: &Found,
    base: u64,
    taken: &mut Taken,
    particulars: &mut Particulars<'_>,
    tools: &mut Tools<'_>,
) -> bool {
    let raw = &window[found.from..found.to];
    // A blank line may join what is before it, in case the trace goes on behind it.
    let end = raw.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
    let raw = &raw[..end];
    let bytes = (found.next - found.from) as u64;
    let is_piece = found.goes_on || taken.to.part > 0;
    // The service takes no event without a message.
    if raw.is_empty() {
        return true;
    }
    let emf_cut = u64::from(is_piece && may_be_emf(raw));
    if !particulars.rules.is_free() && !particulars.rules.admit(raw, tools.now.at) {
        taken.dropped.0 += 1;
        taken.dropped.1 += bytes;
        taken.emf_cut += emf_cut;
        return true;
    }
    let first = memchr::memchr(b'\n', raw).map_or(raw, |end| &raw[..end]);
    let dated = if is_piece { None } else { tools.clock.find(first) };
    let now = tools.now.wall.0;
    let read = || (particulars.written)(base + found.next as u64).map_or(now, |at| at.0.min(now));
    let at = dated.unwrap_or_else(read);
    let message = tools.redactor.apply(raw, tools.scratch);
    if let Some(reason) = unacceptable(at, now) {
        if !taken.refused.is_empty() && taken.refused_bytes + bytes > REFUSED_BYTES_MAX as u64 {
            return false;
        }
        taken.refused_bytes += bytes;
        taken.refused.push(Refused { at, message: message.to_vec(), reason });
        return true;
    }
    let pushed = if is_piece {
        let message = marked(message, taken.to.part, found.goes_on);
        tools.builder.push(at, &message)
    } else {
        tools.builder.push(at, message)
    };
    taken.events += u64::from(pushed == Push::Taken);
    taken.emf_cut += if pushed == Push::Taken { emf_cut } else { 0 };
    pushed == Push::Taken
}

/// Why the service would not take an event of that time.
fn unacceptable(at: i64, now: i64) -> Option<&'static str> {
    let limit = |duration| i64::try_from(ms(duration)).unwrap_or(i64::MAX);
    if at > now.saturating_add(limit(EVENT_AHEAD_MAX)) {
        return Some("its time is more than 2 hours ahead");
    }
    (at < now.saturating_sub(limit(EVENT_AGE_MAX))).then_some("it is older than 14 days")
}

/// A piece says that it is one.
fn marked(message: &[u8], part: u32, goes_on: bool) -> Vec<u8> {
    let mut marked = Vec::with_capacity(message.len() + 64);
    if part > 0 {
        marked.extend_from_slice(
            format!("[part {} of one line] ", part.saturating_add(1)).as_bytes(),
        );
    }
    marked.extend_from_slice(message);
    if goes_on {
        marked.extend_from_slice(b" [the line goes on in the next event]");
    }
    marked
}
