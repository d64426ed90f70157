//! Whole lives of a directory of logs, at random: whoever writes, rotates, copies, compresses,
//! removes, against an agent that looks, reads and is replaced. A model knows every line.
//!
//! Each line that the agent could have read is shipped exactly once, and those of one content in
//! order. Lost may be, and nothing else: lines written between a copy and the truncation; the rest
//! of a file that was removed while no agent held it; a file that was compressed before any agent
//! had seen a line of it; and where the rule does not match rotated files, those that were rotated
//! before any agent had seen a line of them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// The application writes so many lines, each so long.
    Append(usize, usize),
    /// logrotate with `create`, or without when `false`.
    Rename(bool),
    /// logrotate with `copytruncate`; so many lines are written in between.
    CopyTruncate(usize),
    /// The newest rotated file is compressed.
    Compress,
    /// The file is removed.
    Remove,
    Scan,
    /// The agent reads so many lines of each file; they and those before are accepted.
    Read(usize),
    /// The agent reads so many lines of each file, which nobody has accepted yet.
    Take(usize),
    Restart,
    /// So many seconds pass.
    Pass(u64),
}

/// What one file was given, until it was truncated or replaced.
#[derive(Debug, Default, Clone)]
struct Content {
    lines: Vec<usize>,
    /// Lines that need not be shipped.
    excused: BTreeSet<usize>,
    /// An agent has seen it with a line in it.
    known: bool,
    /// It is open in the agent that runs.
    held: bool,
    removed: bool,
}

struct Life {
    world: World,
    rotated_match: bool,
    contents: Vec<Content>,
    /// Which content each file has, newest rotation first.
    live: Option<usize>,
    rotated: Vec<(usize, bool)>,
    next: usize,
}

impl Life {
    fn new(rotated_match: bool) -> Self {
        let pattern = if rotated_match { "app.log*" } else { "app.log" };
        let world = World::new(&[pattern]);
        let (contents, rotated) = (Vec::new(), Vec::new());
        Self { world, rotated_match, contents, live: None, rotated, next: 0 }
    }

    fn append(&mut self, lines: usize, length: usize) {
        let live = *self.live.get_or_insert_with(|| {
            self.contents.push(Content::default());
            self.contents.len() - 1
        });
        self.world.write_raw("app.log", "");
        for _ in 0..lines {
            let line = format!("{}:{}", self.next, "x".repeat(length));
            self.world.write("app.log", &[&line]);
            self.contents[live].lines.push(self.next);
            self.next += 1;
        }
    }

    /// Makes room for `app.log.1`.
    fn shift(&self) {
        for (at, (_, compressed)) in self.rotated.iter().enumerate().rev() {
            let suffix = if *compressed { ".gz" } else { "" };
            let name = |number: usize| format!("app.log.{number}{suffix}");
            self.world.rename(&name(at + 1), &name(at + 2));
        }
    }

    fn rename(&mut self, create: bool) {
        let Some(live) = self.live.take() else { return };
        self.shift();
        self.world.rename("app.log", "app.log.1");
        self.rotated.insert(0, (live, false));
        self.unseen_is_excused(live, self.rotated_match);
        if create {
            self.append(0, 0);
        }
    }

    fn copy_truncate(&mut self, between: usize) {
        let Some(live) = self.live else { return };
        self.shift();
        self.world.copy("app.log", "app.log.1");
        let copied = self.contents[live].lines.len();
        self.append(between, 3);
        self.world.truncate("app.log");
        self.rotated.insert(0, (live, false));
        let content = &mut self.contents[live];
        content.excused.extend(content.lines[copied..].iter().copied());
        content.held = false;
        self.unseen_is_excused(live, self.rotated_match);
        self.contents.push(Content::default());
        self.live = Some(self.contents.len() - 1);
    }

    fn compress(&mut self) {
        let Some((content, compressed)) = self.rotated.first_mut() else { return };
        if std::mem::replace(compressed, true) {
            return;
        }
        let content = *content;
        self.world.gzip("app.log.1");
        self.unseen_is_excused(content, false);
    }

    fn remove(&mut self) {
        let Some(live) = self.live.take() else { return };
        self.world.remove("app.log");
        let content = &mut self.contents[live];
        content.removed = true;
        if !content.held {
            content.excused.extend(&content.lines);
        }
    }

    fn restart(&mut self) {
        self.world.restart();
        for content in &mut self.contents {
            content.held = false;
            if content.removed {
                content.excused.extend(&content.lines);
            }
        }
        for (content, compressed) in self.rotated.clone() {
            self.unseen_is_excused(content, !compressed);
        }
    }

    /// A content moves where only an agent that knows it finds it.
    fn unseen_is_excused(&mut self, content: usize, reachable: bool) {
        let content = &mut self.contents[content];
        if !reachable && !content.held && !content.known {
            content.excused.extend(&content.lines);
        }
    }

    fn scan(&mut self) {
        self.world.scan();
        let visible = self.rotated.iter().filter(|(_, compressed)| !compressed);
        let rotated: Vec<usize> = visible.map(|(content, _)| *content).collect();
        let live = self.live.into_iter();
        let reachable = if self.rotated_match { rotated } else { Vec::new() };
        for content in live.chain(reachable) {
            let content = &mut self.contents[content];
            content.held = true;
            content.known |= !content.lines.is_empty();
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append(lines, length) => self.append(lines, length),
            Step::Rename(create) => self.rename(create),
            Step::CopyTruncate(between) => self.copy_truncate(between),
            Step::Compress => self.compress(),
            Step::Remove => self.remove(),
            Step::Scan => self.scan(),
            Step::Read(lines) => self.world.read(lines),
            Step::Take(lines) => self.world.take_lines(lines),
            Step::Restart => self.restart(),
            Step::Pass(seconds) => self.world.pass(Duration::from_secs(seconds)),
        }
    }

    fn check(&mut self) {
        self.world.settle();
        let number = |line: &String| line.split(':').next().unwrap().parse::<usize>().unwrap();
        let shipped: Vec<usize> = self.world.shipped.iter().map(number).collect();
        let once: BTreeSet<usize> = shipped.iter().copied().collect();
        assert_eq!(once.len(), shipped.len(), "none twice: {shipped:?}");
        for content in &self.contents {
            let lines: BTreeSet<&usize> = content.lines.iter().collect();
            let order = shipped.iter().filter(|line| lines.contains(line));
            assert!(order.is_sorted(), "in order: {shipped:?}");
            for line in content.lines.iter().filter(|line| !content.excused.contains(line)) {
                assert!(once.contains(line), "line {line} was not shipped: {shipped:?}");
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..4usize, prop_oneof![0..40usize, 300..600usize])
            .prop_map(|(lines, length)| Step::Append(lines, length)),
        2 => any::<bool>().prop_map(Step::Rename),
        2 => (0..3usize).prop_map(Step::CopyTruncate),
        1 => Just(Step::Compress),
        1 => Just(Step::Remove),
        4 => Just(Step::Scan),
        3 => (1..5usize).prop_map(Step::Read),
        2 => (1..5usize).prop_map(Step::Take),
        1 => Just(Step::Restart),
        1 => (1..40u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..40)
}

fn check(rotated_match: bool, steps: &[Step]) {
    let mut life = Life::new(rotated_match);
    for step in steps {
        life.step(step);
    }
    life.check();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_line_is_shipped_once(rotated_match in any::<bool>(), steps in steps()) {
        check(rotated_match, &steps);
    }
}
