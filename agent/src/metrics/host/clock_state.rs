//! What the kernel knows of the wall clock (adjtimex(2)). Only asks; nothing is ever adjusted.
//!
//! No crate does this: clock-steering and ntp-os-clock set clocks, and do not say how they are.

use std::io;
use std::mem::MaybeUninit;

use groundcrew_core::metrics::host::Clock;
use nix::libc;

/// Asks. `PermissionDenied` where a seccomp filter forbids it, such as that of `ProtectClock=`.
pub(super) fn read() -> io::Result<Clock> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: the pointer is to a timex that the call may fill; all of it is zero, so that it asks
    // for nothing to be changed (`modes`).
    let state = unsafe { libc::adjtimex(timex.as_mut_ptr()) };
    if state == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a timex has only integers, for which every bit pattern is a value.
    let timex = unsafe { timex.assume_init() };
    let offset_ns = if timex.status & libc::STA_NANO == 0 {
        timex.offset.saturating_mul(1000)
    } else {
        timex.offset
    };
    Ok(Clock {
        offset_ns,
        error_us: timex.maxerror,
        synchronized: timex.status & libc::STA_UNSYNC == 0,
    })
}
