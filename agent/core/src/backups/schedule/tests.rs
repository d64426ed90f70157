//! Schedules as they are written, and the nights of every zone. The zones come from the tz database
//! that a test crate carries, never from the host's.

use super::*;
use crate::backups::zone::Transition;

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

fn at(text: &str) -> i64 {
    text.parse::<DateTime>().unwrap().seconds()
}

/// What the schedule's next slots are, in UTC, after a moment in UTC.
#[track_caller]
fn check(text: &str, zone: &Zone, after: &str, expected: &[&str]) {
    let schedule = schedule(text);
    let mut after_s = at(after);
    let mut found = Vec::new();
    for _ in expected {
        let slot = schedule.next(zone, after_s).unwrap();
        found.push(format!("{slot} {}", DateTime::from_seconds(slot.at_s)));
        after_s = slot.at_s;
    }
    assert_eq!(found, expected, "{text}");
}

#[test]
fn the_five_fields_mean_what_crontab_says() {
    let utc = Zone::utc();
    let friday = "2026-11-20T12:00";
    check("20 0 * * *", &utc, friday, &["20261121 2026-11-21T00:20", "20261122 2026-11-22T00:20"]);
    check(
        "0,30 6-7 * * mon-fri",
        &utc,
        friday,
        &["20261123t0600 2026-11-23T06:00", "20261123t0630 2026-11-23T06:30"],
    );
    check("15 */12 * * *", &utc, friday, &["20261120t1215 2026-11-20T12:15"]);
    check("0 3 29 feb *", &utc, friday, &["20280229 2028-02-29T03:00"]);
    check(
        "0 3 last * *",
        &utc,
        friday,
        &["20261130 2026-11-30T03:00", "20261231 2026-12-31T03:00"],
    );
    check("0 3 31 * *", &utc, friday, &["20261231 2026-12-31T03:00", "20270131 2027-01-31T03:00"]);
    // A day matches if either field does.
    check(
        "0 3 1 * 7",
        &utc,
        friday,
        &["20261122 2026-11-22T03:00", "20261129 2026-11-29T03:00", "20261201 2026-12-01T03:00"],
    );
    check("every 6h", &utc, friday, &["20261120t1800 2026-11-20T18:00"]);
    check("every 48h", &utc, friday, &["20261121 2026-11-21T00:00", "20261123 2026-11-23T00:00"]);
}

#[test]
fn what_is_no_schedule_says_what_to_write() {
    for (text, expected) in [
        (
            "20 0 * *",
            "has 4 fields; a schedule has five: minute, hour, day of month, month, day of \
            week",
        ),
        ("@daily", "@daily is not supported; write the five fields, such as \"20 0 * * *\""),
        ("60 0 * * *", "minute: \"60\" is not a value from 0 to 59"),
        ("0 24 * * *", "hour: \"24\" is not a value from 0 to 23"),
        ("0 0 0 * *", "day of month: \"0\" is not a value from 1 to 31"),
        ("0 0 * 13 *", "month: \"13\" is not a value from 1 to 12"),
        ("0 0 * * 8", "day of week: \"8\" is not a value from 0 to 7"),
        ("0 0 * * fre", "day of week: \"fre\" is not a value from 0 to 7"),
        ("0 0 ? * 1", "day of month: \"?\" is not supported; write *"),
        ("0 0 L * *", "day of month: \"L\" is not supported; write last, or the days as numbers"),
        (
            "0 0 15W * *",
            "day of month: \"15W\" is not supported; write last, or the days as numbers",
        ),
        (
            "0 0 * * 5L",
            "day of week: \"5L\" is not supported; write a day of week, or last as the \
            day of the month",
        ),
        (
            "0 0 * * 5#2",
            "day of week: \"5#2\" is not supported; write the days of the month that \
            it may fall on, such as 1-7, or a day of week",
        ),
        ("30-10 0 * * *", "minute: the range \"30-10\" ends before it begins"),
        ("5/10 0 * * *", "minute: \"5/10\" is no step; write such as */15 or 10-50/10"),
        ("*/0 0 * * *", "minute: \"*/0\" is no step; write such as */15 or 10-50/10"),
        ("* * * * *", "is due every 1 minutes; that must be from 15 to 10080"),
        ("0 3 30 feb *", "is never due: no such date exists"),
        ("every 10m", "is due every 10 minutes; that must be from 15 to 10080"),
        ("every day", "\"every day\" is no interval; write such as \"every 6h\" or \"every 90m\""),
        ("+5 0 * * *", "minute: \"+5\" is not a value from 0 to 59"),
        ("", "has 0 fields; a schedule has five: minute, hour, day of month, month, day of week"),
    ] {
        assert_eq!(text.parse::<Schedule>().unwrap_err().to_string(), expected, "{text}");
    }
}

/// The offset at first and the transitions of jiff's database, from 2005 to 2045.
fn clocks(name: &str) -> (i32, Vec<Transition>) {
    let zone = jiff::tz::TimeZoneDatabase::bundled().get(name).unwrap();
    let first: jiff::Timestamp = "2005-01-01T00:00Z".parse().unwrap();
    let end: jiff::Timestamp = "2045-01-01T00:00Z".parse().unwrap();
    let transitions = zone.following(first).take_while(|transition| transition.timestamp() < end);
    let transitions = transitions.map(|transition| Transition {
        at_s: transition.timestamp().as_second(),
        offset_s: transition.offset().seconds(),
    });
    (zone.to_offset(first).seconds(), transitions.collect())
}

fn zone(name: &str) -> Zone {
    let (first_offset_s, transitions) = clocks(name);
    Zone::new(name, first_offset_s, transitions).unwrap()
}

#[test]
fn gaps_are_run_after_and_what_comes_twice_is_run_once() {
    let new_york = zone("America/New_York");
    check(
        "30 2 * * *",
        &new_york,
        "2026-03-07T12:00",
        &["20260308 2026-03-08T07:00", "20260309 2026-03-09T06:30"],
    );
    check(
        "30 1 * * *",
        &new_york,
        "2026-10-31T12:00",
        &["20261101 2026-11-01T05:30", "20261102 2026-11-02T06:30"],
    );
    // Half an hour of summer time.
    let lord_howe = zone("Australia/Lord_Howe");
    check("15 2 * * *", &lord_howe, "2026-10-03T00:00", &["20261004 2026-10-03T15:30"]);
    check("45 1 * * *", &lord_howe, "2026-04-03T15:00", &["20260405 2026-04-04T14:45"]);
    // A day that Samoa never had is no night to back up.
    let apia = zone("Pacific/Apia");
    check(
        "20 0 * * *",
        &apia,
        "2011-12-29T00:00",
        &["20111229 2011-12-29T10:20", "20111231 2011-12-30T10:20"],
    );
    // Summer time that stops for Ramadan.
    let casablanca = zone("Africa/Casablanca");
    check(
        "30 2 * * *",
        &casablanca,
        "2026-02-14T12:00",
        &["20260215 2026-02-15T01:30", "20260216 2026-02-16T02:30"],
    );
    // The gap is the last hour of the Saturday: its slot is due at the Sunday's first moment.
    let nuuk = zone("America/Nuuk");
    check(
        "30 23 * * *",
        &nuuk,
        "2027-03-27T12:00",
        &["20270327 2027-03-28T01:00", "20270328 2027-03-29T00:30"],
    );
}

#[test]
fn every_zone_has_one_slot_a_night_from_2020_to_2040() {
    let first = Date { year: 2020, month: 1, day: 1 }.days();
    let last = Date { year: 2040, month: 12, day: 31 }.days();
    let (mut zones, mut seen) = (0, Vec::new());
    for name in jiff::tz::TimeZoneDatabase::bundled().available() {
        zones += 1;
        // Half of the names are other names for the same clocks.
        let clocks = clocks(name.as_str());
        if seen.contains(&clocks) {
            continue;
        }
        seen.push(clocks);
        let zone = zone(name.as_str());
        for text in ["20 0 * * *", "30 1 * * *", "30 2 * * *", "59 23 * * *"] {
            let schedule = schedule(text);
            let mut expected = last;
            let mut newest_s = i64::MAX;
            // By years, as a reach of the calendar is bounded; from noon to noon in any zone.
            for year in (2020..=2040).rev() {
                let from_s = at(&format!("{year}-01-01T00:00")) - 2 * DAY_S;
                let until_s = (at(&format!("{year}-12-31T00:00")) + 2 * DAY_S).min(newest_s - 1);
                for slot in schedule.slots(&zone, from_s, until_s, 400) {
                    if slot.nominal.date.days() > last || slot.nominal.date.days() < first {
                        continue;
                    }
                    assert_eq!(slot.nominal.date.days(), expected, "{name} {text} {slot}");
                    assert!(slot.at_s < newest_s, "{name} {text} {slot}");
                    let shown = zone.local(slot.at_s);
                    assert!(shown >= slot.nominal, "{name} {text} {slot} is due before its time");
                    newest_s = slot.at_s;
                    expected -= 1;
                }
            }
            assert_eq!(expected, first - 1, "{name} {text}");
        }
    }
    assert!(zones > 400, "{zones} zones");
}

#[test]
fn the_next_and_the_newest_agree() {
    let berlin = zone("Europe/Berlin");
    for text in ["30 2 * * *", "0 * * * *", "15,45 */6 * * sun", "every 90m"] {
        let schedule = schedule(text);
        let (mut after_s, end_s) = (at("2026-03-20T00:00"), at("2026-11-10T00:00"));
        let mut forward = Vec::new();
        while let Some(slot) = schedule.next(&berlin, after_s).filter(|slot| slot.at_s <= end_s) {
            let before = schedule.before(&berlin, slot).unwrap();
            assert!(before.nominal < slot.nominal && before.at_s <= slot.at_s);
            after_s = slot.at_s;
            forward.push(slot.at_s);
        }
        let back = schedule.slots(&berlin, at("2026-03-20T00:00"), end_s, 100_000);
        let mut back: Vec<_> = back.into_iter().map(|slot| slot.at_s).collect();
        back.reverse();
        back.dedup();
        assert_eq!(back, forward, "{text}");
    }
}
