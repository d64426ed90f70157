//! What makes hosts differ. For jitter and for choosing among equals, never for secrets.

/// Differs between hosts and starts, also between hosts that came of one image and booted in step.
#[must_use]
pub fn seed() -> u64 {
    let mut seed = [0; 8];
    // Before the kernel has gathered enough randomness, the pid has to do.
    if rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::NONBLOCK).is_err() {
        seed = u64::from(std::process::id()).to_ne_bytes();
    }
    u64::from_ne_bytes(seed)
}
