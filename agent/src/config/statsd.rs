//! `[metrics.statsd]` of the host's file: where applications send what they measure themselves.

use std::net::SocketAddr;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use groundcrew_core::metrics::statsd::{SERIES_MAX, SERIES_USUAL};

use super::fields;
use super::problem::shown;
use super::reader::{Node, Read};

/// The keys of `[metrics.statsd]`.
const KEYS: &[&str] = &["listen", "socket", "series_max"];

/// Where it listens unless the file says otherwise: where every client sends to by default.
pub const LISTEN: &str = "127.0.0.1:8125";
/// Bytes of a unix socket's path, without the NUL at its end (`sun_path`, unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What the host's file says about it, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsdConfig {
    /// Over UDP; `None`: not.
    pub listen: Option<SocketAddr>,
    /// Over a unix socket; `None`: not.
    pub socket: Option<StatsdSocket>,
    /// Series at once.
    pub series_max: u32,
}

/// Where the unix socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatsdSocket {
    /// `run_dir/statsd.sock`.
    InRunDir,
    /// Elsewhere.
    At(Utf8PathBuf),
}

impl StatsdSocket {
    /// Its path.
    #[must_use]
    pub fn path(&self, run_dir: &Utf8Path) -> Utf8PathBuf {
        match self {
            Self::InRunDir => run_dir.join("statsd.sock"),
            Self::At(path) => path.clone(),
        }
    }
}

/// Every key, with its path.
pub(super) fn keys() -> impl Iterator<Item = String> {
    fields::below("metrics.statsd", KEYS)
}

/// The table; nothing is received without it.
pub(super) fn statsd(node: &Node<'_, '_>) -> Read<StatsdConfig> {
    let section = node.section(KEYS)?;
    let listen = section.or("listen", LISTEN.parse().ok(), listen);
    let socket = section.optional("socket", socket);
    let series_max = section.or("series_max", SERIES_USUAL, |node| node.number(1..=SERIES_MAX));
    let config = StatsdConfig { listen: listen?, socket: socket?, series_max: series_max? };
    if config.listen.is_none() && config.socket.is_none() {
        let hint = "give it a socket, such as socket = \"auto\", or remove the table";
        return Err(node.refuse("listens nowhere", hint));
    }
    Ok(config)
}

fn listen(node: &Node<'_, '_>) -> Read<Option<SocketAddr>> {
    let wanted = "an address and a port, such as \"127.0.0.1:8125\", or \"off\"";
    let text = node.as_text().ok_or_else(|| node.wanted(wanted))?;
    if text == "off" {
        return Ok(None);
    }
    let parsed = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    match parsed {
        Some(address) => Ok(Some(address)),
        None => Err(node.refuse(format!("{} is not {wanted}", shown(text)), "")),
    }
}

fn socket(node: &Node<'_, '_>) -> Read<StatsdSocket> {
    let wanted = "an absolute path, such as \"/run/groundcrew/statsd.sock\", or \"auto\"";
    let text = node.as_text().ok_or_else(|| node.wanted(wanted))?;
    if text == "auto" {
        return Ok(StatsdSocket::InRunDir);
    }
    let path = Utf8Path::new(text);
    let climbs = path.components().any(|part| part == Utf8Component::ParentDir);
    if !path.is_absolute() || climbs || text.contains('\0') || text.ends_with('/') {
        return Err(node.refuse(format!("{} is not {wanted}", shown(text)), ""));
    }
    if text.len() > SOCKET_PATH_BYTES_MAX {
        let message = format!("{} is longer than {SOCKET_PATH_BYTES_MAX} bytes", shown(text));
        return Err(node.refuse(message, "the kernel takes no longer path of a socket"));
    }
    Ok(StatsdSocket::At(path.to_owned()))
}
