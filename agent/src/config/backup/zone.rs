//! Time zones by their IANA names, from the database that is part of this binary: hosts with other
//! images, or with none, come to the same slots.

use groundcrew_core::backups::zone::{Transition, Zone};
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZoneDatabase};

use crate::config::problem::shown;
use crate::config::reader::{Node, Read};

/// From 2020 on, when no slot was ever due.
const FROM_S: i64 = 1_577_836_800;
/// Up to 2100: rules without an end are followed until then.
const UNTIL_S: i64 = 4_102_444_800;
/// Longer names are near to none.
const NAME_BYTES_MAX: usize = 64;

/// A zone of the database.
pub(super) fn zone(node: &Node<'_, '_>) -> Read<Zone> {
    let wanted = "a time zone, such as \"Europe/Berlin\"";
    let text = node.as_text().ok_or_else(|| node.wanted(wanted))?;
    named(text).ok_or_else(|| {
        let hint = match nearest(text) {
            Some(near) => format!("did you mean {near}?"),
            None => "write UTC, or a name such as Europe/Berlin".to_owned(),
        };
        node.refuse(format!("{} is not the name of a time zone", shown(text)), &hint)
    })
}

fn named(name: &str) -> Option<Zone> {
    if name == "UTC" {
        return Some(Zone::utc());
    }
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    let from = Timestamp::from_second(FROM_S).ok()?;
    let offset_s = |offset: Offset| offset.seconds();
    let transitions = zone
        .following(from)
        .take_while(|change| change.timestamp().as_second() < UNTIL_S)
        .map(|change| Transition {
            at_s: change.timestamp().as_second(),
            offset_s: offset_s(change.offset()),
        });
    let name = zone.iana_name().unwrap_or(name);
    Zone::new(name, offset_s(zone.to_offset(from)), transitions.collect()).ok()
}

fn nearest(name: &str) -> Option<String> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let far = |known: &str| {
        strsim::damerau_levenshtein(&name.to_ascii_lowercase(), &known.to_ascii_lowercase())
    };
    let database = TimeZoneDatabase::bundled();
    let known = database.available().map(|known| known.as_str().to_owned());
    let near = known.map(|known| (far(&known), known)).min()?;
    (near.0 <= (near.1.len() / 3).max(1)).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_those_of_the_database() {
        let berlin = named("Europe/Berlin").unwrap();
        assert_eq!(berlin.name(), "Europe/Berlin");
        // 2026-01-15 and 2026-07-15, and the last summer before 2100.
        let at = |at_s| berlin.offset_s(at_s);
        assert_eq!((at(1_768_435_200), at(1_784_073_600)), (3600, 7200));
        assert_eq!(at(4_087_670_400), 7200);
        assert_eq!(named("UTC"), Some(Zone::utc()));
        assert_eq!(named("Mars/Olympus"), None);
        assert_eq!(nearest("Europe/Berln").as_deref(), Some("Europe/Berlin"));
        assert_eq!(nearest("Mars/Olympus Mons"), None);
    }

    #[test]
    fn every_zone_fits() {
        let database = TimeZoneDatabase::bundled();
        for name in database.available() {
            assert!(named(name.as_str()).is_some(), "{name}");
        }
    }
}
