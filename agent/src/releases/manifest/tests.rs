//! What is a manifest, and everything that is not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const DIGEST: &str = "3f9c2ab03f9c2ab03f9c2ab03f9c2ab03f9c2ab03f9c2ab03f9c2ab03f9c2ab0";

fn good() -> Value {
    json!({
        "schema": 1, "version": "v1", "digest": DIGEST, "size_bytes": 300,
        "unpacked_bytes": 30, "created": "2026-08-20T09:14:07Z", "groundcrew": "0.1.0",
        "frames": [
            {"offset": 0, "length": 100, "digest": DIGEST,
             "unpacked_bytes": 2048, "entries": 2},
            {"offset": 100, "length": 200, "digest": DIGEST,
             "unpacked_bytes": 3072, "entries": 2},
        ],
        "files": [
            {"path": "bin", "kind": "dir"},
            {"path": "bin/www", "kind": "file", "size": 20, "sha256": DIGEST,
             "executable": true},
            {"path": "link", "kind": "symlink", "target": "bin/www"},
            {"path": "release.toml", "kind": "file", "size": 10, "sha256": DIGEST},
        ],
    })
}

fn parse(document: &Value) -> Result<Manifest, ManifestError> {
    Manifest::parse(&serde_json::to_vec(document).unwrap())
}

#[test]
fn a_good_manifest_is_read_written_and_read_again() {
    let manifest = parse(&good()).unwrap();
    assert_eq!(manifest.frame_entries(0), 0..2);
    assert_eq!(manifest.frame_entries(1), 2..4);
    assert_eq!(Manifest::parse(&manifest.to_json().unwrap()).unwrap(), manifest);
    assert!(manifest.find("bin/www").is_some() && manifest.find("bin/ww").is_none());
}

#[test]
fn fields_of_a_newer_publisher_are_left_alone() {
    let mut document = good();
    document["signature"] = json!("later");
    document["files"][0]["mtime"] = json!(0);
    assert!(parse(&document).is_ok());
}

#[test]
fn each_lie_is_refused_by_name() {
    let check = |pointer: &str, value: Value, expected: &str| {
        let mut document = good();
        *document.pointer_mut(pointer).unwrap() = value;
        let error = parse(&document).unwrap_err();
        let text = crate::errors::chain(&error);
        assert!(text.contains(expected), "{pointer}: {text}");
    };
    check("/schema", json!(2), "schema 2");
    check("/version", json!("../v1"), "version");
    check("/digest", json!("abc"), "64 hexadecimal digits");
    check("/size_bytes", json!(301), "301 bytes, its parts add up to 300");
    check("/unpacked_bytes", json!(31), "31 bytes unpacked");
    check("/frames/1/offset", json!(99), "frame 1 of the manifest does not start");
    check("/frames/1/length", json!(0), "frame 1 of the manifest is empty");
    check("/frames/1/length", json!(u64::MAX), "frame 1 of the manifest is too long");
    check("/frames/1/entries", json!(3), "more entries than there are");
    check("/frames/1/entries", json!(1), "4 entries, its parts add up to 3");
    check("/frames/0/unpacked_bytes", json!(1_u64 << 40), "more than its entries hold");
    check("/files/1/path", json!("bin/../../www"), "has a '..' component");
    check("/files/1/path", json!("/bin/www"), "is absolute");
    check("/files/1/path", json!("aww"), "not in order");
    check("/files/1/path", json!("bin/d/www"), "not listed");
    check("/files/1/path", json!("bin"), "is there twice");
    check("/files/1/kind", json!("device"), "device");
    check("/files/1/size", json!(u64::MAX), "bytes unpacked, more than");
    check("/files/1/size", Value::Null, "has no size");
    check("/files/1/sha256", Value::Null, "has no sha256");
    check("/files/2/target", json!("../etc"), "\"link\" is a symlink to \"../etc\" leaves");
    check("/files/2/target", json!("/etc/passwd"), "is absolute");
    check("/files/3/path", json!("release.tomlx"), "no release.toml");
    check("/files/0/kind", json!("symlink"), "has no target");
    let link = json!({"path": "bin", "kind": "symlink", "target": "link"});
    check("/files/0", link, "\"bin/www\" lies below a symlink");
    let file = json!({"path": "bin", "kind": "file", "size": 0, "sha256": DIGEST});
    check("/files/0", file, "\"bin/www\" lies below a file");
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(Manifest::parse(&bytes));
    }

    #[test]
    fn what_is_accepted_is_consistent(
        lengths in prop::collection::vec(0_u64..4, 1..6),
        offsets in prop::collection::vec(0_u64..8, 1..6),
        entries in prop::collection::vec(0_u64..3, 1..6),
        size in 0_u64..12,
    ) {
        let mut document = good();
        document["size_bytes"] = json!(size);
        document["frames"] = lengths.iter().zip(&offsets).zip(&entries)
            .map(|((length, offset), entries)| json!({
                "offset": offset, "length": length, "digest": DIGEST,
                "unpacked_bytes": 512, "entries": entries,
            }))
            .collect();
        if let Ok(manifest) = parse(&document) {
            let covered: u64 = manifest.frames.iter().map(|frame| frame.length).sum();
            prop_assert_eq!(covered, manifest.size_bytes);
            let listed: usize =
                (0..manifest.frames.len()).map(|i| manifest.frame_entries(i).len()).sum();
            prop_assert_eq!(listed, manifest.files.len());
        }
    }
}
