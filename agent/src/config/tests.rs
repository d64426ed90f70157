//! Bad files and exactly what is said about them; good files and what comes out.

use std::time::Duration;

use groundcrew_core::spec::{CrashMode, Handoff, ProcessCount};
use proptest::prelude::*;

use super::{HostConfig, HttpConfig, ParsedRelease, host, release};

mod backup;
mod http;
mod logs;
mod metrics;
mod notify;
mod statsd;
mod traces;

const HOST: &str = r#"
environment = "production"
source = "s3://acme-releases/shop"
tiers = ["web"]                       # which tiers of a release this host runs; default all
state_dir = "/var/lib/groundcrew"     # default
run_dir = "/run/groundcrew"           # default
[poll]
interval = "10s"                      # conditional GET, jittered
[releases]
keep = 3                              # on disk, current and previous never pruned
disk_max = "10 GiB"
[http]
listen = "127.0.0.1:9180"             # GET /ready (200 or 503), /metrics later
[tier.web]                            # overrides of what the release says
port = 8080
processes = 2
user = "app"
memory_max = "512 MiB"
env = { API_HOST = "http://api.internal" }
[logs]
group = "/groundcrew/{environment}"
retention_days = "never"
[[logs.file]]
path = "/var/log/nginx/*.log"
multiline = '^\d'
[[logs.journal]]
units = ["sshd.service"]
[logs.redact]
patterns = ['token=\w+']
[traces]
sample = "5%"
"#;

const RELEASE: &str = r#"
[tier.web]
command = ["node", "bin/www"]
port = 3000                           # omitted: a tier without a port, such as a queue worker
processes = "per-core"                # or a number
ready = { path = "/health", within = "60s", successes = 2 }
bleed = "30s"
stop = "10s"
env = { NODE_ENV = "production" }
handoff = "node"                      # node | listen-fds; default node when the command is node
logs = { rate_max = "5000/s", sample = { debug = "1%" } }
[trial]
for = "60s"
errors_max = "5%"                     # of requests, when the old release did better
"#;

const REQUIRED: &str = "environment = \"production\"\nsource = \"s3://acme-releases/shop\"\n";

fn parse_host(lines: &str) -> HostConfig {
    host::parse("groundcrew.toml", &format!("{REQUIRED}{lines}")).unwrap()
}

/// What is said about a host file whose first two lines are right.
fn bad_host(lines: &str) -> String {
    host::parse("groundcrew.toml", &format!("{REQUIRED}{lines}")).unwrap_err().to_string()
}

fn parse_release(text: &str) -> ParsedRelease {
    release::parse(text).unwrap()
}

fn bad_release(text: &str) -> String {
    release::parse(text).unwrap_err().to_string()
}

#[test]
fn the_usual_host_file() {
    let config = host::parse("groundcrew.toml", HOST).unwrap();
    assert_eq!(config.environment.as_str(), "production");
    assert_eq!(config.source.to_string(), "s3://acme-releases/shop");
    assert_eq!(config.tiers.as_ref().unwrap().len(), 1);
    assert_eq!(config.poll_interval, Duration::from_secs(10));
    assert_eq!((config.releases.keep, config.releases.disk_max), (3, 10 << 30));
    assert_eq!(config.http.listen.unwrap().to_string(), "127.0.0.1:9180");
    let web = &config.overrides[&"web".parse().unwrap()];
    assert_eq!((web.port, web.processes), (Some(8080), Some(ProcessCount::Exactly(2))));
    assert_eq!(web.host.user.as_deref(), Some("app"));
    assert_eq!(web.host.memory_max, Some(512 << 20));
    assert_eq!(web.env["API_HOST"], "http://api.internal");
    assert!(!format!("{config:?}").contains("api.internal"), "values may be secrets");
}

#[test]
fn a_host_file_of_two_lines_has_the_defaults() {
    let config = parse_host("");
    assert_eq!(config.tiers, None);
    assert_eq!(
        (config.state_dir.as_str(), config.run_dir.as_str()),
        (host::STATE_DIR, host::RUN_DIR)
    );
    assert_eq!(config.poll_interval, host::POLL_INTERVAL);
    assert_eq!((config.releases.keep, config.releases.disk_max), (host::KEEP, host::DISK_MAX));
    assert_eq!(config.http, HttpConfig::default());
    assert!(config.overrides.is_empty());
}

#[test]
fn cores_are_text_or_a_number() {
    for (text, milli) in [("\"1.5\"", 1500), ("1.5", 1500), ("2", 2000), ("\"0.25\"", 250)] {
        let config = parse_host(&format!("[tier.web]\ncpu_max = {text}\npids_max = 64\n"));
        let web = &config.overrides[&"web".parse().unwrap()].host;
        assert_eq!((web.cpu_max_milli, web.pids_max), (Some(milli), Some(64)), "{text}");
    }
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let said = host::parse("groundcrew.toml", "").unwrap_err().to_string();
    insta::assert_snapshot!(said, @r#"
    groundcrew.toml: environment: is missing; name one, such as environment = "production"
    groundcrew.toml: source: is missing; say where releases are, such as source = "s3://bucket/prefix"
    "#);
}

#[test]
fn unknown_keys_name_the_nearest_or_all() {
    let said = bad_host("enviroment = 1\n[pol]\ninterval = 1\n[tier.web]\nprocess = 2\nxyz = 1\n");
    insta::assert_snapshot!(said, @r"
    groundcrew.toml:3: enviroment: unknown key; did you mean environment?
    groundcrew.toml:4: pol: unknown key; did you mean poll?
    groundcrew.toml:7: tier.web.process: unknown key; did you mean processes?
    groundcrew.toml:8: tier.web.xyz: unknown key; the keys here are port, processes, user, memory_max, pids_max, cpu_max, env
    ");
}

#[test]
fn many_problems_are_reported_together_in_the_order_of_the_file() {
    let said = bad_host(
        r#"tiers = ["web", "Api", "web", 3]
state_dir = "var/lib"
run_dir = "/run/../x"
[poll]
interval = "500ms"
[releases]
keep = 1
disk_max = "10 gigabytes"
[http]
listen = "localhost:9180"
[tier.web]
port = 0
processes = "two"
user = "0"
memory_max = "512 MB of RAM"
pids_max = 3
cpu_max = "many"
env = { PORT = "1", LISTEN_PID = "1", GROUNDCREW_X = "1", "A=B" = "1", OK = "1", N = 7 }
[tier.Bad]
port = "8080"
"#,
    );
    insta::assert_snapshot!(said, @r#"
    groundcrew.toml:3: tiers[1]: tier "Api" may hold only lower-case letters, digits and -
    groundcrew.toml:3: tiers[2]: web is named twice
    groundcrew.toml:3: tiers[3]: found the number 3, wanted the name of a tier
    groundcrew.toml:4: state_dir: "var/lib" is not an absolute path
    groundcrew.toml:5: run_dir: "/run/../x" holds ".." or NUL
    groundcrew.toml:7: poll.interval: 500ms is not within 1s to 1h
    groundcrew.toml:9: releases.keep: 1 is not within 2 to 1000
    groundcrew.toml:10: releases.disk_max: "10 gigabytes" is not a size; write it like "512 MiB"
    groundcrew.toml:12: http.listen: "localhost:9180" is not an address and a port, such as "127.0.0.1:9180", or "none"
    groundcrew.toml:14: tier.web.port: 0 is not within 1 to 65535
    groundcrew.toml:15: tier.web.processes: found the string "two", wanted "per-core" or a number, 1 to 256
    groundcrew.toml:16: tier.web.user: 0 is a number; give the user's name
    groundcrew.toml:17: tier.web.memory_max: "512 MB of RAM" is not a size; write it like "512 MiB"
    groundcrew.toml:18: tier.web.pids_max: 3 is not within 16 to 4294967295
    groundcrew.toml:19: tier.web.cpu_max: "many" is not a number of cores; write it like "1.5" (cores)
    groundcrew.toml:20: tier.web.env.PORT: is reserved; the agent sets PORT from the tier's port: set port instead
    groundcrew.toml:20: tier.web.env.LISTEN_PID: is reserved; the agent sets LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES for the socket
    groundcrew.toml:20: tier.web.env.GROUNDCREW_X: is reserved; names that start with GROUNDCREW_ belong to the agent
    groundcrew.toml:20: tier.web.env."A=B": cannot be the name of a variable; it is empty or holds = or NUL
    groundcrew.toml:20: tier.web.env.N: found a value of type integer, wanted a string in quotes
    groundcrew.toml:21: tier.Bad: tier "Bad" may hold only lower-case letters, digits and -
    groundcrew.toml:22: tier.Bad.port: found the string "8080", wanted a whole number from 1 to 65535
    "#);
}

#[test]
fn wrong_types_say_what_was_found_and_what_was_wanted() {
    let said = bad_host(
        "tiers = \"web\"\nrun_dir = 3\npoll = 10\nreleases = { keep = \"3\", disk_max = 1.5 }\n\
         tier = { web = [], api = { env = [], processes = true, memory_max = 1979-05-27 } }\n",
    );
    insta::assert_snapshot!(said, @r#"
    groundcrew.toml:3: tiers: found the string "web", wanted an array of tier names, such as ["web"]
    groundcrew.toml:4: run_dir: found the number 3, wanted the path of a directory
    groundcrew.toml:5: poll: found the number 10, wanted a table
    groundcrew.toml:6: releases.keep: found the string "3", wanted a whole number from 2 to 1000
    groundcrew.toml:6: releases.disk_max: found the number 1.5, wanted a size, such as "512 MiB"
    groundcrew.toml:7: tier.web: found an array, wanted a table
    groundcrew.toml:7: tier.api.env: found an array, wanted a table of strings, such as { NODE_ENV = "production" }
    groundcrew.toml:7: tier.api.processes: found true, wanted "per-core" or a number, 1 to 256
    groundcrew.toml:7: tier.api.memory_max: found a date, wanted a size, such as "512 MiB"
    "#);
}

#[test]
fn what_contradicts_itself() {
    let check = |lines: &str| bad_host(lines);
    insta::assert_snapshot!(check("tiers = []\n"), @"groundcrew.toml:3: tiers: names no tier; leave it out to run all tiers of a release");
    insta::assert_snapshot!(check("tiers = [\"web\"]\n[tier.api]\nport = 1\n"), @"groundcrew.toml:4: tier.api: is not in tiers; add it there, or remove this table");
    insta::assert_snapshot!(check("[tier.a]\nport = 80\n[tier.b]\nport = 80\n"), @"groundcrew.toml:6: tier.b.port: port 80 is that of tier a too; each tier needs its own");
    insta::assert_snapshot!(
        check("[http]\nlisten = \"0.0.0.0:80\"\n[tier.a]\nport = 80\n"), @"groundcrew.toml:4: http.listen: port 80 is that of tier a too");
    insta::assert_snapshot!(check("state_dir = \"/run/groundcrew/state\"\n"), @"groundcrew.toml:3: state_dir: run_dir /run/groundcrew and state_dir /run/groundcrew/state overlap; state survives a reboot, sockets do not: keep them apart");
    let long = "x".repeat(60);
    insta::assert_snapshot!(check(&format!("run_dir = \"/run/{long}\"\n")), @r#"groundcrew.toml:3: run_dir: "/run/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"... is longer than 41 bytes; a unix socket's path has at most 107, and the names of processes follow"#);
    // With a short tier name alone the same directory fits.
    parse_host(&format!("tiers = [\"web\"]\nrun_dir = \"/run/{long}\"\n"));
}

#[test]
fn syntax_errors_have_the_same_form_and_quote_no_line() {
    let said = bad_host("[tier.web]\nenv = { TOKEN = \"hunter2 }\n[poll\ninterval == 1\n");
    assert!(!said.contains("hunter2"), "{said}");
    insta::assert_snapshot!(said, @r#"
    groundcrew.toml:4: invalid basic string, expected `"`
    groundcrew.toml:5: missing key for inline table element, expected `,`
    groundcrew.toml:6: unclosed inline table, expected `}`
    "#);
    insta::assert_snapshot!(bad_host("source = \"s3://other\"\n"), @"groundcrew.toml:3: duplicate key");
}

#[test]
fn no_value_of_a_variable_is_ever_shown() {
    for value in ["77777777", "[77777777]", "{ a = 77777777 }", "\"77777777\\u0000\"", "7777777.7"]
    {
        let said = bad_host(&format!("[tier.web]\nenv = {{ TOKEN = {value} }}\n"));
        assert!(said.contains("tier.web.env.TOKEN:") && !said.contains("7777777"), "{said}");
    }
}

#[test]
fn the_usual_release_file() {
    let ParsedRelease { spec, warnings } = parse_release(RELEASE);
    assert_eq!(warnings, []);
    let web = &spec.tiers[&"web".parse().unwrap()];
    assert_eq!(web.command, ["node", "bin/www"]);
    assert_eq!((web.port, web.processes), (Some(3000), ProcessCount::PerCore));
    assert_eq!(web.ready.path.as_deref(), Some("/health"));
    assert_eq!((web.ready.within, web.ready.successes), (Duration::from_mins(1), 2));
    assert_eq!((web.bleed, web.stop), (Duration::from_secs(30), Duration::from_secs(10)));
    assert_eq!(web.env["NODE_ENV"], "production");
    assert_eq!((web.handoff, web.crash), (Handoff::Node, CrashMode::Exit));
    assert_eq!((spec.trial.watch, spec.trial.errors_ppm_max), (Duration::from_mins(1), 50_000));
}

#[test]
fn a_release_without_details_has_the_defaults() {
    let spec = parse_release(
        "[tier.web]\ncommand = [\"node\", \"x\"]\nport = 3000\n\
         [tier.jobs]\ncommand = [\"bin/jobs\"]\n",
    )
    .spec;
    let web = &spec.tiers[&"web".parse().unwrap()];
    assert_eq!((web.processes, web.handoff), (ProcessCount::PerCore, Handoff::Node));
    assert_eq!((web.ready.path.as_deref(), web.ready.within), (None, release::READY_WITHIN));
    assert_eq!((web.ready.successes, web.crash), (release::READY_SUCCESSES, CrashMode::Exit));
    assert_eq!((web.bleed, web.stop), (release::BLEED, release::STOP));
    let jobs = &spec.tiers[&"jobs".parse().unwrap()];
    assert_eq!((jobs.port, jobs.processes), (None, ProcessCount::Exactly(1)));
    assert_eq!(jobs.handoff, Handoff::ListenFds);
    assert_eq!(spec.trial.watch, release::TRIAL_FOR);
}

#[test]
fn whatever_runs_in_node_gets_its_socket_nodes_way() {
    let check = |program: &str, handoff: Handoff| {
        let spec = parse_release(&format!("[tier.web]\ncommand = [\"{program}\"]\n")).spec;
        assert_eq!(spec.tiers[&"web".parse().unwrap()].handoff, handoff, "{program}");
    };
    for program in ["node", "/usr/bin/node", "./server.mjs", "node_modules/.bin/next", "npm"] {
        check(program, Handoff::Node);
    }
    for program in ["gunicorn", "bin/www", "./node/server", "nodemon-like"] {
        check(program, Handoff::ListenFds);
    }
}

#[test]
fn package_managers_are_a_warning() {
    let warnings =
        parse_release("[tier.web]\ncommand = [\"npm\", \"start\"]\nport = 3000\n").warnings;
    let said: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"), @r#"release.toml:2: warning: tier.web.command: npm starts the app in a child process, which loses the inherited socket; name the direct command, such as ["node", "server.js"]"#);
    let worker = "[tier.jobs]\ncommand = [\"npm\", \"run\", \"jobs\"]\n";
    assert_eq!(parse_release(worker).warnings, [], "a worker has no socket to lose");
}

#[test]
fn bad_releases() {
    insta::assert_snapshot!(bad_release(""), @"release.toml: names no tier; add one, such as [tier.web]");
    insta::assert_snapshot!(bad_release("[tier]\n"), @"release.toml: names no tier; add one, such as [tier.web]");
    let said = bad_release(
        r#"
[tier.web]
command = []
port = 70000
processes = 257
ready = { path = "health", within = "0s", successes = 0, pth = 1 }
bleed = 30
stop = "2h"
handoff = "nodejs"
crash = "restart"
env = { PORT = "3000" }
[tier.jobs]
command = ["", 3]
ready = { path = "/health" }
[tier.api]
port = 1
[trial]
for = "2d"
errors_max = "105%"
erors_max = "5%"
"#,
    );
    insta::assert_snapshot!(said, @r#"
    release.toml:3: tier.web.command: is empty; name a program, such as ["node", "server.js"]
    release.toml:4: tier.web.port: 70000 is not within 1 to 65535
    release.toml:5: tier.web.processes: 257 is not within 1 to 256
    release.toml:6: tier.web.ready.path: "health" does not start with /; write it like "/health"
    release.toml:6: tier.web.ready.within: 0s is not within 1s to 1h
    release.toml:6: tier.web.ready.successes: 0 is not within 1 to 100
    release.toml:6: tier.web.ready.pth: unknown key; did you mean path?
    release.toml:7: tier.web.bleed: found the number 30, wanted a duration, such as "30s"
    release.toml:8: tier.web.stop: 2h is not within 0s to 1h
    release.toml:9: tier.web.handoff: "nodejs" is not "node" or "listen-fds"
    release.toml:10: tier.web.crash: "restart" is not "exit" or "bleed"
    release.toml:11: tier.web.env.PORT: is reserved; the agent sets PORT from the tier's port: set port instead
    release.toml:13: tier.jobs.command[0]: the program's name is empty
    release.toml:13: tier.jobs.command[1]: found the number 3, wanted a string in quotes
    release.toml:14: tier.jobs.ready.path: there is no port to ask; without a port a process is ready when it stays up: remove path, or add port
    release.toml:15: tier.api.command: is missing; say what to start, such as command = ["node", "server.js"]
    release.toml:18: trial.for: 2d is not within 0s to 1d
    release.toml:19: trial.errors_max: "105%" is more than everything; write it like "5%", "0.5%"
    release.toml:20: trial.erors_max: unknown key; did you mean errors_max?
    "#);
    let said = bad_release(
        "[tier.a]\ncommand = [\"gunicorn\"]\ncrash = \"bleed\"\n[tier.b]\ncommand = \"node x\"\n",
    );
    insta::assert_snapshot!(said, @r#"
    release.toml:3: tier.a.crash: "bleed" works only in Node processes; set handoff = "node", or leave crash out
    release.toml:5: tier.b.command: found the string "node x", wanted an array of strings, such as ["node", "server.js"]
    "#);
    let port = |name: &str| format!("[tier.{name}]\ncommand = [\"node\"]\nport = 3000\n");
    insta::assert_snapshot!(bad_release(&format!("{}{}", port("a"), port("b"))), @"release.toml:6: tier.b.port: port 3000 is that of tier a too; each tier needs its own");
    let many: Vec<_> = (0..40).map(|i| format!("[tier.t{i}]\ncommand = [\"x\"]\n")).collect();
    insta::assert_snapshot!(bad_release(&many.concat()), @"release.toml:1: tier: 40 tiers are more than 32");
    let path = "[tier.a]\ncommand = [\"node\"]\nport = 1\nready = { path = \"/x\\r\\nHost: y\" }\n";
    insta::assert_snapshot!(bad_release(path), @r#"release.toml:4: tier.a.ready.path: "/x\r\nHost: y" cannot stand in a request; use visible ASCII characters, others as %XX"#);
}

/// What the fuzz targets call: no text may panic, and a refusal always says something.
fn no_panic(text: &str) {
    if let Err(problems) = host::parse("f", text) {
        assert!(!problems.to_string().is_empty());
    }
    if let Err(problems) = release::parse(text) {
        assert!(!problems.to_string().is_empty());
    }
}

proptest! {
    #[test]
    fn arbitrary_text_is_refused_without_a_panic(
        text in ".{0,200}",
        lines in "[a-z.\\[\\]{}=\"\n0-9é]{0,200}",
    ) {
        no_panic(&text);
        no_panic(&lines);
    }
}

/// The fuzz targets' function for a second: good files with bytes changed, cut and doubled, from a
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
    let end = crate::clock::at().plus(Duration::from_secs(1));
    while crate::clock::at() < end {
        let mut bytes = if next(2) == 0 { HOST } else { RELEASE }.as_bytes().to_vec();
        for _ in 0..=next(8) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = b"\"'[]{}=.,#\n\\\0 -_0aZ\xc3\xff"[next(20)],
                1 => drop(bytes.drain(at..bytes.len().min(at + next(30)))),
                2 => bytes.insert(at, b"\"'[]{}=.,#\n"[next(11)]),
                _ => bytes.extend_from_within(at..bytes.len().min(at + 40)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        no_panic(&String::from_utf8_lossy(&bytes));
    }
}
