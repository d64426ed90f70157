//! The status page as a stranger sees it: who may look, what is answered, and that those who look
//! cost little. What a person sees is tested in a browser, by `tests/page`.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::{cache, fixture, free_port, http_client, wait_until};

const SOON: Duration = Duration::from_secs(20);
/// Pages that are kept up to date at once.
const LIVE_MAX: usize = 16;

/// One event of a stream.
#[derive(Debug)]
struct Event {
    id: Option<String>,
    name: String,
    data: Value,
}

/// A page that stays.
struct Live {
    stream: TcpStream,
    received: String,
}

impl Live {
    fn open(address: &str, headers: &str) -> io::Result<(u16, Self)> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SOON))?;
        let head = format!("GET /page/events HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        stream.write_all(head.as_bytes())?;
        let mut live = Self { stream, received: String::new() };
        let head = live.until("\r\n\r\n")?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok((status, live))
    }

    /// What comes up to `end`, without it.
    fn until(&mut self, end: &str) -> io::Result<String> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some((before, after)) = self.received.split_once(end) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.received = after;
                return Ok(before);
            }
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }

    /// The next event. The lines of the transfer coding between them say nothing here.
    fn next(&mut self) -> io::Result<Event> {
        let text = self.until("\n\n")?;
        let field = |name: &str| {
            let mut lines = text.lines().map(str::trim_end);
            lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
        };
        let data = field("data:").ok_or_else(|| io::Error::other(format!("no data: {text}")))?;
        Ok(Event {
            id: field("id:"),
            name: field("event:").unwrap_or_default(),
            data: serde_json::from_str(&data)?,
        })
    }

    fn next_of(&mut self, name: &str) -> Event {
        let end = Instant::now() + SOON;
        loop {
            let event = self.next().unwrap();
            if event.name == name {
                return event;
            }
            assert!(Instant::now() < end, "no {name} within {SOON:?}");
        }
    }
}

fn status_of(address: &str, method: &str, path: &str, host: &str, more: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\n{host}{more}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[9..12]).parse().unwrap()
}

#[test]
fn the_page_answers_this_host_under_its_own_names_and_can_only_be_read() {
    let world = World::new();
    let mut agent = Agent::start(&world);
    let address = agent.http_address();
    wait_until(SOON, "the agent answers", || agent.try_ready());
    let check = |method: &str, path: &str, host: &str, more: &str, wanted: u16| {
        let found = status_of(&address, method, path, host, more);
        assert_eq!(found, wanted, "{method} {path} {host:?} {more:?}");
    };
    let own = "Host: localhost\r\n";
    for host in [own, "Host: 127.0.0.1:9180\r\n", "Host: [::1]:1\r\n"] {
        check("GET", "/", host, "", 200);
        check("HEAD", "/page/events", host, "", 200);
    }
    for host in ["Host: evil.example\r\n", "Host: localhost.evil.example\r\n", "Host: \r\n"] {
        check("GET", "/", host, "", 421);
        check("GET", "/page/events", host, "", 421);
    }
    check("GET", "http://evil.example/", own, "", 421);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        check(method, "/", own, "", 405);
        check(method, "/page/events", own, "", 405);
    }
    check("GET", "/page/events", own, "Sec-Fetch-Site: cross-site\r\n", 403);
    for path in ["/page", "/page/", "/v1/status", "/index.html", "/page/../v1/status", "//"] {
        check("GET", path, own, "", 404);
    }
    // What machines ask for is answered under any name.
    check("GET", "/metrics", "Host: web.internal\r\n", "", 200);

    agent.kill();
    agent.configure("http.page", "none");
    agent.restart();
    wait_until(SOON, "the agent answers", || agent.try_ready());
    check("GET", "/", own, "", 404);
    check("GET", "/page/events", own, "", 404);
    check("GET", "/metrics", own, "", 200);
}

#[test]
fn the_page_carries_its_policy_and_is_compressed_for_who_takes_that() {
    let world = World::new();
    let agent = Agent::start(&world);
    wait_until(SOON, "the agent answers", || agent.try_ready());
    let ask = |headers: &[(&str, &str)]| {
        http_client::request(&agent.http_address(), "GET", "/", headers, b"").unwrap()
    };
    let plain = ask(&[]);
    assert_eq!(plain.header("content-encoding"), None);
    assert!(plain.body.len() < 100_000, "{} bytes", plain.body.len());
    let policy = plain.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "connect-src 'self'", "'sha256-"] {
        assert!(policy.contains(part), "no {part} in {policy}");
    }
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(plain.header(name), Some(value));
    }
    let packed = ask(&[("Accept-Encoding", "gzip, br")]);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == plain.body);
}

#[test]
fn a_page_that_comes_back_misses_nothing() {
    let world = World::new();
    let mut agent = Agent::start(&world);
    let address = agent.http_address();
    wait_until(SOON, "the agent answers", || agent.try_ready());
    let (code, mut live) = Live::open(&address, "").unwrap();
    assert_eq!(code, 200);
    let first = live.next_of("history");
    let id = first.id.unwrap();
    let agent_id = first.data["agent"].as_u64().unwrap();
    let last = first.data["last"].as_u64().unwrap();
    assert_eq!(id, format!("{agent_id}-{last}"));
    assert_eq!(live.next_of("status").data["environment"], "test");
    live.next_of("alive");
    drop(live);
    // A row comes while nobody listens.
    let came = wait_until(SOON, "another row", || {
        let path = "/v1/history";
        let history = agent.ask(path)?;
        if history["last"].as_u64() > Some(last) { Ok(history) } else { Err("none".to_owned()) }
    });
    let (_, mut live) = Live::open(&address, &format!("Last-Event-ID: {id}\r\n")).unwrap();
    let missed = live.next_of("history").data;
    let rows = came["last"].as_u64().unwrap() - last;
    assert!(missed["times"].as_array().unwrap().len() as u64 >= rows, "{missed}");
    assert!(missed["times"][0].as_u64() > first.data["times"][0].as_u64());

    // Another agent: everything that it has.
    agent.kill();
    drop(live);
    agent.restart();
    wait_until(SOON, "the agent answers", || agent.try_ready());
    let (_, mut live) = Live::open(&address, &format!("Last-Event-ID: {id}\r\n")).unwrap();
    let anew = live.next_of("history").data;
    assert_ne!(anew["agent"].as_u64(), Some(agent_id));
    assert_eq!(anew["times"].as_array().unwrap().len() as u64, anew["last"].as_u64().unwrap());
}

#[test]
fn those_who_look_are_counted_and_cost_little_also_when_they_take_nothing() {
    let world = World::new();
    world.release(&Release::web("v1", world.port));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let address = agent.http_address();
    let rss = || resident_bytes(agent.pid().as_raw());
    let before = rss();
    let open = || Live::open(&address, "").unwrap();
    let mut lives: Vec<_> = (0..LIVE_MAX).map(|_| open()).collect();
    assert!(lives.iter().all(|(code, _)| *code == 200));
    assert_eq!(open().0, 503);
    // Nobody reads what they are sent, and everybody else is answered.
    assert_eq!(agent.ready(), 200);
    for _ in 0..50 {
        assert_eq!(http_client::get(&address, "/").unwrap().status, 200);
    }
    let grown = rss().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes more");
    drop(lives.pop());
    wait_until(SOON, "room for another", || match open() {
        (200, live) => Ok(live),
        (code, _) => Err(code),
    });
}

fn resident_bytes(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_port_that_is_taken_is_an_error_only_where_the_file_asks_for_it() {
    let world = World::new();
    let port = free_port();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut agent =
        Agent::start_with(&world, &[("http.listen", format!("127.0.0.1:{port}").into())]);
    assert_ne!(agent.wait(), Some(0));
    assert!(
        agent.log().contains(&format!("could not listen on 127.0.0.1:{port}")),
        "{}",
        agent.log()
    );
    drop(taken);
    agent.restart();
    wait_until(SOON, "the agent answers", || agent.try_ready());
}

/// The page's twin, ended by keys or a signal.
#[test]
fn top_gives_the_terminal_back_and_needs_one() {
    let mut world = World::new();
    let program = world.install();
    let agent = Agent::start(&world);
    wait_until(SOON, "the agent answers", || agent.try_ready());
    for end in ["\t\tpq", "\u{3}", "SIGTERM", "SIGHUP", "SIGINT"] {
        let output = Command::new("python3")
            .arg(fixture("apps/terminal.py"))
            .args([end, "q quit"])
            .arg(&program)
            .arg("top")
            .env("GROUNDCREW_SOCKET", world.path().join("run/control.sock"))
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let wanted = serde_json::json!({
            "ended": 0, "raw_meanwhile": true, "screen_given_back": true, "modes_as_before": true
        });
        assert_eq!(said, wanted, "{end:?}: {output:?}");
    }
    let piped = world.cli(&["top"]);
    assert_eq!(piped.code, Some(1), "{piped:?}");
    assert!(piped.stderr.contains("top needs a terminal"), "{piped:?}");
}

#[test]
fn the_page_is_what_its_parts_make() {
    let page = fixture("../agent/page");
    let made = tempfile::tempdir().unwrap();
    let mut build = Command::new("node");
    build.arg(page.join("build.mjs")).arg(made.path()).env("GROUNDCREW_CACHE", cache());
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for name in ["index.html", "content-security-policy.txt"] {
        let [kept, new] = [page.join("dist"), made.path().to_owned()]
            .map(|directory| std::fs::read(directory.join(name)).unwrap());
        assert!(kept == new, "{name}: run node agent/page/build.mjs");
    }
}
