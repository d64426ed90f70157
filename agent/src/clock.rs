//! The clocks, read here and nowhere else.

use std::time::Duration;

use groundcrew_core::time::{Moment, Now, Wall};
use nix::time::{ClockId, clock_gettime};

/// What both clocks say.
#[must_use]
pub fn now() -> Now {
    Now { at: at(), wall: wall() }
}

/// `CLOCK_BOOTTIME`: goes on through suspension, never jumps, and means the same to the next agent.
#[must_use]
pub fn at() -> Moment {
    Moment(u64::try_from(millis(ClockId::CLOCK_BOOTTIME)).unwrap_or(0))
}

/// `CLOCK_MONOTONIC`, to the nanosecond: how long something took is the difference of two. It means
/// nothing to anybody else.
#[must_use]
pub fn precise() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// `CLOCK_REALTIME`: for people.
#[must_use]
pub fn wall() -> Wall {
    Wall(millis(ClockId::CLOCK_REALTIME))
}

fn millis(clock: ClockId) -> i64 {
    // Both clocks exist on every kernel that has pidfd, which the supervisor needs anyway.
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_moves_forward_and_the_wall_clock_is_this_century() {
        let before = at();
        assert!(at() >= before && before > Moment(0));
        let before = precise();
        assert!(precise() >= before && before > Duration::ZERO);
        assert!(wall() > Wall(1_700_000_000_000));
    }
}
