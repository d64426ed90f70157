//! `X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`,
//! as anybody may send it. Never trusts a byte of it: what is not exactly an id is none.

use std::fmt;

use crate::time::Wall;

/// Bytes of a header that are looked at; the load balancer's own are below 150.
pub const HEADER_BYTES_MAX: usize = 1024;

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId {
    /// Seconds since 1970 of the first request, if whoever made it kept to the form.
    epoch: u32,
    /// 96 bits.
    random: u128,
}

/// The id of a segment within a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentId(pub u64);

const RANDOM_MAX: u128 = (1 << 96) - 1;

impl TraceId {
    /// Exactly as X-Ray writes them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, random) = text.strip_prefix("1-")?.split_once('-')?;
        let epoch = u32::try_from(hex(epoch, 8)?).ok()?;
        Some(Self { epoch, random: hex(random, 24)? })
    }

    /// A new one, for a request that came without. `random` is any number.
    #[must_use]
    pub fn new(at: Wall, random: u128) -> Self {
        let epoch = u32::try_from(at.0.max(0) / 1000).unwrap_or(u32::MAX);
        Self { epoch, random: random & RANDOM_MAX }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1-{:08x}-{:024x}", self.epoch, self.random)
    }
}

impl SegmentId {
    /// 16 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        u64::try_from(hex(text, 16)?).ok().map(Self)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// So many hexadecimal digits and nothing else: no sign, no blanks.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let fits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// What of a header can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// The trace.
    pub root: Option<TraceId>,
    /// The segment that asked. Without a root it means nothing.
    pub parent: Option<SegmentId>,
}

impl Header {
    /// Reads a header; of a field that is there twice, the first counts.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = &text[..text.floor_char_boundary(HEADER_BYTES_MAX)];
        let mut found = Self::default();
        for (name, value) in text.split(';').filter_map(|field| field.trim().split_once('=')) {
            if name.eq_ignore_ascii_case("Root") {
                found.root = found.root.or_else(|| TraceId::parse(value));
            } else if name.eq_ignore_ascii_case("Parent") {
                found.parent = found.parent.or_else(|| SegmentId::parse(value));
            }
        }
        found.parent = found.parent.filter(|_| found.root.is_some());
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

    #[track_caller]
    fn check(text: &str, root: Option<&str>, parent: Option<&str>) {
        let found = Header::parse(text);
        let id = found.root.map(|root| root.to_string());
        assert_eq!(id.as_deref(), root, "{text}");
        let id = found.parent.map(|parent| parent.to_string());
        assert_eq!(id.as_deref(), parent, "{text}");
    }

    #[test]
    fn headers_as_load_balancers_and_services_write_them() {
        check(&format!("Root={ROOT}"), Some(ROOT), None);
        let parent = "53995c3f42cd8ad8";
        let all = format!("Root={ROOT};Parent={parent};Sampled=1");
        check(&all, Some(ROOT), Some(parent));
        let itself = format!("Self=1-67891233-12456789abcdef012345678a;Root={ROOT};CalledFrom=app");
        check(&itself, Some(ROOT), None);
        check(&format!(" root={ROOT} ; PARENT={parent}"), Some(ROOT), Some(parent));
        check(&format!("Root={}", ROOT.to_uppercase()), Some(ROOT), None);
    }

    #[test]
    fn what_is_not_exactly_an_id_is_none() {
        for text in [
            "",
            "Root",
            "Root=",
            "Root=1-5759e988-bd862e3fe1be46a99427279",
            "Root=1-5759e988-bd862e3fe1be46a9942727933",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "Root=1-5759e98g-bd862e3fe1be46a994272793",
            "Root=1-+759e988-bd862e3fe1be46a994272793",
            "Root=1-5759e988-bd862e3fe1be46a99427279\u{e9}",
            "Root=\"1-5759e988-bd862e3fe1be46a994272793\"",
            "Parent=53995c3f42cd8ad8",
        ] {
            check(text, None, None);
        }
        check(&format!("Root={ROOT};Parent=53995c3f42cd8ad"), Some(ROOT), None);
        check(&format!("{};Root={ROOT}", "x".repeat(HEADER_BYTES_MAX)), None, None);
    }

    #[test]
    fn a_new_id_is_one_of_its_time() {
        let id = TraceId::new(Wall(0x5759_e988 * 1000 + 999), u128::MAX);
        assert_eq!(id.to_string(), format!("1-5759e988-{}", "f".repeat(24)));
        assert_eq!(TraceId::parse(&id.to_string()), Some(id));
        assert_eq!(TraceId::new(Wall(i64::MIN), 1).to_string(), format!("1-00000000-{:024}", 1));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_ids_come_back_as_they_are(
            text in "\\PC*", epoch: u32, random in 0..RANDOM_MAX, parent: u64,
        ) {
            let found = Header::parse(&text);
            prop_assert!(found.root.is_some() || found.parent.is_none());
            let (root, parent) = (TraceId { epoch, random }, SegmentId(parent));
            let found = Header::parse(&format!("Parent={parent};Root={root};{text}"));
            prop_assert_eq!(found, Header { root: Some(root), parent: Some(parent) });
        }
    }
}
