//! Whatever is written in whatever pieces, with holes punched in between: the lines that survive
//! come whole, in order, none twice.

use proptest::prelude::*;

use super::super::segment::Segment;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// The next bytes of the log, so many.
    Write(usize),
    /// A hole over this share of what is there, in thousandths.
    Punch(u64),
    /// The follower reads so many lines.
    Read(usize),
}

fn steps() -> impl Strategy<Value = (Vec<usize>, Vec<Step>)> {
    let lengths = prop::collection::vec(prop_oneof![0..200usize, 0..9000usize], 1..80);
    let step = prop_oneof![
        4 => (1..20_000usize).prop_map(Step::Write),
        1 => (0..=1000u64).prop_map(Step::Punch),
        2 => (0..30usize).prop_map(Step::Read),
    ];
    (lengths, prop::collection::vec(step, 1..60))
}

fn number(line: &[u8]) -> usize {
    let text = std::str::from_utf8(line).unwrap();
    text.split(':').next().unwrap().parse().unwrap()
}

fn check(lengths: &[usize], steps: &[Step]) {
    let (_keep, state) = scratch();
    let files = LogFiles::new(&state);
    let path = files.paths(&process("web.1.1")).unwrap().stdout;
    let lines: Vec<String> = lengths
        .iter()
        .enumerate()
        .map(|(at, length)| format!("{at}:{}", "x".repeat(*length)))
        .collect();
    let content: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
    let starts: Vec<u64> = lines
        .iter()
        .scan(0, |start, line| Some(std::mem::replace(start, *start + line.len() as u64 + 1)))
        .collect();
    let mut log = LogFiles::list(&state.join("logs/web")).unwrap();
    let mut follower = Segment::open(log.swap_remove(0), true).unwrap().unwrap();
    let (mut written, mut hole) = (0, 0);
    let mut yielded: Vec<Vec<u8>> = Vec::new();
    for step in steps.iter().cloned().chain([Step::Write(usize::MAX), Step::Read(usize::MAX)]) {
        match step {
            Step::Write(bytes) => {
                let end = content.len().min(bytes.saturating_add(written));
                append(&path, &content[written..end]);
                written = end;
            }
            Step::Punch(share) => {
                let until = written as u64 * share / 1000 / 4096 * 4096;
                if until > hole {
                    punch(&path, until);
                    hole = until;
                }
            }
            Step::Read(count) => {
                for _ in 0..count {
                    let Some(line) = follower.next_line().unwrap() else { break };
                    yielded.push(line.bytes);
                }
            }
        }
    }
    let survivors: Vec<usize> =
        (0..lines.len()).filter(|at| hole == 0 || starts[*at] > hole).collect();
    let seen: Vec<usize> = yielded.iter().map(|line| number(line)).collect();
    assert!(seen.is_sorted_by(|a, b| a < b), "in order, none twice: {seen:?}");
    for line in &yielded {
        assert!(lines[number(line)].as_bytes() == line, "line {} is not whole", number(line));
    }
    for at in &survivors {
        assert!(seen.contains(at), "line {at} survived and was not read");
    }
    // Who comes only now sees exactly what survived, forward and backward.
    let numbers = |query| -> Vec<usize> {
        read(&files, query).iter().map(|line| number(line.line.as_bytes())).collect()
    };
    assert_eq!(numbers(everything()), survivors);
    for count in [0, 1, 7, 1000] {
        let kept = survivors.len().saturating_sub(count);
        assert_eq!(numbers(tail(count)), survivors[kept..], "the last {count}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn surviving_lines_come_whole_in_order_and_once((lengths, steps) in steps()) {
        check(&lengths, &steps);
    }
}

#[test]
fn a_hole_within_what_the_follower_was_reading_drops_that_line_only() {
    check(&[10, 9000, 10, 10], &[Step::Write(5000), Step::Read(9), Step::Punch(1000)]);
}

#[test]
fn holes_punched_while_it_reads_never_show_as_zeros_or_parts_of_lines() {
    const LINES: usize = 200_000;
    let (_keep, state) = scratch();
    let path = LogFiles::new(&state).paths(&process("web.1.1")).unwrap().stdout;
    let mut log = LogFiles::list(&state.join("logs/web")).unwrap();
    let mut follower = Segment::open(log.swap_remove(0), true).unwrap().unwrap();
    let text = |at: usize| format!("{at}:{}", "x".repeat(at % 150));
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            for batch in 0..LINES / 100 {
                let lines = (batch * 100..batch * 100 + 100).map(|at| text(at) + "\n");
                append(&path, lines.collect::<String>());
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                // Close behind the writer, so that the follower is overtaken.
                let size = std::fs::metadata(&path).unwrap().len();
                if size > 64 * 1024 {
                    punch(&path, (size - 64 * 1024) / 4096 * 4096);
                }
            }
        });
        let mut seen = Vec::new();
        while seen.last() != Some(&(LINES - 1)) {
            if let Some(line) = follower.next_line().unwrap() {
                let at = number(&line.bytes);
                assert!(text(at).as_bytes() == line.bytes, "line {at} is not whole");
                seen.push(at);
            }
        }
        seen
    });
    assert!(seen.is_sorted_by(|a, b| a < b), "in order, none twice");
}
