//! Lines that are no ordinary lines.

use super::*;

const LONG: usize = 10 << 20;

/// A program that prints each of the pieces, and the last one when it is told to end.
const ODD: &str = r"
'use strict';
const fs = require('node:fs');
const out = (bytes) => {
  for (let at = 0; at < bytes.length;) at += fs.writeSync(1, bytes, at);
};
out(Buffer.from('nul before\u0000nul after\n'));
const bad = Buffer.from([0xff, 0xc3]);
out(Buffer.concat([Buffer.from('bad before'), bad, Buffer.from('bad after\n')]));
out(Buffer.from('\n'));
out(Buffer.from(`${'y'.repeat(10 << 20)}\n`));
out(Buffer.from('crlf\r\n'));
out(Buffer.from('Error: first\n    at one (a.js:1:1)\n    at two (b.js:2:2)\n'));
out(Buffer.from('ordinary\n'));
process.on('SIGTERM', () => {
  out(Buffer.from('no newline at the end'));
  process.exit(0);
});
setInterval(() => {}, 1000);
";

#[test]
fn whatever_is_printed_arrives() {
    let endpoint = LogEndpoint::start_tls();
    endpoint.keep("odd");
    let world = world_of(&endpoint);
    let command: Vec<toml::Value> = vec!["node".into(), "odd.js".into()];
    let release = Release::new("v1")
        .file("odd.js", ODD.as_bytes())
        .set("tier.odd.command", command)
        .set("tier.odd.processes", 1)
        .set("tier.odd.stop", "5s");
    world.release(&release);
    let mut agent = Agent::start_with(&world, &to_cloudwatch(&[]));
    agent.wait_for_settled("v1");
    let messages = || -> Vec<String> {
        endpoint.kept().into_values().flatten().map(|(_, message)| message).collect()
    };
    wait_until(PAID_WITHIN, "the ordinary line behind the odd ones", || {
        let found = messages();
        let there = found.iter().any(|message| message == "ordinary");
        if there { Ok(()) } else { Err(found.iter().map(String::len).collect::<Vec<_>>()) }
    });
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(agent.wait(), Some(0), "{}", agent.log());
    let found = messages();
    let has = |wanted: &dyn Fn(&str) -> bool| found.iter().any(|message| wanted(message));
    assert!(has(&|m| m.starts_with("nul before") && m.ends_with("nul after")));
    assert!(has(&|m| m.starts_with("bad before\u{fffd}") && m.ends_with("\u{fffd}bad after")));
    assert!(has(&|m| m == "crlf" || m == "crlf\r"));
    let trace = "Error: first\n    at one (a.js:1:1)\n    at two (b.js:2:2)";
    assert!(has(&|m| m == trace), "the trace is not one event");
    assert!(has(&|m| m == "no newline at the end"), "the end of the process is missing");
    let long: usize = found.iter().map(|message| message.matches('y').count()).sum();
    assert!((LONG..LONG + 100).contains(&long), "{long} of {LONG} bytes");
    let counts = endpoint.counts();
    assert_eq!((counts.invalid, counts.too_old, counts.too_new), (0, 0, 0), "{counts:#?}");
}
