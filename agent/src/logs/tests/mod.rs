//! The logs as the runtime uses them, on real files.

mod follow;
mod keep;
mod read;
mod survive;

use groundcrew_core::time::Wall;

use super::files::LogFiles;
use super::index::Index;
use super::reader::{LogLine, LogQuery, LogStream, Merge};
use super::testing::{append, opened, process, scratch};
use super::watch::Happened;
use super::{LogLimits, Logs, Stream, sparse};
use camino::Utf8Path;

/// All lines of a query that does not follow.
fn read(files: &LogFiles, query: LogQuery) -> Vec<LogLine> {
    let mut merge = Merge::new(files.clone(), query, None);
    let mut lines = Vec::new();
    let mut happened = Happened { names: true, ..Happened::default() };
    loop {
        let Some(batch) = merge.batch(&happened) else { return lines };
        happened.names = false;
        lines.extend(batch.into_iter().map(Result::unwrap));
    }
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.line.as_str()).collect()
}

fn everything() -> LogQuery {
    LogQuery { since: Some(Wall(0)), ..LogQuery::default() }
}

fn tail(lines: usize) -> LogQuery {
    LogQuery { tail_lines: Some(lines), ..LogQuery::default() }
}

/// Notes that the file has all it has by `wall`.
fn mark(log: &Utf8Path, wall: i64) {
    let size = std::fs::metadata(log).unwrap().len();
    let known = super::index::Marks::read(log, size).end();
    let mut index = Index::open(log, known, Wall(wall)).unwrap();
    index.mark(Wall(wall), size).unwrap();
}

fn punch(log: &Utf8Path, length: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(log).unwrap();
    sparse::punch(&file, 0, length).unwrap();
}

async fn next(stream: &mut LogStream) -> LogLine {
    let wait = std::time::Duration::from_secs(20);
    tokio::time::timeout(wait, stream.next()).await.expect("a line").expect("open").unwrap()
}
