//! Requests that are told to X-Ray: their ids, and what waits to be sent. Pure; the preload
//! samples, the shell sends.

pub mod header;
pub mod queue;

use crate::time::Wall;
use header::Header;

/// What the preload noted of one request, checked and bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Of `X-Amzn-Trace-Id`.
    pub header: Header,
    /// Such as `GET`.
    pub method: String,
    /// Without its query.
    pub path: String,
    /// What the client asked for.
    pub host: Option<String>,
    /// Whether it came to the load balancer over TLS.
    pub https: bool,
    /// The address that the load balancer saw, as text.
    pub client: Option<String>,
    /// `User-Agent`.
    pub agent: Option<String>,
    /// `None`: the connection went first.
    pub status: Option<u16>,
    /// Bytes of the answer's body, where its head says so.
    pub bytes: Option<u64>,
    /// When it was over, by the host's clock.
    pub ended: Wall,
    /// How long it took, in microseconds.
    pub took_us: u64,
}
