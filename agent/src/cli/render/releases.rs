//! `groundcrew releases`: what is on this host and what each release is to it.

use groundcrew_core::status::{ReleaseEntry, ReleaseRole, ReleasesDocument};
use groundcrew_core::time::Wall;

use super::human::{ago, clean, date, size};
use super::table::{Align::*, Cell, table};
use super::{Style, Tone};

/// All releases as a table that ends with a newline.
#[must_use]
pub fn render(document: &ReleasesDocument, style: Style) -> String {
    if document.releases.is_empty() {
        return "no releases on this host yet\n".to_owned();
    }
    let columns = [
        ("VERSION", Left),
        ("DIGEST", Left),
        ("ROLE", Left),
        ("PUBLISHED", Left),
        ("FETCHED", Left),
        ("DISK", Right),
        ("FILES", Right),
        ("REASON", Left),
    ];
    let now = document.now;
    let when = |at: Option<Wall>| at.map_or("-".to_owned(), |at| ago(at, now));
    let row = |release: &ReleaseEntry| -> [Cell; 8] {
        [
            release.version.as_str().into(),
            release.digest.short().into(),
            Cell::toned(release.role.word(), role_tone(release.role)),
            when(release.created).into(),
            when(release.fetched).into(),
            release.disk_bytes.map_or("-".to_owned(), size).into(),
            release.files.map_or("-".to_owned(), |files| files.to_string()).into(),
            clean(release.reason.as_deref().unwrap_or_default()).into(),
        ]
    };
    let rows: Vec<_> = document.releases.iter().map(row).collect();
    if document.releases.iter().any(|release| release.reason.is_some()) {
        return table(columns, &rows, style);
    }
    let [columns @ .., _] = columns;
    let rows: Vec<[Cell; 7]> = rows.into_iter().map(|[row @ .., _]| row).collect();
    table(columns, &rows, style)
}

/// One release in detail.
#[must_use]
pub fn render_one(release: &ReleaseEntry, now: Wall, style: Style) -> String {
    let role = style.paint(role_tone(release.role), release.role.word());
    let mut text = format!("{} {role}\n", release.version);
    let when = |at: Wall| format!("{}; {}", date(at), ago(at, now));
    let facts = [
        ("Digest", Some(release.digest.to_string())),
        ("Commit", release.commit.clone()),
        ("Published", release.created.map(when)),
        ("Fetched", release.fetched.map(when)),
        ("Disk", release.disk_bytes.map(size)),
        ("Files", release.files.map(|files| files.to_string())),
        ("Reason", release.reason.clone()),
    ];
    for (name, fact) in facts {
        if let Some(fact) = fact {
            text.push_str(&style.paragraph(&format!("  {name:<9}  "), 13, &fact));
        }
    }
    text
}

fn role_tone(role: ReleaseRole) -> Option<Tone> {
    match role {
        ReleaseRole::Current => Some(Tone::Good),
        ReleaseRole::Desired => Some(Tone::Caution),
        ReleaseRole::Rejected => Some(Tone::Bad),
        ReleaseRole::Previous | ReleaseRole::Kept => None,
    }
}
