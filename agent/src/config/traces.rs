//! `[traces]` of the host's file: which requests X-Ray is told about, and where applications may
//! send it segments of their own. Nothing of it is looked up: a relay's port may be taken.

use std::net::SocketAddr;

use super::problem::shown;
use super::reader::{Node, Read};
use super::units;

/// The keys of `[traces]`.
pub(super) const KEYS: &[&str] = &["sample", "follow", "relay"];

/// What is traced. Nothing, unless the file says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TracesConfig {
    /// Of the requests that nobody has decided about, so many in a million.
    pub sample_ppm: u32,
    /// Whether the flag of a request's `X-Amzn-Trace-Id` decides, where there is one.
    pub follow: bool,
    /// Where applications may send segments, as to X-Ray's daemon.
    pub relay: Option<SocketAddr>,
}

/// `[traces]` of the host's file.
pub(super) fn traces(node: &Node<'_, '_>) -> Read<TracesConfig> {
    let section = node.section(KEYS)?;
    let sample_ppm =
        section.or("sample", 0, |node| node.parse("a percentage, such as \"5%\"", units::percent));
    let follow = section.or("follow", false, Node::boolean);
    let relay = section.optional("relay", relay);
    Ok(TracesConfig { sample_ppm: sample_ppm?, follow: follow?, relay: relay? })
}

fn relay(node: &Node<'_, '_>) -> Read<SocketAddr> {
    let wanted = "an address and a port, such as \"127.0.0.1:2000\"";
    let address = node.parse(wanted, |text| {
        (text.parse::<SocketAddr>()).map_err(|_| format!("{} is not {wanted}", shown(text)))
    })?;
    // A datagram does not say who sent it.
    if !address.ip().is_loopback() {
        let message = format!("{address} can be reached from other hosts");
        return Err(node.refuse(message, "take a loopback address, such as \"127.0.0.1:2000\""));
    }
    if address.port() == 0 {
        return Err(node.refuse("has no port", "X-Ray's SDKs send to port 2000"));
    }
    Ok(address)
}
