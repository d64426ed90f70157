//! What applications send as StatsD, as scrapers see it.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::{http_client, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// A program that sends as `node:dgram` does, to where the clients for Node send by default.
const SENDER: &str = r"
'use strict';
const dgram = require('node:dgram');
const socket = dgram.createSocket('udp4');
const lines = 'app.requests:1|c|#route:/cart\napp.latency:250|ms';
setInterval(() => socket.send(lines, Number(process.env.STATSD_PORT), '127.0.0.1'), 20);
";

/// Fails while an agent that was started does not answer yet.
fn scrape(agent: &Agent<'_>) -> Result<String, String> {
    let answer = http_client::get(&agent.http_address(), "/metrics");
    Ok(String::from_utf8(answer.map_err(|error| error.to_string())?.body).unwrap())
}

fn value(text: &str, sample: &str) -> Option<f64> {
    let of = |line: &str| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(of)
}

#[track_caller]
fn wait_for(agent: &Agent<'_>, sample: &str, least: f64) {
    wait_until(SOON, sample, || {
        let text = scrape(agent)?;
        let is_there = value(&text, sample).is_some_and(|value| value >= least);
        if is_there { Ok(()) } else { Err(text) }
    });
}

fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn what_applications_send_is_scraped_through_restarts_of_the_agent() {
    let world = World::new();
    let port = free_udp_port();
    let command: Vec<toml::Value> = vec!["node".into(), "sender.js".into()];
    let release = Release::new("v1")
        .file("sender.js", SENDER.as_bytes())
        .set("tier.sender.command", command)
        .set("tier.sender.processes", 1)
        .set("tier.sender.env.STATSD_PORT", port.to_string());
    world.release(&release);
    let listen = format!("127.0.0.1:{port}");
    let settings = [
        ("metrics.statsd.listen", listen.as_str().into()),
        ("metrics.statsd.socket", "auto".into()),
    ];
    let mut agent = Agent::start_with(&world, &settings);
    agent.wait_for_settled("v1");
    wait_for(&agent, "app_requests_total{route=\"/cart\"}", 5.0);
    wait_for(&agent, "app_latency_seconds_bucket{le=\"0.262144\"}", 5.0);

    // Everybody on the host may send, over the unix socket too.
    let path = world.path().join("run/statsd.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    let unix = UnixDatagram::unbound().unwrap();
    unix.send_to(b"by.socket:7|g\n\xffbad", &path).unwrap();
    wait_for(&agent, "by_socket", 7.0);
    wait_for(&agent, "groundcrew_statsd_bad_total{reason=\"syntax\"}", 1.0);

    // The next agent takes both over, whatever the one before left behind.
    agent.kill();
    agent.restart();
    wait_for(&agent, "app_requests_total{route=\"/cart\"}", 5.0);
    unix.send_to(b"by.socket:8|g", &path).unwrap();
    wait_for(&agent, "by_socket", 8.0);
    assert_eq!(
        value(&scrape(&agent).unwrap(), "groundcrew_statsd_dropped_total{reason=\"kernel\"}"),
        Some(0.0)
    );
}
