//! What the tests of this feature share: directories, sources in directories, releases made by
//! hand.

use std::fs::File;
use std::io::Write;
use std::num::NonZero;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use groundcrew_core::types::{Digest, Environment, ReleaseRef};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::aws::s3::PutIf;
use crate::fsx;

use super::channel::{Channel, SCHEMA, Target, read_channel};
use super::fetch::{FetchError, FetchLimits, FetchProgress, Fetched, fetch};
use super::hash;
use super::manifest::{self, Contents, Entry, EntryKind, FileContent, Frame, Manifest};
use super::promote::promote;
use super::publish::{Publication, PublishError, Published, publish};
use super::source::{Key, Source};
use super::store::Store;
use crate::source_url::SourceUrl;

pub(super) const RELEASE_TOML: &str = "[tier.web]\ncommand = [\"node\", \"app.js\"]\n";

/// A directory with a tree to publish, a source and the state of a host; gone with the test.
pub(super) struct World {
    _keep: tempfile::TempDir,
    pub root: Utf8PathBuf,
    pub source: Source,
    pub store: Store,
}

impl World {
    pub(super) async fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().canonicalize().unwrap()).unwrap();
        let url: SourceUrl = format!("file://{root}/source").parse().unwrap();
        let source = Source::open(&url).await;
        let store = Store::open(&root.join("state")).unwrap();
        let world = Self { _keep: keep, root, source, store };
        world.write("release.toml", RELEASE_TOML.as_bytes());
        world
    }

    pub(super) fn tree(&self) -> Utf8PathBuf {
        self.root.join("tree")
    }

    pub(super) fn write(&self, path: &str, content: &[u8]) {
        let path = self.tree().join(path);
        fsx::create_dirs(path.parent().unwrap(), 0o755).unwrap();
        // Not synced: there are hundreds of them.
        File::create(&path).unwrap().write_all(content).unwrap();
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        symlink(target, self.tree().join(path)).unwrap();
    }

    pub(super) fn make_executable(&self, path: &str) {
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(self.tree().join(path), mode).unwrap();
    }

    pub(super) async fn try_publish(&self, version: &str) -> Result<Published, PublishError> {
        let publication = Publication {
            directory: self.tree(),
            version: version.parse().unwrap(),
            threads: NonZero::new(2).unwrap(),
        };
        let cancel = CancellationToken::new();
        publish(&self.source, publication, &|_| Ok(()), Arc::new(|_| ()), &cancel).await
    }

    /// Publishes and promotes what the tree holds.
    pub(super) async fn release(&self, version: &str) -> Manifest {
        let published = self.try_publish(version).await.unwrap();
        let version = version.parse().unwrap();
        promote(&self.source, &production(), &version, "ada@host").await.unwrap();
        published.manifest
    }

    pub(super) async fn target(&self) -> Target {
        self.channel().await.target()
    }

    pub(super) async fn channel(&self) -> Channel {
        match read_channel(&self.source, &production(), None).await.unwrap() {
            super::channel::ChannelRead::Found { channel, .. } => *channel,
            other => panic!("no channel: {other:?}"),
        }
    }

    pub(super) async fn fetch(&self) -> Result<Fetched, FetchError> {
        self.fetch_with(&FetchLimits { disk_margin_bytes: 0, ..FetchLimits::default() }).await
    }

    pub(super) async fn fetch_with(&self, limits: &FetchLimits) -> Result<Fetched, FetchError> {
        let (progress, _) = watch::channel(FetchProgress::default());
        let cancel = CancellationToken::new();
        fetch(&self.source, &self.store, &self.target().await, limits, progress, &cancel).await
    }

    /// Puts a release made by hand into the source, and points the channel at it. `edit` may lie in
    /// the manifest; digests of the artifact are right.
    pub(super) async fn craft(&self, files: Vec<Entry>, tar: &[u8], edit: impl Fn(&mut Value)) {
        let artifact = zstd::bulk::compress(tar, 3).unwrap();
        self.craft_bytes(files, &artifact, tar.len(), edit).await;
    }

    /// As [`World::craft`], with an artifact that need not be zstd.
    pub(super) async fn craft_bytes(
        &self,
        files: Vec<Entry>,
        artifact: &[u8],
        unpacked_bytes: usize,
        edit: impl Fn(&mut Value),
    ) {
        let digest = hash::sha256(artifact);
        let contents = Contents {
            schema: manifest::SCHEMA,
            version: "v666".parse().unwrap(),
            digest,
            size_bytes: artifact.len() as u64,
            unpacked_bytes: files.iter().map(size).sum(),
            created: Timestamp::UNIX_EPOCH,
            git: None,
            groundcrew: "0".to_owned(),
            frames: vec![Frame {
                offset: 0,
                length: artifact.len() as u64,
                digest,
                unpacked_bytes: unpacked_bytes as u64,
                entries: files.len() as u64,
            }],
            files,
        };
        let mut document = serde_json::to_value(&contents).unwrap();
        edit(&mut document);
        let manifest = serde_json::to_vec(&document).unwrap();
        self.put_file(&Key::artifact(&digest), artifact);
        self.put_file(&Key::manifest(&contents.version), &manifest);
        let release = ReleaseRef { version: contents.version, digest };
        self.point_at(release, hash::sha256(&manifest)).await;
    }

    pub(super) async fn point_at(&self, release: ReleaseRef, manifest_digest: Digest) {
        let (environment, generation, history) = (production(), 1, Vec::new());
        let channel =
            Channel { schema: SCHEMA, environment, generation, release, manifest_digest, history };
        let bytes = serde_json::to_vec(&channel).unwrap();
        drop(std::fs::remove_file(self.source_file(&Key::channel(&production()))));
        self.source.put(&Key::channel(&production()), bytes, PutIf::Absent).await.unwrap();
    }

    pub(super) fn source_file(&self, key: &Key) -> Utf8PathBuf {
        self.root.join("source").join(key.as_str())
    }

    pub(super) fn put_file(&self, key: &Key, bytes: &[u8]) {
        let path = self.source_file(key);
        fsx::create_dirs(path.parent().unwrap(), 0o755).unwrap();
        fsx::write_atomic(&path, bytes, 0o644).unwrap();
    }

    /// Nothing of a release is visible, and nothing half done is left.
    pub(super) fn assert_nothing_on_disk(&self) {
        assert_eq!(self.store.list().unwrap(), []);
        for directory in ["releases", "trash"] {
            let left = self.store.state_dir().join(directory).read_dir_utf8().unwrap().count();
            assert_eq!(left, 0, "{directory}");
        }
    }
}

fn size(entry: &Entry) -> u64 {
    match &entry.kind {
        EntryKind::File(content) => content.size,
        EntryKind::Directory | EntryKind::Symlink(_) => 0,
    }
}

pub(super) fn production() -> Environment {
    "production".parse().unwrap()
}

/// A file of a manifest.
pub(super) fn file_entry(path: &str, content: &[u8]) -> Entry {
    let content = FileContent {
        size: content.len() as u64,
        digest: hash::sha256(content),
        executable: false,
    };
    Entry { path: path.parse().unwrap(), kind: EntryKind::File(content) }
}

/// One entry of a tar stream, with whatever name, kind and mode.
pub(super) fn tar_entry(
    kind: tar::EntryType,
    name: &str,
    target: &str,
    mode: u32,
    content: &[u8],
) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[..name.len()].copy_from_slice(name.as_bytes());
    gnu.linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Path, mode, link count and content (or target) of everything below a directory, sorted.
pub(super) fn listing(root: &Utf8Path) -> Vec<(String, u32, u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in directory.read_dir_utf8().unwrap() {
            let path = entry.unwrap().into_path();
            let metadata = path.symlink_metadata().unwrap();
            let (content, links) = if metadata.is_dir() {
                directories.push(path.clone());
                (Vec::new(), 0)
            } else if metadata.is_symlink() {
                (path.read_link_utf8().unwrap().into_string().into_bytes(), 1)
            } else {
                (std::fs::read(&path).unwrap(), metadata.nlink())
            };
            let name = path.strip_prefix(root).unwrap().to_string();
            found.push((name, metadata.mode() & 0o7777, links, content));
        }
    }
    found.sort();
    found
}
