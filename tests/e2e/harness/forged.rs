//! Releases that `publish` would never make, put into a source directory by hand.

use std::fs;
use std::path::Path;

use groundcrew::releases::hash::sha256;
use serde_json::{Value, json};

use super::agent::{ENVIRONMENT, World};

/// A release in the making. Its digests are right unless an edit makes them wrong: that is what
/// somebody can do who can write to the source.
#[derive(Debug, Clone, Default)]
pub struct Forged {
    files: Vec<Value>,
    tar: Vec<u8>,
}

impl Forged {
    /// Lists a file in the manifest, and puts it into the archive. In the order of their paths.
    #[must_use]
    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.lists(path, content).holds(tar::EntryType::Regular, path, "", 0o644, content)
    }

    /// Lists a file in the manifest only.
    #[must_use]
    pub fn lists(mut self, path: &str, content: &[u8]) -> Self {
        let digest = sha256(content).to_string();
        let (kind, size) = ("file", content.len());
        self.files.push(json!({"path": path, "kind": kind, "size": size, "sha256": digest}));
        self
    }

    /// Puts an entry of any kind into the archive only.
    #[must_use]
    pub fn holds(
        mut self,
        kind: tar::EntryType,
        name: &str,
        target: &str,
        mode: u32,
        content: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        // Written as bytes: the crate's own setters refuse what is wanted here.
        let gnu = header.as_gnu_mut().expect("a GNU header");
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.tar.extend_from_slice(header.as_bytes());
        self.tar.extend_from_slice(content);
        self.tar.resize(self.tar.len().next_multiple_of(512), 0);
        self
    }

    /// Puts the release into the world's source directory, and points the channel at it. `edit` may
    /// lie in the manifest.
    pub fn put(self, world: &World, version: &str, edit: impl Fn(&mut Value)) {
        let artifact = zstd::bulk::compress(&self.tar, 3).expect("zstd");
        let digest = sha256(&artifact).to_string();
        let unpacked: u64 = self.files.iter().filter_map(|file| file["size"].as_u64()).sum();
        let mut manifest = json!({
            "schema": 1,
            "version": version,
            "digest": digest,
            "size_bytes": artifact.len(),
            "unpacked_bytes": unpacked,
            "created": "2026-01-01T00:00:00Z",
            "groundcrew": "0.0.0",
            "frames": [{
                "offset": 0,
                "length": artifact.len(),
                "digest": digest,
                "unpacked_bytes": self.tar.len(),
                "entries": self.files.len(),
            }],
            "files": self.files,
        });
        edit(&mut manifest);
        let manifest = serde_json::to_vec(&manifest).expect("JSON");
        let source = world.path().join("source");
        put(&source.join(format!("artifacts/{digest}.tar.zst")), &artifact);
        put(&source.join(format!("releases/{version}.json")), &manifest);
        let path = source.join(format!("channels/{ENVIRONMENT}.json"));
        let mut channel: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let generation = channel["generation"].as_u64().expect("a generation");
        channel["generation"] = json!(generation + 1);
        channel["release"] = json!({"version": version, "digest": digest});
        channel["manifest_digest"] = json!(sha256(&manifest).to_string());
        put(&path, &serde_json::to_vec(&channel).expect("JSON"));
    }
}

/// Whole or not at all: an agent may be reading.
fn put(path: &Path, bytes: &[u8]) {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes).unwrap();
    fs::rename(&aside, path).unwrap();
}
