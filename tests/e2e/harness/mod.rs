//! What the end-to-end tests stand on. Everything here is synchronous for the test: servers, load
//! and faults live on threads of their own, which are joined when their handle is dropped.

#![allow(dead_code, reason = "a helper stays here while the test that needs it is being written")]

pub mod agent;
pub mod app;
pub mod cli;
pub mod emulator;
pub mod fault_proxy;
pub mod fleet;
pub mod forged;
pub mod histogram;
pub mod hook_endpoint;
pub mod http_client;
pub mod load;
pub mod log_endpoint;
pub mod reaper;
pub mod web_socket;
pub mod xray_endpoint;

use std::fmt::Debug;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const POLL_EVERY: Duration = Duration::from_millis(10);
// Below the range from which the kernel takes the ports of outgoing connections, so that no client
// of this machine can take a port between its choice and its use.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Waits until `look` answers `Ok`. `Err` is what was seen instead: the last one is in the panic.
#[track_caller]
pub fn wait_until<T, E: Debug>(
    within: Duration,
    what: &str,
    look: impl FnMut() -> Result<T, E>,
) -> T {
    poll_until(POLL_EVERY, within, what, look)
}

/// [`wait_until`] for what is measured: `every` is the error.
#[track_caller]
pub fn poll_until<T, E: Debug>(
    every: Duration,
    within: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if started.elapsed() >= within => {
                panic!("{what}: not within {within:?}; last seen: {seen:#?}")
            }
            Err(_) => std::thread::sleep(every),
        }
    }
}

/// A TCP port that nothing listens on.
pub fn free_port() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    let span = u64::from(PORTS.end - PORTS.start);
    let mut candidates = std::iter::repeat_with(|| {
        // A random start, so that tests in parallel do not go through the same ports in step.
        PORTS.start + u16::try_from(RandomState::new().hash_one(0) % span).unwrap()
    });
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    candidates.by_ref().take(1000).find(is_free).expect("none of 1,000 ports is free")
}

/// A file or directory of the tests package, such as `apps/web.js`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Where `scripts/test` puts what it installs.
pub fn cache() -> PathBuf {
    if let Some(cache) = std::env::var_os("GROUNDCREW_CACHE") {
        return cache.into();
    }
    if nix::unistd::geteuid().is_root() {
        return "/var/cache/groundcrew-ci".into();
    }
    let home = || std::env::home_dir().expect("no home directory").join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("groundcrew")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_condition() {
        let mut looks = 0;
        let seen = wait_until(Duration::from_secs(5), "three looks", || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(looks) }
        });
        assert_eq!(seen, 3);
    }

    #[test]
    #[should_panic(expected = "the moon: not within 30ms; last seen: \"clouds\"")]
    fn waiting_in_vain_says_what_was_seen() {
        wait_until(Duration::from_millis(30), "the moon", || Err::<(), _>("clouds"));
    }
}
