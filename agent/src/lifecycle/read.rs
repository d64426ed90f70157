//! What the metadata says, as the core's types. Text in, values out; an error is a clause.

use groundcrew_core::lifecycle::sight::{Scheduled, SpotAction, TargetState};
use groundcrew_core::time::Wall;
use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use serde::Deserialize;

/// Characters of the longest word that may be a state.
const STATE_CHARS_MAX: usize = 64;

/// `autoscaling/target-lifecycle-state`
pub(super) fn target(text: &str) -> Result<TargetState, String> {
    let word = text.trim();
    let spelled = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_');
    let is_word = (1..=STATE_CHARS_MAX).contains(&word.len()) && word.chars().all(spelled);
    is_word.then(|| TargetState::from(word.to_owned())).ok_or_else(|| "it is no state".to_owned())
}

/// `spot/instance-action`
pub(super) fn spot(text: &str) -> Result<SpotAction, String> {
    #[derive(Deserialize)]
    struct Action {
        action: String,
        time: String,
    }
    let Action { action, time } = json(text)?;
    Ok(SpotAction { action, at: timestamp(&time)?, time })
}

/// `events/recommendations/rebalance`
pub(super) fn rebalance(text: &str) -> Result<Wall, String> {
    #[derive(Deserialize)]
    struct Recommendation {
        #[serde(rename = "noticeTime")]
        notice_time: String,
    }
    let Recommendation { notice_time } = json(text)?;
    timestamp(&notice_time)
}

/// `events/maintenance/scheduled`: what is still to come.
pub(super) fn scheduled(text: &str) -> Result<Vec<Scheduled>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Maintenance {
        not_before: String,
        code: String,
        event_id: String,
        state: String,
    }
    let all: Vec<Maintenance> = json(text)?;
    // The others are over: completed or canceled.
    let active = all.into_iter().filter(|event| event.state.eq_ignore_ascii_case("active"));
    let event = |event: Maintenance| {
        let not_before = date(&event.not_before)?;
        Ok(Scheduled { id: event.event_id, code: event.code, not_before })
    };
    active.map(event).collect()
}

/// `instance-id`
pub(super) fn instance_id(text: &str) -> Option<String> {
    let id = text.trim();
    let rest = id.strip_prefix("i-")?;
    let hex = !rest.is_empty() && rest.len() <= 32 && rest.chars().all(|c| c.is_ascii_hexdigit());
    hex.then(|| id.to_owned())
}

fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// `2026-08-21T03:10:00Z`
fn timestamp(text: &str) -> Result<Wall, String> {
    let timestamp: Timestamp = text.trim().parse().map_err(|_| format!("`{text}` is no time"))?;
    Ok(Wall(timestamp.as_millisecond()))
}

/// `21 Jan 2019 09:00:43 GMT`
fn date(text: &str) -> Result<Wall, String> {
    let parsed = strtime::parse("%d %b %Y %H:%M:%S GMT", text.trim());
    let date = parsed.and_then(|parsed| parsed.to_datetime()?.to_zoned(TimeZone::UTC));
    match date {
        Ok(date) => Ok(Wall(date.timestamp().as_millisecond())),
        Err(_) => timestamp(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_words() {
        assert_eq!(target("InService\n"), Ok(TargetState::InService));
        assert_eq!(target("Warmed:Stopped"), Ok(TargetState::Warmed("Stopped".into())));
        assert_eq!(target("SomethingNew"), Ok(TargetState::Unknown("SomethingNew".into())));
        for garbage in ["", "\n", "<html>", "In Service", &"x".repeat(65)] {
            assert!(target(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn spot_notices_are_read_as_the_documentation_shows_them() {
        let text = r#"{"action": "stop", "time": "2017-09-18T08:22:00Z"}"#;
        let expected = SpotAction {
            action: "stop".into(),
            at: Wall(1_505_722_920_000),
            time: "2017-09-18T08:22:00Z".into(),
        };
        assert_eq!(spot(text), Ok(expected));
        for garbage in ["", "{}", "stop", r#"{"action": "stop", "time": "soon"}"#] {
            assert!(spot(garbage).is_err(), "{garbage}");
        }
        let text = r#"{"noticeTime": "2020-10-27T08:22:00Z"}"#;
        assert_eq!(rebalance(text), Ok(Wall(1_603_786_920_000)));
        assert!(rebalance(r#"{"noticeTime": 5}"#).is_err());
    }

    #[test]
    fn only_active_maintenance_is_to_come() {
        let event = |id: &str, state: &str| {
            format!(
                r#"{{"NotBefore": "21 Jan 2019 09:00:43 GMT", "Code": "system-reboot",
                "Description": "scheduled reboot", "EventId": "{id}",
                "NotAfter": "21 Jan 2019 09:17:23 GMT", "State": "{state}"}}"#
            )
        };
        let (active, over) = (event("event-1", "active"), event("event-2", "canceled"));
        let expected = Scheduled {
            id: "event-1".into(),
            code: "system-reboot".into(),
            not_before: Wall(1_548_061_243_000),
        };
        assert_eq!(scheduled(&format!("[{active}, {over}]")), Ok(vec![expected]));
        assert_eq!(scheduled("[]"), Ok(Vec::new()));
        let odd = active.replace("21 Jan", "soon");
        assert!(scheduled(&format!("[{odd}]")).is_err());
        assert!(scheduled(&format!("[{}]", over.replace("21 Jan", "soon"))).is_ok());
    }

    #[test]
    fn ids_are_ids() {
        assert_eq!(instance_id("i-0a1b2c3d4e5f67890\n").as_deref(), Some("i-0a1b2c3d4e5f67890"));
        for garbage in ["", "i-", "i-xyz", "<html>", "x"] {
            assert_eq!(instance_id(garbage), None, "{garbage}");
        }
    }
}
