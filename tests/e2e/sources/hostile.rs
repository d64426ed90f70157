//! Archives made to harm the host, by somebody who can write to the source: digests are right, so
//! only what is in them gives them away.

use std::fs;

use serde_json::{Value, json};
use tar::EntryType;

use super::load;
use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::forged::Forged;

const TOML: &[u8] = b"[tier.web]\ncommand = [\"node\", \"app.js\"]\n";
const JS: &[u8] = b"process.exit(1)\n";

/// A release whose archive holds something else where its manifest lists `app.js`.
fn instead(kind: EntryType, name: &str, target: &str, mode: u32, content: &[u8]) -> Forged {
    Forged::default()
        .lists("app.js", JS)
        .holds(kind, name, target, mode, content)
        .file("release.toml", TOML)
}

fn honest() -> Forged {
    Forged::default().file("app.js", JS).file("release.toml", TOML)
}

/// A version's name, its files, what is changed in its manifest, and what the refusal says.
type Case = (&'static str, Forged, fn(&mut Value), &'static str);

/// The manifest is honest, the archive is not.
fn lying_archives(escaped: &str) -> Vec<Case> {
    let as_is: fn(&mut Value) = |_| ();
    let two_up = "../../escaped";
    vec![
        ("absolute", instead(EntryType::Regular, escaped, "", 0o644, JS), as_is, "is absolute"),
        ("dots", instead(EntryType::Regular, two_up, "", 0o644, JS), as_is, "has a '..'"),
        ("symlink", instead(EntryType::Symlink, "app.js", "/etc", 0o777, b""), as_is, "\"app.js\""),
        (
            "hard-link",
            instead(EntryType::Link, "app.js", "/etc/passwd", 0o644, b""),
            as_is,
            "\"app.js\" is a hard link",
        ),
        (
            "device",
            instead(EntryType::Char, "app.js", "", 0o666, b""),
            as_is,
            "\"app.js\" is a device",
        ),
        (
            "setuid",
            instead(EntryType::Regular, "app.js", "", 0o4755, JS),
            as_is,
            "\"app.js\" is setuid",
        ),
    ]
}

/// The archive is honest, the manifest is not.
fn lying_manifests() -> Vec<Case> {
    vec![
        (
            "listed-outside",
            honest(),
            |m| m["files"][0]["path"] = json!("../../escaped"),
            "\"../../escaped\" has a '..'",
        ),
        (
            "listed-link",
            honest(),
            |m| {
                m["files"][0] =
                    json!({"path": "app.js", "kind": "symlink", "target": "../../escaped"});
                m["unpacked_bytes"] = json!(TOML.len());
            },
            "app.js",
        ),
        (
            "too-large",
            honest(),
            |m| {
                m["files"][0]["size"] = json!(1_u64 << 50);
                m["unpacked_bytes"] = json!((1_u64 << 50) + TOML.len() as u64);
            },
            "bytes unpacked, more than",
        ),
        (
            "too-many",
            honest(),
            |m| {
                // Directories are the shortest: the document itself has a limit, too.
                let files =
                    (0..500_001).map(|n| json!({"path": format!("a{n:06}"), "kind": "dir"}));
                m["files"] = files.collect();
            },
            "entries, more than 500000",
        ),
        (
            "bomb",
            honest(),
            |m| m["frames"][0]["unpacked_bytes"] = json!(1_u64 << 40),
            "unpacks to more than its entries hold",
        ),
    ]
}

#[test]
fn hostile_archives_are_refused_by_name_and_the_live_release_goes_on() {
    let world = World::new();
    world.release(&Release::web("good", world.port));
    let agent = Agent::start(&world);
    agent.wait_for_settled("good");
    let load = load(&world).start();
    load.wait_for_answers(100);
    let escaped = world.path().join("escaped");
    let escaped = escaped.to_str().expect("UTF-8");
    for (version, forged, edit, expected) in
        lying_archives(escaped).into_iter().chain(lying_manifests())
    {
        forged.put(&world, version, edit);
        let status = agent.wait_for_rejected(version);
        let reason = status["rejected"]["reason"].as_str().unwrap();
        assert!(reason.contains(expected), "{version}: {reason:?} lacks {expected:?}");
        assert_eq!(status["release"]["version"], "good", "{version}");
        assert!(!fs::exists(escaped).unwrap(), "{version} wrote outside of its directory");
    }
    let left = fs::read_dir(world.path().join("state/releases")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap()).collect();
    let directories = left.iter().filter(|entry| entry.file_type().unwrap().is_dir());
    assert_eq!(directories.count(), 1, "only the good release is on disk: {left:?}");
    world.release(&Release::web("better", world.port));
    agent.wait_for_settled("better");
    load.stop().assert_none_failed();
}
