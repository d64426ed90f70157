//! The command line as it is typed, and the commands that ask the agent, against a real socket.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;
use clap::CommandFactory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("groundcrew").chain(line.split_whitespace()))
}

#[test]
fn every_form_of_the_interface_is_taken() {
    Cli::command().debug_assert();
    for line in [
        "publish ./build --source s3://bucket/prefix --version v42",
        "publish ./build --source file:///srv/releases --version v42 --promote production",
        "promote v42 --source s3://bucket/prefix --environment production",
        "rollback --source s3://bucket/prefix --environment production",
        "rollback --source s3://bucket/prefix --environment production --to v41",
        "agent --config /etc/groundcrew/groundcrew.toml",
        "check --config groundcrew.toml",
        "doctor --config groundcrew.toml --json",
        "status",
        "status --json -w",
        "top",
        "--socket /tmp/a.sock status",
        "status --socket /tmp/a.sock",
        "releases",
        "releases v42 --json",
        "logs",
        "logs --tier web -f --since 10m",
        "logs --process web.17.1",
        "logs --grep time(out|d) --json",
        "logs audit",
        "logs audit --json",
        "logs audit --socket /tmp/a.sock",
        "--socket /tmp/a.sock logs replay",
        "restart web",
        "backups",
        "backups --json --config groundcrew.toml",
        "backups list shop",
        "backups run shop --no-wait",
        "backups verify gc-a --level L2 --json",
        "backups restore shop/20261121 --to postgres://app@db/shop --yes",
        "backups retention",
        "backups retention shop --explain",
        "backups retention shop --apply --allow-mass-delete",
        "backups pin gc-a --reason audit",
        "backups unpin gc-a",
        "backups dr-plan",
        "demo",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn what_is_not_of_the_interface_is_a_usage_error() {
    for line in [
        "",
        "staus",
        "status extra",
        "publish --source s3://bucket --version v1",
        "publish . --source https://x --version v1",
        "publish . --source s3://bucket --version ../v1",
        "promote v1 --source s3://bucket",
        "logs --process web",
        "logs --tier web --process web.1.1",
        "logs --since yesterday",
        "logs --grep (a",
        "logs --tier web audit",
        "logs replay --json",
        "restart Web",
        "backups verify gc-a --level L4",
        "backups restore gc-a",
        "backups retention --allow-mass-delete",
        "backups retention --explain --apply",
    ] {
        assert!(parse(line).unwrap_err().use_stderr(), "{line}");
    }
    for line in ["--help", "--version", "help status", "logs --help"] {
        assert!(!parse(line).unwrap_err().use_stderr(), "{line}");
    }
}

#[test]
fn the_help_fits_a_screen() {
    let help = Cli::command().term_width(100).render_help().to_string();
    insta::assert_snapshot!(help, @r"
    One agent for Node applications on EC2: publishes releases, runs them, swaps them without failing a
    request

    Usage: groundcrew [OPTIONS] <COMMAND>

    Commands:
      publish   Pack a directory, upload it, and write the manifest of a new version
      promote   Let an environment run a version
      rollback  Let an environment run the version before
      fetch     Bring an environment's release to disk without running it, to bake it into an image
      agent     Run the agent: the daemon that systemd starts on every host
      check     Validate a configuration file; prints every problem at once
      doctor    Check the timeouts, rights and clocks by which requests are lost, as AWS has them now
      status    Is it all right? What runs, what should run, what happened
      top       The last hour and what runs now, in a terminal, until q is pressed
      releases  The releases on this host, or one of them in detail
      logs      What the application printed, across restarts and releases
      metrics   The list of metrics, and dashboards and alarms made of it
      notify    Try out whether people elsewhere are told
      backups   Backups: what there is, how good it is, and how it comes back
      restart   Replace a tier's processes by new ones, without failing a request
      drain     Let this host leave: out of its load balancers, requests answered, tiers ended
      drill     Play a notice on this host, end to end, and say how it went
      undrain   Take back `drain` or `standby`: the host serves again
      standby   Put this instance on standby in its Auto Scaling group, which keeps and does not replace
                it
      reload    Let the agent go on as the installed binary, with the configuration as it is now
      demo      Show on this machine what groundcrew does: releases under load, a bad one, a killed
                agent
      help      Print this message or the help of the given subcommand(s)

    Options:
          --socket <PATH>  The agent's control socket [env: GROUNDCREW_SOCKET] [default:
                           /run/groundcrew/control.sock]
      -h, --help           Print help
      -V, --version        Print version

    Examples:
      groundcrew publish ./build --source s3://acme-releases/shop --version v42 --promote production
      groundcrew status
      groundcrew logs --tier web --since 10m -f

    Exit codes: 0 all right, 1 degraded, rolled back or failed, 3 the agent is not running, 64 usage.
    ");
}

/// What a command printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `line` against an agent that answers each request it is asked with the next of `answers`
/// (path, status, body). Returns exit code or error, and what was printed.
async fn against(
    answers: &[(&str, &str, &str)],
    line: &str,
) -> (Result<u8, anyhow::Error>, String) {
    answered(answers, parse(line).unwrap()).await
}

/// The same for a command line with blanks in its values.
async fn answered(answers: &[(&str, &str, &str)], cli: Cli) -> (Result<u8, anyhow::Error>, String) {
    let directory = tempfile::tempdir().unwrap();
    let socket = Utf8PathBuf::from_path_buf(directory.path().join("control.sock")).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let answers: Vec<_> =
        answers.iter().map(|(p, s, b)| [p, s, b].map(|text| (*text).to_owned())).collect();
    let mut agent = JoinSet::new();
    agent.spawn(async move {
        for [path, status, body] in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let asked = String::from_utf8(head).unwrap();
            assert!(asked.starts_with(&format!("{path} HTTP/1.1\r\n")), "{asked}");
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(body.as_bytes()).await.unwrap();
        }
    });
    let client = ControlClient::new(socket);
    let printed = Printed::default();
    let mut out = Output::to(printed.clone());
    let result = match cli.command {
        Command::Status(args) => status::run(&args, &client, &mut out).await,
        Command::Releases(args) => releases::run(&args, &client, &mut out).await,
        Command::Logs(args) => logs::run(&args, &client, &mut out).await,
        Command::Restart(args) => restart::run(&args, &client, &mut out).await,
        Command::Reload => reload::run(&client, &mut out).await,
        other => panic!("{other:?} does not ask the agent"),
    };
    agent.join_all().await;
    let text = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
    (result, text)
}

fn document(state: &str) -> String {
    format!(
        r#"{{"state":"{state}","since":0,"now":1000,"host":{{"name":"web-1"}},"later":1,
        "environment":"test","source":"file:///srv/r","tiers":[],"events":[],
        "disk":{{"releases_bytes":0,"logs_bytes":0}},"source_status":{{"last_ok":1}}}}"#
    )
    .replace('\n', "")
}

#[tokio::test]
async fn status_answers_with_its_exit_code() {
    let serving = document("serving");
    let (code, text) = against(&[("GET /v1/status", "200 OK", &serving)], "status").await;
    assert_eq!(code.unwrap(), EXIT_OK);
    assert!(text.starts_with("● serving since Thu 1970-01-01 00:00:00 UTC; 1s ago\n"), "{text}");
    let degraded = document("degraded");
    let (code, text) = against(&[("GET /v1/status", "200 OK", &degraded)], "status").await;
    assert_eq!(code.unwrap(), EXIT_FAILING);
    assert!(text.ends_with("\nNext: groundcrew logs --since 10m\n"), "{text}");
}

#[tokio::test]
async fn status_json_hands_on_what_only_a_newer_agent_knows() {
    let serving = document("serving");
    let answer = [("GET /v1/status", "200 OK", serving.as_str())];
    let (code, text) = against(&answer, "status --json").await;
    assert_eq!(code.unwrap(), EXIT_OK);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["later"], 1);
}

#[tokio::test]
async fn status_watched_by_a_pipe_prints_each_document_until_the_agent_goes() {
    let lines = format!("{}\n\n{}\n", document("starting"), document("serving"));
    let answer = [("GET /v1/status?watch=1", "200 OK", lines.as_str())];
    let (code, text) = against(&answer, "status -w --json").await;
    assert!(code.unwrap_err().downcast_ref::<ClientError>().unwrap().is_not_running());
    assert_eq!(text.lines().count(), 2);
    let (_, text) = against(&answer, "status -w").await;
    assert!(text.contains("● starting") && text.contains("\n\n● serving"), "{text}");
}

#[tokio::test]
async fn logs_are_lines_with_their_process() {
    let lines = "{\"process\":\"web.17.1\",\"stream\":\"stdout\",\"line\":\"a\"}\n\
                 {\"process\":\"web.17.2\",\"stream\":\"stderr\",\"line\":\"\\u001b[2Jb\"}";
    let answer = [("GET /v1/logs?tier=web", "200 OK", lines)];
    let (code, text) = against(&answer, "logs --tier web").await;
    assert_eq!(code.unwrap(), EXIT_OK);
    assert_eq!(text, "web.17.1  a\nweb.17.2  \u{1b}[2Jb\n", "a pipe gets what was printed");
    let since = "GET /v1/logs?process=web.17.1&since=1787217240000&follow=1";
    let line = "logs --process web.17.1 -f --since 2026-08-20T09:14:00Z";
    let (code, _) = against(&[(since, "200 OK", "")], line).await;
    assert!(code.unwrap_err().downcast_ref::<ClientError>().unwrap().is_not_running());
}

#[tokio::test]
async fn logs_as_json_have_their_level_and_what_only_a_newer_agent_knows() {
    let lines = r#"{"process":"web.17.1","stream":"stdout","at":5,"line":"WARN low","x":1}
                   {"process":"web.17.1","stream":"stderr","at":6,"line":"plain"}"#;
    let path = "GET /v1/logs?tier=web&grep=a%2Bb%26+%23";
    let arguments = ["groundcrew", "logs", "--json", "--tier", "web", "--grep", "a+b& #"];
    let cli = Cli::try_parse_from(arguments).unwrap();
    let (code, text) = answered(&[(path, "200 OK", lines)], cli).await;
    assert_eq!(code.unwrap(), EXIT_OK);
    insta::assert_snapshot!(text, @r#"
    {"at":5,"level":"warn","line":"WARN low","process":"web.17.1","stream":"stdout","x":1}
    {"at":6,"line":"plain","process":"web.17.1","stream":"stderr"}
    "#);
}

#[tokio::test]
async fn an_audit_that_does_not_add_up_fails() {
    let source = |pending: u64| {
        let count = |bytes: u64| format!(r#"{{"events":1,"bytes":{bytes}}}"#);
        format!(
            r#"{{"source":"web.1.1","group":"g","stream":"s","read":{},"acknowledged":{},
            "rejected":{},"dropped":{},"pending":{},"note":null}}"#,
            count(10),
            count(4),
            count(3),
            count(2),
            count(pending)
        )
    };
    let document = |pending| format!(r#"{{"sources":[{}]}}"#, source(pending));
    let path = "GET /v1/logs/audit";
    let (code, text) = against(&[(path, "200 OK", &document(1))], "logs audit").await;
    assert_eq!(code.unwrap(), EXIT_OK);
    assert!(text.starts_with("● adds up: 1 source, 10 B read\n"), "{text}");
    let (code, text) = against(&[(path, "200 OK", &document(0))], "logs audit --json").await;
    assert_eq!(code.unwrap(), EXIT_FAILING);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["sources"][0]["read"]["bytes"], 10);
}

#[tokio::test]
async fn a_replay_is_an_order() {
    let path = "POST /v1/logs/replay";
    let done = [(path, "200 OK", r#"{"message":"3 events are sent again"}"#)];
    let (code, text) = against(&done, "logs replay").await;
    assert_eq!((code.unwrap(), text.as_str()), (EXIT_OK, "3 events are sent again\n"));
}

#[tokio::test]
async fn an_order_is_answered_or_refused_in_the_agents_words() {
    let path = "POST /v1/restart?tier=web";
    let done = [(path, "200 OK", r#"{"message":"web: 2 processes replaced in 1.2s"}"#)];
    let (code, text) = against(&done, "restart web").await;
    assert_eq!((code.unwrap(), text.as_str()), (EXIT_OK, "web: 2 processes replaced in 1.2s\n"));
    let no = [(path, "404 Not Found", r#"{"error":"there is no tier web; the tiers are api"}"#)];
    let (code, text) = against(&no, "restart web").await;
    assert_eq!(code.unwrap_err().to_string(), "there is no tier web; the tiers are api");
    assert_eq!(text, "");
}

#[tokio::test]
async fn one_release_is_asked_for_by_its_encoded_name() {
    let none = [("GET /v1/releases?version=1.0%2Bb", "200 OK", r#"{"now":1,"releases":[]}"#)];
    let (code, _) = against(&none, "releases 1.0+b").await;
    assert!(code.unwrap_err().to_string().starts_with("1.0+b is not on this host"));
}

#[tokio::test]
async fn an_answer_that_is_not_understood_or_cut_says_so() {
    let odd = [("GET /v1/status", "200 OK", r#"{"state":"fine"}"#)];
    let (code, _) = against(&odd, "status").await;
    assert!(code.unwrap_err().to_string().contains("are both of one version?"));
    let cut = [("GET /v1/releases", "200 OK\r\ntransfer-encoding: chunked", "5\r\n{")];
    let (code, _) = against(&cut, "releases").await;
    assert!(code.unwrap_err().to_string().contains("did not answer GET /v1/releases"));
}

#[tokio::test]
async fn without_an_agent_the_socket_and_the_way_out_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let socket = Utf8PathBuf::from_path_buf(directory.path().join("control.sock")).unwrap();
    let check = async || {
        let client = ControlClient::new(socket.clone());
        let error = client.get::<serde_json::Value>("/v1/status").await.unwrap_err();
        assert!(error.is_not_running(), "{error}");
        assert!(error.to_string().contains(socket.as_str()), "{error}");
    };
    check().await;
    // A socket that a dead agent left behind.
    drop(UnixListener::bind(&socket).unwrap());
    check().await;
}

#[tokio::test]
async fn reload_waits_for_the_next_agent_or_says_why_there_is_none() {
    let agent = |opened: u64, ready: bool, failed: &str| {
        format!(r#"{{"opened":{opened},"version":"1.2.3","ready":{ready},"failed":{failed}}}"#)
    };
    let (ask, order, ok) = ("GET /v1/agent", "POST /v1/reload", "200 OK");
    let before = agent(1, true, "null");
    let (same, early) = (before.clone(), agent(2, false, "null"));
    let next = agent(2, true, "null");
    let done = [
        (ask, ok, &*before),
        (order, ok, "null"),
        (ask, ok, &same),
        (ask, ok, &early),
        (ask, ok, &next),
    ];
    let (code, text) = against(&done, "reload").await;
    assert_eq!(code.unwrap(), EXIT_OK);
    assert!(text.starts_with("groundcrew 1.2.3 took over after "), "{text}");
    let no = r#"{"error":"the agent goes on as it is: it is broken"}"#;
    let (code, _) = against(&[(ask, ok, &before), (order, "409 Conflict", no)], "reload").await;
    assert_eq!(code.unwrap_err().to_string(), "the agent goes on as it is: it is broken");
    let back = agent(2, false, "\"it was gone\"");
    let failed = [(ask, ok, &*before), (order, ok, "null"), (ask, ok, &back)];
    let (code, _) = against(&failed, "reload").await;
    assert_eq!(code.unwrap_err().to_string(), "it was gone");
}
