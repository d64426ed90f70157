//! How far apart the slots of a schedule are. Pure: counted over days that are written down here,
//! so that every host comes to the same.

use std::time::Duration;

use groundcrew_core::backups::schedule::Schedule;
use groundcrew_core::backups::zone::Zone;

/// 2026-01-01T00:00Z. What follows has both of a year's changes of the clocks.
const FROM_S: i64 = 1_767_225_600;
/// Slots that are looked at: more than a year of days, where there is one a day.
const SLOTS: usize = 400;

/// The shortest time between two slots.
pub(super) fn shortest(schedule: &Schedule, zone: &Zone) -> Duration {
    let mut slots = Vec::with_capacity(SLOTS);
    let mut after_s = FROM_S;
    // A yearly schedule is walked day by day: a few of its slots say the same.
    let until_s = FROM_S + 400 * 86_400;
    while let Some(slot) = schedule.next(zone, after_s) {
        slots.push(slot.at_s);
        after_s = slot.at_s;
        if slots.len() == SLOTS || (slots.len() > 1 && after_s > until_s) {
            break;
        }
    }
    let gaps = slots.windows(2).map(|pair| pair[1] - pair[0]);
    let shortest_s = gaps.min().and_then(|gap_s| u64::try_from(gap_s).ok()).unwrap_or(0);
    Duration::from_secs(shortest_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_counts() {
        for (schedule, minutes) in [
            ("20 0 * * *", 24 * 60),
            ("20 0,3 * * *", 3 * 60),
            ("0 1 * * sat,sun", 24 * 60),
            ("0 1 1 * *", 28 * 24 * 60),
            ("0 1 1 jan *", 365 * 24 * 60),
            ("every 6h", 6 * 60),
        ] {
            let schedule = schedule.parse().unwrap();
            let period = shortest(&schedule, &Zone::utc());
            assert_eq!(period, Duration::from_mins(minutes), "{schedule}");
        }
    }
}
