//! Errors as a Sentry-compatible tracker takes them: an envelope with one event.

use groundcrew_core::notify::Pending;
use groundcrew_core::notify::errors::ErrorReport;
use serde_json::json;

use super::message::hex;
use super::{DeliveryError, Post};
use crate::https::Address;

/// The envelope, and where it goes: all of a DSN is a secret.
pub(super) fn envelope(
    dsn: &str,
    environment: &str,
    host: &str,
    pending: &Pending<ErrorReport>,
) -> Result<Post, DeliveryError> {
    let (url, key) = endpoint(dsn).ok_or(DeliveryError::Dsn)?;
    let report = &pending.what;
    // The same each time this one is tried, so that the tracker keeps one of them.
    let named = format!("{host}/{}/{}/{}", report.process, report.at.0, pending.id);
    let id = &hex(named.as_bytes())[..32];
    let (kind, value) = report.exception();
    let mut exception = json!({
        "type": kind,
        "value": value,
        "mechanism": { "type": "generic", "handled": false },
    });
    let frames = report.frames();
    if !frames.is_empty() {
        exception["stacktrace"] = json!({ "frames": frames });
    }
    let event = json!({
        "event_id": id,
        "timestamp": std::time::Duration::from_millis(u64::try_from(report.at.0).unwrap_or(0))
            .as_secs_f64(),
        "platform": "node",
        "level": "fatal",
        "logger": "groundcrew",
        "release": report.release,
        "environment": environment,
        "server_name": host,
        "tags": { "tier": report.tier, "process": report.process },
        "exception": { "values": [exception] },
        "fingerprint": [report.fingerprint()],
        "extra": {
            "stderr": report.lines,
            "suppressed": pending.suppressed,
            "more": pending.more,
        },
    });
    let header = json!({ "event_id": id });
    let client = concat!("groundcrew/", env!("CARGO_PKG_VERSION"));
    let auth = format!("Sentry sentry_version=7, sentry_client={client}, sentry_key={key}");
    let headers =
        vec![("x-sentry-auth", auth), ("content-type", "application/x-sentry-envelope".to_owned())];
    let body = format!("{header}\n{{\"type\":\"event\"}}\n{event}\n");
    Ok(Post { address: Address::parse(&url)?, headers, body, key: None })
}

/// `https://KEY@HOST/PATH/PROJECT`: where envelopes go, and the key.
fn endpoint(dsn: &str) -> Option<(String, &str)> {
    let (scheme, rest) = dsn.split_once("://")?;
    let (user, rest) = rest.split_once('@')?;
    let key = user.split(':').next().filter(|key| !key.is_empty())?;
    let (place, project) = rest.trim_end_matches('/').rsplit_once('/')?;
    let numbered = !project.is_empty() && project.bytes().all(|b| b.is_ascii_digit());
    numbered.then(|| {
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        (format!("{scheme}://{host}{path}/api/{project}/envelope/"), key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dsns_are_read_as_the_sdks_read_them() {
        let check = |dsn: &str, expected: Option<(&str, &str)>| {
            let found = endpoint(dsn);
            assert_eq!(found.as_ref().map(|(url, key)| (url.as_str(), *key)), expected, "{dsn}");
        };
        let url = "https://o1.ingest.sentry.io/api/42/envelope/";
        check("https://abc@o1.ingest.sentry.io/42", Some((url, "abc")));
        let url = "https://errors.example.com/base/api/7/envelope/";
        check("https://abc:secret@errors.example.com/base/7", Some((url, "abc")));
        for bad in ["", "https://x/1", "https://@x/1", "https://a@x/", "https://a@x/y", "a@x/1"] {
            check(bad, None);
        }
    }
}
