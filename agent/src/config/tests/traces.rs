//! What the host's file says about traces.

use super::{bad_host, parse_host};
use crate::config::TracesConfig;

#[test]
fn nothing_is_traced_unless_it_is_said() {
    assert_eq!(parse_host("").traces, TracesConfig::default());
    assert_eq!(parse_host("[traces]\n").traces, TracesConfig::default());
    let off = TracesConfig { sample_ppm: 0, follow: false, relay: None };
    assert_eq!(TracesConfig::default(), off);
}

#[test]
fn the_usual_traces() {
    let text = "[traces]\nsample = \"0.5%\"\nfollow = true\nrelay = \"127.0.0.1:2000\"\n";
    let expected = TracesConfig {
        sample_ppm: 5000,
        follow: true,
        relay: Some("127.0.0.1:2000".parse().unwrap()),
    };
    assert_eq!(parse_host(text).traces, expected);
    let relay = |address: &str| {
        parse_host(&format!("[traces]\nrelay = \"{address}\"\n")).traces.relay.unwrap().to_string()
    };
    assert_eq!(relay("[::1]:2000"), "[::1]:2000");
    assert_eq!(relay("127.0.0.53:1"), "127.0.0.53:1");
}

#[test]
fn mistakes_in_traces() {
    let traces = |lines: &str| bad_host(&format!("[traces]\n{lines}\n"));
    insta::assert_snapshot!(traces("sample = 5"), @r#"groundcrew.toml:4: traces.sample: found the number 5, wanted a percentage, such as "5%""#);
    insta::assert_snapshot!(traces("sample = \"101%\""), @r#"groundcrew.toml:4: traces.sample: "101%" is more than everything; write it like "5%", "0.5%""#);
    insta::assert_snapshot!(traces("follow = \"yes\""), @r#"groundcrew.toml:4: traces.follow: found the string "yes", wanted true or false"#);
    insta::assert_snapshot!(traces("relay = 2000"), @r#"groundcrew.toml:4: traces.relay: found the number 2000, wanted an address and a port, such as "127.0.0.1:2000""#);
    insta::assert_snapshot!(traces("relay = \"localhost:2000\""), @r#"groundcrew.toml:4: traces.relay: "localhost:2000" is not an address and a port, such as "127.0.0.1:2000""#);
    insta::assert_snapshot!(traces("relay = \"0.0.0.0:2000\""), @r#"groundcrew.toml:4: traces.relay: 0.0.0.0:2000 can be reached from other hosts; take a loopback address, such as "127.0.0.1:2000""#);
    insta::assert_snapshot!(traces("relay = \"127.0.0.1:0\""), @"groundcrew.toml:4: traces.relay: has no port; X-Ray's SDKs send to port 2000");
    insta::assert_snapshot!(traces("samples = \"5%\""), @"groundcrew.toml:4: traces.samples: unknown key; did you mean sample?");
}
