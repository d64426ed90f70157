//! Followers: what is written later, restarts, new generations, files that go.

use std::fs;

use tokio_util::sync::CancellationToken;

use super::*;

fn start(files: &LogFiles) -> Logs {
    Logs::start(files.clone(), LogLimits::default(), &CancellationToken::new()).unwrap()
}

fn following() -> LogQuery {
    LogQuery { follow: true, ..LogQuery::default() }
}

#[tokio::test]
async fn lines_appear_as_they_are_written_and_unfinished_ones_wait() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    append(&log, "old\nunfin");
    let logs = start(&files);
    let mut stream = logs.read(following()).unwrap();
    assert_eq!(next(&mut stream).await.line, "old");
    append(&log, "ished");
    append(&log, " line\nnext\n");
    assert_eq!(next(&mut stream).await.line, "unfinished line");
    assert_eq!(next(&mut stream).await.line, "next");
    for line in 0..500 {
        append(&log, format!("{line}\n"));
        assert_eq!(next(&mut stream).await.line, line.to_string());
    }
    logs.shutdown().await;
    assert!(stream.next().await.is_none(), "ends with the agent");
}

#[tokio::test]
async fn a_tail_of_nothing_starts_at_the_unfinished_line() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    append(&log, "old\nunfin");
    let (watches, events) = super::super::watch::watch().unwrap();
    let query = LogQuery { tail_lines: Some(0), ..following() };
    let mut merge = Merge::new(files, query, Some(watches));
    let first = Happened { names: true, ..Happened::default() };
    assert!(merge.batch(&first).is_none());
    append(&log, "ished\n");
    let batch = merge.batch(&events.next().await.unwrap()).unwrap();
    assert_eq!(
        batch.into_iter().map(|line| line.unwrap().line).collect::<Vec<_>>(),
        ["unfinished"]
    );
}

#[tokio::test]
async fn new_processes_generations_and_tiers_are_followed() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let logs = start(&files);
    let mut all = logs.read(following()).unwrap();
    let mut web =
        logs.read(LogQuery { tier: Some("web".parse().unwrap()), ..following() }).unwrap();
    let mut second = LogQuery { process: Some(process("web.2.1")), ..following() };
    second.tail_lines = Some(10);
    let mut second = logs.read(second).unwrap();
    for id in ["web.1.1", "api.1.1", "web.2.1"] {
        let paths = files.paths(&process(id)).unwrap();
        append(&paths.stdout, format!("{id} out\n"));
        append(&paths.stdout, format!("{id} again\n"));
        for text in ["out", "again"] {
            let line = next(&mut all).await;
            assert_eq!((line.process.to_string(), line.line), (id.into(), format!("{id} {text}")));
        }
    }
    for expected in ["web.1.1 out", "web.1.1 again", "web.2.1 out", "web.2.1 again"] {
        assert_eq!(next(&mut web).await.line, expected);
    }
    assert_eq!(next(&mut second).await.line, "web.2.1 out");
    logs.shutdown().await;
}

#[tokio::test]
async fn a_busy_file_does_not_keep_a_new_one_waiting() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let busy = files.paths(&process("web.1.1")).unwrap().stdout;
    let logs = start(&files);
    let mut stream = logs.read(LogQuery { since: Some(Wall(0)), ..following() }).unwrap();
    append(&busy, "x\n".repeat(10_000));
    assert_eq!(next(&mut stream).await.line, "x");
    append(&files.paths(&process("api.1.1")).unwrap().stdout, "hello\n");
    let mut read = 0;
    while next(&mut stream).await.line != "hello" {
        // As much again for each line taken: this never comes to an end by itself.
        append(&busy, "x\n");
        read += 1;
        assert!(read < 100_000, "the other file is never read");
    }
    logs.shutdown().await;
}

#[tokio::test]
async fn a_removed_file_is_read_to_its_end() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    let other = files.paths(&process("web.1.2")).unwrap().stdout;
    append(&log, "a\n");
    let logs = start(&files);
    let mut stream = logs.read(following()).unwrap();
    assert_eq!(next(&mut stream).await.line, "a");
    append(&log, "b\nlast words");
    fs::remove_file(&log).unwrap();
    assert_eq!(next(&mut stream).await.line, "b");
    assert_eq!(next(&mut stream).await.line, "last words");
    append(&other, "goes on\n");
    assert_eq!(next(&mut stream).await.line, "goes on");
    logs.shutdown().await;
}

#[tokio::test]
async fn a_log_that_its_process_cut_off_is_read_from_its_beginning() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    append(&log, "a long line of old\n");
    let logs = start(&files);
    let mut stream = logs.read(following()).unwrap();
    assert_eq!(next(&mut stream).await.line, "a long line of old");
    opened(&log).set_len(0).unwrap();
    append(&log, "new\n");
    assert_eq!(next(&mut stream).await.line, "new");
    logs.shutdown().await;
}

#[tokio::test]
async fn a_slow_consumer_stops_its_own_reader_only() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    let logs = start(&files);
    let slow = logs.read(LogQuery { since: Some(Wall(0)), ..following() }).unwrap();
    let mut quick = logs.read(LogQuery { since: Some(Wall(0)), ..following() }).unwrap();
    append(&log, format!("{}\n", "x".repeat(60_000)).repeat(300));
    for _ in 0..300 {
        assert_eq!(next(&mut quick).await.line.len(), 60_000);
    }
    assert!(slow.waiting() <= super::super::limits::QUEUE_LINES);
    drop(slow);
    logs.shutdown().await;
}

#[tokio::test]
async fn readers_have_a_limit_and_a_dropped_one_makes_room() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let logs = start(&files);
    let mut open: Vec<_> =
        (0..super::super::READERS_MAX).map(|_| logs.read(following()).unwrap()).collect();
    assert!(logs.read(following()).unwrap_err().to_string().contains("open already"));
    open.pop();
    let waiting = async {
        while logs.read(LogQuery::default()).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.unwrap();
    logs.shutdown().await;
}

#[tokio::test]
async fn a_follower_with_a_pattern_gets_what_matches_later() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    append(&log, "miss\nhit 1\nmiss\n");
    let logs = start(&files);
    let query = LogQuery { grep: Some("^hit".parse().unwrap()), ..following() };
    let mut stream = logs.read(query).unwrap();
    assert_eq!(next(&mut stream).await.line, "hit 1");
    // More than one batch without a match.
    append(&log, format!("{}\n", "miss ".repeat(100)).repeat(2000));
    append(&log, "hit 2\nmi");
    assert_eq!(next(&mut stream).await.line, "hit 2");
    append(&log, "ss\nhit 3\n");
    assert_eq!(next(&mut stream).await.line, "hit 3");
    logs.shutdown().await;
    assert!(stream.next().await.is_none());
}

#[test]
fn a_search_for_the_last_lines_can_be_stopped() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    append(&files.paths(&process("web.1.1")).unwrap().stdout, "hit\n");
    let query = LogQuery { grep: Some("hit".parse().unwrap()), ..LogQuery::default() };
    let mut merge = Merge::new(files, query, None);
    merge.stop.cancel();
    let first = Happened { names: true, ..Happened::default() };
    assert!(merge.batch(&first).is_none(), "not all of it, for want of a beginning");
}
