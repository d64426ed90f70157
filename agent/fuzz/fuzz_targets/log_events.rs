//! The lines of a log, from any bytes.
#![no_main]

use std::sync::LazyLock;

use groundcrew::logs::events::{Clock, Grouping, Redactor, is_emf};
use groundcrew_core::logs::{Multiline, level};

static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| {
    Redactor::new(&["(?i)at \\S+".to_owned()], &["s3cr3t-1".to_owned()]).expect("good patterns")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut clock = Clock::default();
    let mut scratch = Vec::new();
    for multiline in [Multiline::Traces, Multiline::Timestamp, Multiline::Indent] {
        let mut grouper = Grouping::new(&multiline).expect("no pattern").grouper();
        for line in bytes.split(|byte| *byte == b'\n') {
            let may = grouper.may_go_on();
            let joined = grouper.joins(line);
            assert!(may || !joined, "what cannot go on does not");
            if !joined {
                grouper.begin(line);
            }
            assert!(clock.find(line).is_none_or(|ms| ms >= 0), "no time before 1970");
            assert_eq!(Clock::default().find(line), clock.find(line), "remembered");
            assert!(!is_emf(line) || line.trim_ascii_start().starts_with(b"{"));
            assert!(level(line).is_none() || !line.is_empty());
            let redacted = REDACTOR.apply(line, &mut scratch);
            assert!(!redacted.windows(8).any(|window| window == b"s3cr3t-1"), "a secret");
        }
    }
});
