//! Finds where the last lines of many files begin, from their ends: never reads more of a file than
//! it must, and no file forward.

use std::collections::BinaryHeap;

use groundcrew_core::time::Wall;
use tokio_util::sync::CancellationToken;

use super::reader::Lane;
use super::segment::{Backward, Segment};
use crate::fsx::FileError;
use crate::pattern::Pattern;

/// Which lines are the last ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// So many, of all lanes together.
    pub(super) lines: usize,
    /// None from before.
    pub(super) since: Option<Wall>,
    /// None that it does not match.
    pub(super) grep: Option<&'a Pattern>,
}

/// Walks backward over all lanes at once, always over the newest line, until enough are found.
/// Answers with the file and the offset in it where each lane begins; `None` after `stop`.
pub(super) fn starts(
    lanes: &[Lane],
    wanted: Wanted<'_>,
    stop: &CancellationToken,
) -> Result<Option<Vec<(usize, u64)>>, FileError> {
    let mut walks = Vec::new();
    let mut newest = BinaryHeap::new();
    for (at, lane) in lanes.iter().enumerate() {
        let mut walk = Walk::of(lane, wanted, stop)?;
        newest.extend(walk.step(lane)?.map(|wall| (wall, at)));
        walks.push(walk);
    }
    for _ in 0..wanted.lines {
        let Some((_, at)) = newest.pop() else { break };
        walks[at].take();
        newest.extend(walks[at].step(&lanes[at])?.map(|wall| (wall, at)));
    }
    let starts = walks.iter().map(|walk| walk.start).collect();
    Ok((!stop.is_cancelled()).then_some(starts))
}

/// A walk backward over the files of a lane.
struct Walk<'a> {
    wanted: Wanted<'a>,
    stop: &'a CancellationToken,
    segment: usize,
    walk: Option<Backward>,
    /// The lines taken so far begin here: file and offset.
    start: (usize, u64),
    /// The line before them.
    candidate: Option<(usize, u64)>,
}

impl<'a> Walk<'a> {
    fn of(lane: &Lane, wanted: Wanted<'a>, stop: &'a CancellationToken) -> Result<Self, FileError> {
        let segment = lane.segments.len().saturating_sub(1);
        let start = (segment, 0);
        let mut this = Self { wanted, stop, segment, walk: None, start, candidate: None };
        if let Some(last) = lane.segments.back() {
            let walk = this.enter(last)?;
            this.start.1 = walk.position();
            this.walk = Some(walk);
        }
        Ok(this)
    }

    fn enter(&self, segment: &Segment) -> Result<Backward, FileError> {
        let floor = self.wanted.since.map_or(Ok(0), |since| segment.offset_of(since))?;
        segment.backward(floor)
    }

    /// Finds the line before; says by when it was written.
    fn step(&mut self, lane: &Lane) -> Result<Option<Wall>, FileError> {
        self.candidate = None;
        while let Some(walk) = &mut self.walk {
            // Where nothing matches, this goes over everything there is.
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            let segment = &lane.segments[self.segment];
            let end = walk.position();
            if let Some((start, wall)) = segment.step_back(walk)? {
                let matches = match self.wanted.grep {
                    Some(grep) => {
                        segment.any_piece(walk, start..end, |piece| grep.is_match(piece))?
                    }
                    None => true,
                };
                if matches {
                    self.candidate = Some((self.segment, start));
                    return Ok(Some(wall));
                }
                continue;
            }
            if self.segment == 0 {
                self.walk = None;
                break;
            }
            self.segment -= 1;
            self.walk = Some(self.enter(&lane.segments[self.segment])?);
        }
        Ok(None)
    }

    fn take(&mut self) {
        self.start = self.candidate.unwrap_or(self.start);
    }
}
