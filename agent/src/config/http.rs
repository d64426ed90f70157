//! The table `[http]` of the host's file: where `/ready`, `/metrics` and the status page answer,
//! and to whom the page does.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use super::problem::shown;
use super::reader::{Node, Read};

pub(super) const KEYS: &[&str] = &["listen", "page"];

/// Where the agent answers unless the file says otherwise: this host only.
pub const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9180));
/// What the file says for nowhere, and for nobody.
const NONE: &str = "none";

/// What the host's file says about it, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it answers; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// Whether the file asks for that address. It is an error when it cannot be had then; where
    /// nobody asked for it, the agent goes on without.
    pub asked_for: bool,
    /// Whom the page answers.
    pub page: PageAccess,
}

/// Whom the status page answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageAccess {
    /// Who connects from this host.
    Loopback,
    /// Whoever connects.
    All,
    /// Nobody.
    None,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: Some(LISTEN), asked_for: false, page: PageAccess::Loopback }
    }
}

pub(super) fn http(node: &Node<'_, '_>) -> Read<HttpConfig> {
    let section = node.section(KEYS)?;
    let listen = section.optional("listen", |node| {
        let wanted = "an address and a port, such as \"127.0.0.1:9180\", or \"none\"";
        node.parse(wanted, |text| match text {
            NONE => Ok(None),
            text => text
                .parse::<SocketAddr>()
                .map(Some)
                .map_err(|_| format!("{} is not {wanted}", shown(text))),
        })
    });
    let page = section.or("page", PageAccess::Loopback, |node| match node.as_text() {
        Some("loopback") => Ok(PageAccess::Loopback),
        Some("all") => Ok(PageAccess::All),
        Some(NONE) => Ok(PageAccess::None),
        _ => Err(node.wanted("\"loopback\", \"all\" or \"none\"")),
    });
    let (listen, page) = (listen?, page?);
    Ok(HttpConfig { listen: listen.unwrap_or(Some(LISTEN)), asked_for: listen.is_some(), page })
}
