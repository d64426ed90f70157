//! What is said about where applications send what they measure.

use crate::config::statsd::{StatsdConfig, StatsdSocket};

use super::{bad_host, parse_host};

fn statsd(lines: &str) -> Option<StatsdConfig> {
    parse_host(lines).statsd
}

#[test]
fn nothing_is_received_unless_the_table_is_there() {
    assert_eq!(statsd(""), None);
    assert_eq!(statsd("[metrics]\n"), None);
    let usual = statsd("[metrics.statsd]\n").unwrap();
    assert_eq!(usual.listen.unwrap().to_string(), "127.0.0.1:8125");
    assert_eq!((usual.socket, usual.series_max), (None, 2000));
}

#[test]
fn single_settings() {
    let config = statsd("[metrics.statsd]\nlisten = \"[::1]:9125\"\nseries_max = 50\n").unwrap();
    assert_eq!(config.listen.unwrap().to_string(), "[::1]:9125");
    assert_eq!(config.series_max, 50);
    let socket = |word: &str| {
        let lines = format!("[metrics.statsd]\nlisten = \"off\"\nsocket = \"{word}\"\n");
        let config = statsd(&lines).unwrap();
        assert_eq!(config.listen, None);
        config.socket.unwrap()
    };
    assert_eq!(socket("auto"), StatsdSocket::InRunDir);
    assert_eq!(socket("auto").path("/run/groundcrew".into()), "/run/groundcrew/statsd.sock");
    assert_eq!(socket("/run/x.sock").path("/run/groundcrew".into()), "/run/x.sock");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let said = bad_host(
        r#"[metrics]
interval = 1
[metrics.statsd]
listen = "localhost:8125"
socket = "statsd.sock"
series_max = 100000
port = 8125
"#,
    );
    insta::assert_snapshot!(said, @r#"
    groundcrew.toml:4: metrics.interval: unknown key; the keys here are namespace, per_instance, dimensions, series_max, to, prices, statsd
    groundcrew.toml:6: metrics.statsd.listen: "localhost:8125" is not an address and a port, such as "127.0.0.1:8125", or "off"
    groundcrew.toml:7: metrics.statsd.socket: "statsd.sock" is not an absolute path, such as "/run/groundcrew/statsd.sock", or "auto"
    groundcrew.toml:8: metrics.statsd.series_max: 100000 is not within 1 to 20000
    groundcrew.toml:9: metrics.statsd.port: unknown key; the keys here are listen, socket, series_max
    "#);
    let said = bad_host("[metrics.statsd]\nlisten = \"off\"\n");
    insta::assert_snapshot!(said, @r#"groundcrew.toml:3: metrics.statsd: listens nowhere; give it a socket, such as socket = "auto", or remove the table"#);
    let long = "x".repeat(107);
    let lines = format!("[metrics.statsd]\nlisten = \"127.0.0.1:0\"\nsocket = \"/{long}\"\n");
    let said = bad_host(&lines);
    assert!(said.contains("\"127.0.0.1:0\" is not an address and a port"), "{said}");
    assert!(said.contains("is longer than 107 bytes"), "{said}");
    insta::assert_snapshot!(bad_host("[metrics.statsd]\nlisten = 8125\nsocket = true\n"), @r#"
    groundcrew.toml:4: metrics.statsd.listen: found the number 8125, wanted an address and a port, such as "127.0.0.1:8125", or "off"
    groundcrew.toml:5: metrics.statsd.socket: found true, wanted an absolute path, such as "/run/groundcrew/statsd.sock", or "auto"
    "#);
}
