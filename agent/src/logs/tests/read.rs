//! Queries over files as they are.

use super::*;

#[test]
fn nothing_there_is_no_lines() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    assert_eq!(read(&files, everything()), []);
    files.paths(&process("web.1.1")).unwrap();
    assert_eq!(read(&files, everything()), []);
    assert_eq!(read(&files, tail(5)), []);
}

#[test]
fn lines_of_all_files_come_in_the_order_of_their_marks() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let web = files.paths(&process("web.1.1")).unwrap();
    let api = files.paths(&process("api.1.1")).unwrap();
    for (log, text, wall) in [
        (&web.stdout, "w1\nw2\n", 1000),
        (&api.stdout, "a1\n", 2000),
        (&web.stderr, "e1\n", 3000),
        (&web.stdout, "w3\n", 4000),
        (&api.stdout, "a2\nno newline", 5000),
    ] {
        append(log, text);
        mark(log, wall);
    }
    let all = read(&files, everything());
    assert_eq!(texts(&all), ["w1", "w2", "a1", "e1", "w3", "a2", "no newline"]);
    let times: Vec<i64> = all.iter().map(|line| line.at.0).collect();
    assert_eq!(times, [1000, 1000, 2000, 3000, 4000, 5000, 5000]);
    assert_eq!((all[3].process.to_string().as_str(), all[3].stream), ("web.1.1", Stream::Stderr));

    for lines in 0..=8usize {
        let kept = all.len().saturating_sub(lines);
        assert_eq!(read(&files, tail(lines)), all[kept..], "the last {lines}");
    }
    let check = |query: LogQuery, expected: &[&str]| {
        assert_eq!(texts(&read(&files, query.clone())), expected, "{query:?}");
    };
    check(LogQuery::default(), &texts(&all));
    let web_only = LogQuery { tier: Some("web".parse().unwrap()), ..everything() };
    check(web_only, &["w1", "w2", "e1", "w3"]);
    let api_only = LogQuery { process: Some(process("api.1.1")), ..everything() };
    check(api_only.clone(), &["a1", "a2", "no newline"]);
    check(LogQuery { tier: Some("web".parse().unwrap()), ..api_only }, &[]);
    let since = |wall| LogQuery { since: Some(Wall(wall)), ..LogQuery::default() };
    check(since(2000), &["a1", "e1", "w3", "a2", "no newline"]);
    check(since(3001), &["w3", "a2", "no newline"]);
    check(LogQuery { tail_lines: Some(2), ..since(2000) }, &["a2", "no newline"]);
    check(LogQuery { tail_lines: Some(9), ..since(4000) }, &["w3", "a2", "no newline"]);
}

#[test]
fn a_line_that_a_mark_parts_belongs_to_what_came_after() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    append(&log, "one\ntw");
    mark(&log, 1000);
    append(&log, "o\nthree\n");
    mark(&log, 2000);
    let lines = read(&files, LogQuery { since: Some(Wall(1500)), ..LogQuery::default() });
    assert_eq!(texts(&lines), ["two", "three"]);
    assert_eq!(lines[0].at, Wall(2000));
}

#[test]
fn the_default_is_the_last_hundred_lines() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    // More than one chunk backward.
    for line in 0..5000 {
        append(&log, format!("{line} {}\n", "x".repeat(line % 1500)));
    }
    let lines = read(&files, LogQuery::default());
    assert_eq!(lines.len(), 100);
    assert!(lines[0].line.starts_with("4900 ") && lines[99].line.starts_with("4999 "));
    assert_eq!(read(&files, tail(4000)).len(), 4000);
    assert_eq!(read(&files, everything()).len(), 5000);
}

#[test]
fn what_is_no_text_is_shown_all_the_same() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    append(&log, b"\xff\xfe caf\xc3\xa9\n\0nul\n\n\r\n\xe2\x82");
    let lines = read(&files, everything());
    let expected = ["\u{fffd}\u{fffd} café", "\0nul", "", "\r", "\u{fffd}"];
    assert_eq!(texts(&lines), expected);
    assert_eq!(texts(&read(&files, tail(100))), expected);
}

#[test]
fn a_long_line_comes_in_pieces_that_part_no_character() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    let max = super::super::LINE_BYTES_MAX;
    let check = |line: &str, pieces: usize| {
        append(&log, format!("before\n{line}\nafter\n"));
        let lines = read(&files, tail(3));
        assert_eq!(lines.len(), pieces + 2, "{} bytes", line.len());
        assert_eq!((lines[0].line.as_str(), lines[pieces + 1].line.as_str()), ("before", "after"));
        let joined: String = lines[1..=pieces].iter().map(|piece| piece.line.as_str()).collect();
        assert!(joined == line, "{} bytes are whole again", line.len());
        let flags: Vec<bool> = lines[1..=pieces].iter().map(|piece| piece.truncated).collect();
        assert!(flags[..pieces - 1].iter().all(|truncated| *truncated) && !flags[pieces - 1]);
    };
    check(&"x".repeat(max - 1), 1);
    check(&"x".repeat(max), 1);
    check(&"x".repeat(max + 1), 2);
    check(&"x".repeat(max * 2), 2);
    check(&format!("x{}", "é".repeat(max)), 3);
    check(&"x".repeat(max * 20 + 7), 21);
}

#[test]
fn after_a_hole_reading_begins_with_the_first_whole_line() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    // 100 bytes a line: the block ends at 4096, within line 40.
    for line in 0..100 {
        append(&log, format!("{line:099}\n"));
    }
    punch(&log, 4096);
    let lines = read(&files, everything());
    assert_eq!((lines.len(), lines[0].line.parse::<u32>().unwrap()), (59, 41));
    assert_eq!(read(&files, tail(1000)), lines);
    punch(&log, 12288);
    assert_eq!(read(&files, everything()), []);
    assert_eq!(read(&files, tail(10)), []);
    append(&log, "more\n");
    assert_eq!(read(&files, tail(10)), [], "its beginning is not known to be one");
    append(&log, "and more\n");
    assert_eq!(texts(&read(&files, tail(10))), ["and more"]);
}

#[test]
fn a_file_of_terabytes_is_read_from_where_its_data_is() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    opened(&log).set_len(7 << 40).unwrap();
    append(&log, "\nfirst\nsecond\n");
    assert_eq!(texts(&read(&files, everything())), ["first", "second"]);
    assert_eq!(texts(&read(&files, tail(1))), ["second"]);
}

fn matching(pattern: &str, query: LogQuery) -> LogQuery {
    LogQuery { grep: Some(pattern.parse().unwrap()), ..query }
}

#[test]
fn the_last_lines_are_the_last_that_match() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let web = files.paths(&process("web.1.1")).unwrap().stdout;
    let api = files.paths(&process("api.1.1")).unwrap().stdout;
    // Lines of all lengths, over many chunks, some of them parted by the end of one.
    for line in 0..3000 {
        let kind = if line % 7 == 0 { "hit" } else { "miss" };
        let log = if line % 2 == 0 { &web } else { &api };
        append(log, format!("{kind} {line} {}\n", "x".repeat(line * 31 % 700)));
    }
    append(&web, "hit without an end");
    let all: Vec<_> = (read(&files, everything()).into_iter())
        .filter(|line| line.line.starts_with("hit"))
        .collect();
    assert_eq!(all.len(), 3000 / 7 + 2);
    assert_eq!(read(&files, matching("^hit", everything())), all);
    for lines in [0, 1, 2, 100, all.len() - 1, all.len(), 9999] {
        let kept = all.len().saturating_sub(lines);
        assert_eq!(read(&files, matching("^hit", tail(lines))), all[kept..], "the last {lines}");
    }
    assert_eq!(read(&files, matching("^hit", LogQuery::default())).len(), 100);
    assert_eq!(read(&files, matching("nowhere", LogQuery::default())), []);
    assert_eq!(read(&files, matching("nowhere", everything())), []);
}

#[test]
fn the_pieces_of_a_long_line_are_found_from_both_ends() {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let log = files.paths(&process("web.1.1")).unwrap().stdout;
    let max = super::super::LINE_BYTES_MAX;
    let pattern = "é+e?n?d?$";
    for length in [max - 4, max - 3, max - 2, max - 1, max, max + 1, 2 * max, 2 * max + 1] {
        append(&log, format!("{}éend\nother\n", "x".repeat(length)));
    }
    append(&log, format!("x{}", "é".repeat(max)));
    let forward = read(&files, matching(pattern, everything()));
    assert_eq!(forward.len(), 8 + 3, "of the last line each piece");
    assert_eq!(read(&files, matching(pattern, tail(9))), forward);
    assert_eq!(read(&files, matching(pattern, tail(1))), forward[8..]);
    assert_eq!(read(&files, matching(pattern, tail(2))), forward[7..]);
}
