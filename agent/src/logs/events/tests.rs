//! Lines as programs really print them, and the events that they are. The traces are those of
//! Node 20, Python 3.11, Java 17 and Go 1.22, with fewer frames.

use groundcrew_core::logs::limits::{GROUPED_BYTES_MAX, GROUPED_LINES_MAX};
use groundcrew_core::logs::{Multiline, level};
use proptest::prelude::*;

use super::{Clock, Grouping, Redactor, is_emf};

const NODE: [&str; 8] = [
    "/app/x.js:2
    return input.user.name;
                      ^

TypeError: Cannot read properties of undefined (reading 'name')
    at handler (/app/x.js:2:23)
    at Object.<anonymous> (/app/x.js:4:1)
    at Module._extensions..js (node:internal/modules/cjs/loader:1623:10)
    at Function.executeUserEntryPoint [as runMain] (node:internal/modules/run_main:164:12)
    at node:internal/main/run_main_module:28:49

Node.js v20.20.2",
    "Error: could not load user
    at Object.<anonymous> (/app/cause.js:2:13)
    ... 4 lines matching cause stack trace ...
    at node:internal/main/run_main_module:28:49 {
  [cause]: Error: connect ECONNREFUSED 127.0.0.1:5432
      at connect (/app/cause.js:1:32)
      at node:internal/main/run_main_module:28:49 {
    code: 'ECONNREFUSED',
    errno: -111
  }
}",
    "AggregateError: All promises were rejected
    at async Promise.any (index 0)
    at async file:///app/main.mjs:5:15 {
  [errors]: [
    Error: a
        at Object.<anonymous> (/app/cause.js:5:35)
        at node:internal/main/run_main_module:28:49,
    TypeError: b
        at node:internal/main/run_main_module:28:49
  ]
}",
    "[Error: ENOENT: no such file or directory, open '/x'] {
  errno: -2,
  code: 'ENOENT',
  syscall: 'open'
}",
    "node:internal/process/promises:389
      new UnhandledPromiseRejection(reason);
      ^

UnhandledPromiseRejection: This error originated either by throwing inside of an async function
    at throwUnhandledRejectionsMode (node:internal/process/promises:389:7)
    at process.processTicksAndRejections (node:internal/process/task_queues:96:32) {
  code: 'ERR_UNHANDLED_REJECTION'
}

Node.js v20.20.2",
    "node:events:502
      throw er; // Unhandled 'error' event
      ^

Error: listen EADDRINUSE: address already in use :::45991
    at Server.setupListenHandle [as _listen2] (node:net:1908:16)
Emitted 'error' event on Server instance at:
    at emitErrorNT (node:net:1944:8) {
  code: 'EADDRINUSE',
  port: 45991
}

Node.js v20.20.2",
    "node:assert:90
  throw new AssertionError(obj);
  ^

AssertionError [ERR_ASSERTION]: Expected values to be strictly equal:

1 !== 2

    at Object.<anonymous> (/app/assert.js:1:19) {
  generatedMessage: true,
  code: 'ERR_ASSERTION'
}

Node.js v20.20.2",
    "/app/str.js:1
throw \"just a string\"
^
just a string
(Use `node --trace-uncaught ...` to show where the exception was thrown)

Node.js v20.20.2",
];

const PYTHON: [&str; 4] = [
    "Traceback (most recent call last):
  File \"/app/chain.py\", line 6, in <module>
    load('user')
    return {}[k]
           ~~^^^
KeyError: 'user'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File \"/app/chain.py\", line 8, in <module>
    int('x')
ValueError: invalid literal for int() with base 10: 'x'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File \"/app/chain.py\", line 14, in <module>
    {'raise': RuntimeError(\"could not load\")}
  [Previous line repeated 996 more times]
RuntimeError: could not load",
    "  + Exception Group Traceback (most recent call last):
  |   File \"/app/grp.py\", line 7, in <module>
  | ExceptionGroup: many (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    | ValueError: x
    +---------------- 2 ----------------
    | TypeError: x
    +------------------------------------",
    "  File \"/app/syn.py\", line 1
    print(\"a\" \"b
              ^
SyntaxError: unterminated string literal (detected at line 1)",
    "Exception in thread Thread-1 (f):
Traceback (most recent call last):
  File \"/app/thr.py\", line 2, in f
ZeroDivisionError: division by zero",
];

const JAVA: [&str; 3] = [
    "Exception in thread \"main\" java.lang.RuntimeException: could not load user
\tat App.outer(App.java:4)
\tat java.base/java.lang.Thread.run(Thread.java:840)
\tSuppressed: java.io.IOException: close failed
\t\t... 2 more
Caused by: java.lang.IllegalStateException: no connection
\tat jdk.internal.reflect.DirectMethodHandleAccessor.invoke(Unknown Source)
\t... 12 more",
    "SEVERE: request failed
java.lang.IllegalStateException: no connection
\tat App.inner(App.java:3)
\t... 2 common frames omitted",
    "com.acme.OrderException: no such order
\tat com.acme.Orders$1.get(Orders.java:12) ~[app.jar:1.0]
\tat com.acme.Orders.native0(Native Method) [app.jar!/:na]
\tat com.acme.Orders.stripped(Orders.java)",
];

const GO: [&str; 1] = ["panic: runtime error: index out of range [5] with length 3

goroutine 1 [running]:
main.handle({0xc000012345, 0x3, 0x3}, 0x5)
\t/app/main.go:12 +0x1d
created by main.main in goroutine 1
\t/app/main.go:7 +0x17

goroutine 7 [select]:
main.wait(...)
\t/app/main.go:30
exit status 2"];

/// Lines that stand alone, indented or not.
const ALONE: [&str; 12] = [
    "listening on 3000",
    "    at: home",
    "    at the door (left)",
    "  steps:",
    "\t- run: x",
    "}",
    "{",
    "  \"pretty\": 1",
    r#"{"time":"2026-08-22T10:00:01.123Z","level":"error","msg":"x"}"#,
    r#"    {"indented":"object"}"#,
    "2026-08-22T10:00:01.123Z INFO hello",
    "/app/x.js",
];

fn events(multiline: &Multiline, lines: &[&str]) -> Vec<String> {
    let mut grouper = Grouping::new(multiline).unwrap().grouper();
    let mut events: Vec<String> = Vec::new();
    for line in lines {
        match events.last_mut() {
            Some(event) if grouper.joins(line.as_bytes()) => {
                event.push('\n');
                event.push_str(line);
            }
            _ => {
                grouper.begin(line.as_bytes());
                events.push((*line).to_owned());
            }
        }
    }
    events
}

#[track_caller]
fn check(multiline: &Multiline, expected: &[&str]) {
    let lines: Vec<&str> = expected.iter().flat_map(|event| event.split('\n')).collect();
    assert_eq!(events(multiline, &lines), expected);
}

fn traces() -> Vec<&'static str> {
    [&NODE[..], &PYTHON, &JAVA, &GO].concat()
}

#[test]
fn a_trace_is_one_event() {
    for trace in traces() {
        check(&Multiline::Traces, &["before", trace, "after", "  indented"]);
        check(&Multiline::Traces, &[ALONE[8], trace, ALONE[8], ALONE[10]]);
        let with_returns: Vec<String> = trace.split('\n').map(|line| format!("{line}\r")).collect();
        check(&Multiline::Traces, &["before\r", &with_returns.join("\n"), "after\r"]);
    }
}

#[test]
fn a_trace_joins_a_line_that_says_that_something_failed() {
    let failed = "ERROR:root:request failed";
    check(&Multiline::Traces, &[&format!("{failed}\n{}", PYTHON[0]), "after"]);
    check(&Multiline::Traces, &[&format!("{failed}\n{}", PYTHON[1]), "after"]);
    check(&Multiline::Traces, &[&format!("{failed}\n{}", JAVA[2]), "after"]);
    check(&Multiline::Traces, &["INFO:root:fine", PYTHON[0], "INFO fine", JAVA[2]]);
    check(&Multiline::Traces, &["request failed: MyProblem: x\n    at f (/app/x.js:1:2)", "b"]);
    check(
        &Multiline::Traces,
        &["(node:1) Warning: x\n(Use `node --trace-warnings ...` to show where)", "b"],
    );
}

#[test]
fn what_does_not_belong_to_a_trace_stands_alone() {
    check(&Multiline::Traces, &ALONE);
    check(&Multiline::Traces, &["Error: a", "Error: b", "", "java.lang.Error: c"]);
    check(&Multiline::Traces, &["ERROR x", "  indented", "ERROR y", "", "text"]);
    check(&Multiline::Traces, &["/app/x.js:2", ALONE[8], "/app/x.js:2\nno carets", "  under it"]);
    check(&Multiline::Traces, &["Traceback (most recent call last):\n  x", ALONE[8], "E: x"]);
    check(&Multiline::Traces, &[&format!("{}\n", PYTHON[3]), "not a chain"]);
    check(&Multiline::Traces, &[JAVA[0], "", "  indented", "    at: home"]);
    check(&Multiline::Traces, &["panic: x\n", "no goroutine"]);
    check(&Multiline::Traces, &["text", "Caused by: nothing", "Suppressed: x"]);
}

#[test]
fn the_other_rules() {
    check(&Multiline::Off, &["Error: x", "    at f (/app/x.js:1:2)", "{}"]);
    check(&Multiline::Indent, &["a\n  b\n\tc", "d", "", r#"{"a":1}"#, "  e\n f"]);
    let json = r#"{"a":1}"#;
    check(
        &Multiline::Timestamp,
        &["a\n\nb", "2026-08-22 10:00:01 c\n  d\ne", "Aug 22 10:00:01 f", json, "g\nh", json],
    );
    let pattern = Multiline::Pattern("^(#|\\{)".to_owned());
    check(&pattern, &["a\nb", "# c\nd\n", "{}\ne"]);
    assert!(Grouping::new(&Multiline::Pattern("(".to_owned())).is_err());
}

#[test]
fn only_what_may_go_on_says_so() {
    let check = |multiline: &Multiline, event: &str, expected: bool| {
        let mut grouper = Grouping::new(multiline).unwrap().grouper();
        let mut lines = event.split('\n');
        grouper.begin(lines.next().unwrap().as_bytes());
        assert!(lines.all(|line| grouper.may_go_on() && grouper.joins(line.as_bytes())));
        assert_eq!(grouper.may_go_on(), expected, "{event}");
    };
    check(&Multiline::Traces, "text", true);
    check(&Multiline::Traces, PYTHON[0], true);
    check(&Multiline::Traces, NODE[0], false);
    for multiline in [Multiline::Traces, Multiline::Timestamp, Multiline::Indent] {
        check(&multiline, r#"{"a":1}"#, false);
    }
    check(&Multiline::Off, "text", false);
}

#[test]
fn an_event_is_bounded() {
    let mut grouper = Grouping::new(&Multiline::Timestamp).unwrap().grouper();
    grouper.begin(b"a");
    assert!((1..GROUPED_LINES_MAX).all(|_| grouper.may_go_on() && grouper.joins(b" ")));
    assert!(!grouper.may_go_on() && !grouper.joins(b" "));
    let line = vec![b' '; GROUPED_BYTES_MAX / 2 - 1];
    grouper.begin(&line);
    assert!(grouper.joins(&line) && grouper.may_go_on());
    assert!(!grouper.clone().joins(b" ") && grouper.joins(b""));
    assert!(!grouper.may_go_on() && !grouper.joins(b""));
    grouper.begin(&vec![b'x'; GROUPED_BYTES_MAX + 1]);
    assert!(!grouper.may_go_on());
}

/// What the fuzz target does with any bytes: nothing panics, and what is said about a line holds.
fn no_panic(bytes: &[u8], redactor: &Redactor) {
    let mut clock = Clock::default();
    let mut scratch = Vec::new();
    for multiline in [Multiline::Traces, Multiline::Timestamp, Multiline::Indent] {
        let mut grouper = Grouping::new(&multiline).unwrap().grouper();
        for line in bytes.split(|byte| *byte == b'\n') {
            let may = grouper.may_go_on();
            let joined = grouper.joins(line);
            assert!(may || !joined);
            if !joined {
                grouper.begin(line);
            }
            assert!(clock.find(line).is_none_or(|ms| ms >= 0));
            assert_eq!(Clock::default().find(line), clock.find(line));
            assert!(!is_emf(line) || line.trim_ascii_start().starts_with(b"{"));
            assert!(level(line).is_none() || !line.is_empty());
            let redacted = redactor.apply(line, &mut scratch);
            assert!(!redacted.windows(8).any(|window| window == b"s3cr3t-1"));
        }
    }
}

fn fuzzed_redactor() -> Redactor {
    Redactor::new(&["(?i)at \\S+".to_owned()], &["s3cr3t-1".to_owned()]).unwrap()
}

/// The fuzz target's function for a second: good lines with bytes changed, cut and doubled, from a
/// fixed seed.
#[test]
fn a_second_of_fuzzing() {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |below: usize| {
        // xorshift64: the same bytes on every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let seeds =
        [traces(), ALONE.to_vec(), vec!["a s3cr3t-1 b", r#"{"ts":1787392801.1,"_aws":{}}"#]];
    let (seeds, redactor) = (seeds.concat(), fuzzed_redactor());
    let end = crate::clock::at().plus(std::time::Duration::from_secs(1));
    while crate::clock::at() < end {
        let mut bytes = [seeds[next(seeds.len())], "\n", seeds[next(seeds.len())]].concat();
        let bytes = &mut std::mem::take(&mut bytes).into_bytes();
        for _ in 0..=next(8) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = b"\"{}[]():.,\\\n\r\t\0 -0T\x1b\xc3\xff"[next(21)],
                1 => drop(bytes.drain(at..bytes.len().min(at + next(30)))),
                2 => bytes.insert(at, b"\"{}[]():,\\\n "[next(12)]),
                _ => bytes.extend_from_within(at..bytes.len().min(at + 40)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        no_panic(bytes, &redactor);
    }
}

proptest! {
    #[test]
    fn events_in_any_order_stay_what_they_are(
        picked in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) {
        let all = [traces(), ALONE.to_vec()].concat();
        let picked: Vec<&str> = picked.iter().map(|index| *index.get(&all)).collect();
        let lines: Vec<&str> = picked.iter().flat_map(|event| event.split('\n')).collect();
        prop_assert_eq!(events(&Multiline::Traces, &lines), picked);
    }

    #[test]
    fn grouping_by_the_head_of_a_line_agrees_with_a_reference(
        picked in prop::collection::vec(prop::sample::select(vec![
            "a", "", " b", "\tc", "{}", " {}", "2026-08-22 10:00:01 d", "[10:00:01] e",
        ]), 1..40),
        indent in any::<bool>(),
    ) {
        let multiline = if indent { Multiline::Indent } else { Multiline::Timestamp };
        let mut expected: Vec<Vec<&str>> = Vec::new();
        for line in &picked {
            let begins = if indent {
                !line.starts_with([' ', '\t'])
            } else {
                line.contains("10:00:01") || line.contains("{}")
            };
            match expected.last_mut() {
                Some(event) if !begins && !event[0].contains("{}") => event.push(line),
                _ => expected.push(vec![line]),
            }
        }
        let expected: Vec<String> = expected.iter().map(|event| event.join("\n")).collect();
        prop_assert_eq!(events(&multiline, &picked), expected);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        no_panic(&bytes, &fuzzed_redactor());
    }
}
