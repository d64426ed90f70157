//! Fetching from a directory: honest releases, hostile ones, and tries that were interrupted.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use camino::Utf8Path;
use serde_json::{Value, json};
use tar::EntryType;

use super::super::testing::{World, file_entry, listing, tar_entry};
use super::*;
use crate::fsx;

/// Bytes that compress to about half.
fn content(number: usize, length: usize) -> Vec<u8> {
    let mut state = u32::try_from(number + 1).unwrap().wrapping_mul(2_654_435_761).max(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        b'a' + (state.to_be_bytes()[0] >> 4)
    };
    (0..length).map(|_| next()).collect()
}

async fn application(files: usize) -> World {
    let world = World::new().await;
    for number in 0..files {
        let name = format!("node_modules/pkg{}/lib/{number}.js", number % 17);
        world.write(&name, &content(number, 20_000 + number));
    }
    world.write("bin/www", b"#!/usr/bin/env node\n");
    world.make_executable("bin/www");
    world.write("empty.txt", b"");
    world.link("bin/current", "www");
    world
}

#[tokio::test]
async fn what_is_published_comes_to_disk_read_only_and_whole() {
    let world = application(200).await;
    world.write("assets/large.bin", &content(1, 5 << 20));
    let manifest = world.release("v1").await;
    assert!(manifest.frames.iter().any(|frame| frame.length > 2 << 20), "one is streamed");
    let fetched = world.fetch().await.unwrap();
    assert_eq!(fetched.files_written, 204);
    let is_file = |index| plan::file(&manifest, index).is_some();
    assert_eq!(fetched.bytes_downloaded, bytes_with(&manifest, is_file));
    let path = world.store.path(&manifest.digest);
    let (here, there) = (listing(&path), listing(&world.tree()));
    assert_eq!(here.len(), there.len());
    for (here, there) in here.iter().zip(&there) {
        assert_eq!((&here.0, &here.3), (&there.0, &there.3));
        let mode = here.1;
        match here.0.as_str() {
            "bin/www" => assert_eq!(mode, 0o555),
            "bin/current" => {}
            _ if path.join(&here.0).is_dir() => assert_eq!(mode, 0o755),
            name => assert_eq!(mode, 0o444, "{name}"),
        }
    }
    assert_eq!(path.symlink_metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(world.store.manifest(&manifest.digest).unwrap(), manifest);
    assert_eq!(world.fetch().await.unwrap(), Fetched::default(), "nothing to do the second time");
    assert_eq!(world.store.list().unwrap(), [manifest.digest]);
    assert!(world.store.disk_usage().unwrap() > 5 << 20);
}

#[tokio::test]
async fn a_change_of_one_line_writes_one_file_and_downloads_its_frame() {
    let world = application(300).await;
    let first = world.release("v1").await;
    world.fetch().await.unwrap();
    world.write("node_modules/pkg3/lib/3.js", b"one line\n");
    let second = world.release("v2").await;
    let fetched = world.fetch().await.unwrap();
    assert_eq!((fetched.files_written, fetched.files_linked), (1, 302));
    let largest = second.frames.iter().map(|frame| frame.length).max().unwrap();
    assert!(fetched.bytes_downloaded <= largest, "{} > {largest}", fetched.bytes_downloaded);
    let (old, new) = (world.store.path(&first.digest), world.store.path(&second.digest));
    let inode = |path: &Utf8Path| path.metadata().unwrap().ino();
    let (same, changed) = ("node_modules/pkg4/lib/4.js", "node_modules/pkg3/lib/3.js");
    assert_eq!(inode(&old.join(same)), inode(&new.join(same)));
    assert_ne!(inode(&old.join(changed)), inode(&new.join(changed)));
    world.store.remove(&first.digest).unwrap();
    world.store.empty_trash(&CancellationToken::new()).await.unwrap();
    assert_eq!(std::fs::read(new.join(same)).unwrap(), content(4, 20_004), "the link lives on");
}

#[tokio::test]
async fn a_moved_file_is_linked_and_an_altered_one_is_downloaded() {
    let world = application(50).await;
    let first = world.release("v1").await;
    world.fetch().await.unwrap();
    std::fs::rename(world.tree().join("empty.txt"), world.tree().join("moved.txt")).unwrap();
    std::fs::rename(
        world.tree().join("node_modules/pkg1/lib/1.js"),
        world.tree().join("node_modules/pkg1/lib/renamed.js"),
    )
    .unwrap();
    // Somebody with root's rights shortened a file of the release on disk.
    let altered = world.store.path(&first.digest).join("node_modules/pkg2/lib/2.js");
    std::fs::set_permissions(&altered, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::OpenOptions::new().write(true).open(&altered).unwrap().set_len(3).unwrap();
    let second = world.release("v2").await;
    let fetched = world.fetch().await.unwrap();
    assert_eq!((fetched.files_written, fetched.files_linked), (1, 52));
    let path = world.store.path(&second.digest);
    assert_eq!(std::fs::read(path.join("node_modules/pkg2/lib/2.js")).unwrap(), content(2, 20_002));
    assert_eq!(
        std::fs::read(path.join("node_modules/pkg1/lib/renamed.js")).unwrap(),
        content(1, 20_001)
    );
}

#[tokio::test]
async fn an_interrupted_fetch_goes_on_where_it_stopped() {
    let world = application(200).await;
    let manifest = world.release("v1").await;
    world.fetch().await.unwrap();
    // As a crash leaves it: not in place yet, some files missing, one without its end, one with
    // wrong bytes.
    let staged = world.store.staging_path(&world.target().await.manifest_digest);
    std::fs::rename(world.store.path(&manifest.digest), &staged).unwrap();
    let hurt: Vec<usize> = (0..manifest.files.len())
        .filter(|index| manifest.files[*index].path.as_str().starts_with("node_modules/pkg7/lib/"))
        .collect();
    for (number, index) in hurt.iter().enumerate() {
        let path = staged.join(manifest.files[*index].path.as_str());
        let mut bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        match number {
            0 => fsx::write_atomic(&path, &bytes[..500], 0o444).unwrap(),
            1 => {
                bytes[100] ^= 1;
                fsx::write_atomic(&path, &bytes, 0o444).unwrap();
            }
            _ => {}
        }
    }
    let store = Store::open(world.store.state_dir()).unwrap();
    assert_eq!(store.list().unwrap(), [], "a half release is not visible");
    assert!(staged.exists(), "the next agent finds it");
    let fetched = world.fetch().await.unwrap();
    assert_eq!(fetched.files_written, hurt.len() as u64);
    assert_eq!(fetched.files_kept, 203 - hurt.len() as u64);
    assert_eq!(fetched.bytes_downloaded, bytes_with(&manifest, |index| hurt.contains(&index)));
    assert!(fetched.bytes_downloaded < manifest.size_bytes / 2, "{fetched:?}");
    assert!(!staged.exists());
    assert_eq!(contents(&store.path(&manifest.digest)), contents(&world.tree()));
}

#[tokio::test]
async fn a_cancelled_fetch_ends_and_leaves_no_release() {
    let world = application(3).await;
    world.release("v1").await;
    let (progress, _) = watch::channel(FetchProgress::default());
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (target, limits) = (world.target().await, FetchLimits::default());
    let result = fetch(&world.source, &world.store, &target, &limits, progress, &cancel).await;
    let error = result.unwrap_err();
    assert!(matches!(error, FetchError::Cancelled) && !error.permanent(), "{error}");
    assert_eq!(world.store.list().unwrap(), []);
}

/// Bytes of the frames that hold one of these entries.
fn bytes_with(manifest: &Manifest, wanted: impl Fn(usize) -> bool) -> u64 {
    let holds = |frame: &usize| manifest.frame_entries(*frame).any(&wanted);
    (0..manifest.frames.len()).filter(holds).map(|frame| manifest.frames[frame].length).sum()
}

fn contents(root: &Utf8Path) -> Vec<(String, Vec<u8>)> {
    listing(root).into_iter().map(|(path, _, _, content)| (path, content)).collect()
}

#[tokio::test]
async fn corrupt_and_truncated_artifacts_are_refused_and_the_live_release_stays() {
    let world = application(100).await;
    world.write("assets/large.bin", &content(1, 5 << 20));
    let live = world.release("v1").await;
    world.fetch().await.unwrap();
    let before = listing(&world.store.path(&live.digest));
    let check = async |number: usize, hurt: fn(&mut Vec<u8>, &Manifest), expected: &str| {
        world.write("changed.bin", &content(number, 3000));
        world.write("assets/large.bin", &content(number, 5 << 20));
        let manifest = world.release(&format!("v{number}")).await;
        let artifact = world.source_file(&Key::artifact(&manifest.digest));
        let mut bytes = std::fs::read(&artifact).unwrap();
        hurt(&mut bytes, &manifest);
        fsx::write_atomic(&artifact, &bytes, 0o644).unwrap();
        let error = world.fetch().await.unwrap_err();
        let text = crate::errors::chain(&error);
        assert!(error.permanent() && text.contains(expected), "{text}");
        assert_eq!(world.store.list().unwrap(), [live.digest]);
    };
    check(10, |bytes, _| bytes.truncate(bytes.len() - 1), "bytes, the manifest says").await;
    check(
        11,
        |bytes, manifest| {
            let frame = &manifest.frames[frame_with(manifest, "changed.bin")];
            bytes[usize::try_from(frame.offset + frame.length / 2).unwrap()] ^= 1;
        },
        "of the artifact",
    )
    .await;
    check(
        12,
        |bytes, manifest| {
            let large = manifest.frames.iter().find(|frame| frame.length > 2 << 20).unwrap();
            bytes[usize::try_from(large.offset + large.length / 2).unwrap()] ^= 1;
        },
        "\"assets/large.bin\") has digest",
    )
    .await;
    let after = listing(&world.store.path(&live.digest));
    assert_eq!(before, after);
}

#[tokio::test]
async fn what_is_read_along_between_two_needed_frames_is_not_looked_at() {
    let world = World::new().await;
    // Each fills a frame; the one in the middle compresses to next to nothing.
    let middle = "f/1.bin";
    world.write(middle, "x".repeat(300_000).as_bytes());
    let write = |number| {
        for name in ["f/0.bin", "f/2.bin"] {
            world.write(name, &content(number, 300_000));
        }
    };
    write(0);
    world.release("v1").await;
    world.fetch().await.unwrap();
    write(1);
    let manifest = world.release("v2").await;
    let frame = frame_with(&manifest, middle);
    damage(&world, &manifest, frame);
    let fetched = world.fetch().await.unwrap();
    assert_eq!((fetched.files_written, fetched.files_linked), (2, 2));
    let together = frame_with(&manifest, "f/0.bin")..=frame_with(&manifest, "f/2.bin");
    let bytes: u64 = manifest.frames[together].iter().map(|frame| frame.length).sum();
    assert_eq!(fetched.bytes_downloaded, bytes, "one request for all three");
}

/// The one that holds a file.
fn frame_with(manifest: &Manifest, path: &str) -> usize {
    let holds = |frame: &usize| {
        manifest.frame_entries(*frame).any(|index| manifest.files[index].path.as_str() == path)
    };
    (0..manifest.frames.len()).find(holds).unwrap()
}

/// Changes a bit in the middle of a frame in the source.
fn damage(world: &World, manifest: &Manifest, frame: usize) {
    let artifact = world.source_file(&Key::artifact(&manifest.digest));
    let mut bytes = std::fs::read(&artifact).unwrap();
    let frame = &manifest.frames[frame];
    bytes[usize::try_from(frame.offset + frame.length / 2).unwrap()] ^= 1;
    world.put_file(&Key::artifact(&manifest.digest), &bytes);
}

#[tokio::test]
async fn a_source_that_lacks_something_is_a_reason_to_try_again_later() {
    let world = application(5).await;
    let manifest = world.release("v1").await;
    let check = async |key: &Key, expected: &str| {
        let (file, aside) = (world.source_file(key), world.root.join("aside"));
        std::fs::rename(&file, &aside).unwrap();
        let error = world.fetch().await.unwrap_err();
        assert!(!error.permanent() && error.to_string().contains(expected), "{error}");
        std::fs::rename(&aside, &file).unwrap();
    };
    check(&Key::artifact(&manifest.digest), "no artifact at").await;
    check(&Key::manifest(&manifest.version), "has no release v1").await;
    world.fetch().await.unwrap();
}

#[tokio::test]
async fn a_release_that_does_not_fit_is_refused_before_anything_is_written() {
    let world = application(20).await;
    world.release("v1").await;
    let check = async |limits: FetchLimits, expected: &str| {
        let error = world.fetch_with(&limits).await.unwrap_err();
        assert!(!error.permanent() && error.to_string().contains(expected), "{error}");
        world.assert_nothing_on_disk();
    };
    let budget = FetchLimits { disk_budget_bytes: Some(400_000), disk_margin_bytes: 0 };
    check(budget, "bytes, `disk_max` leaves 400000").await;
    let margin = FetchLimits { disk_budget_bytes: None, disk_margin_bytes: 1 << 60 };
    check(margin, "1152921504606846976 must stay free").await;
}

#[tokio::test]
async fn a_manifest_that_lies_is_refused_by_name() {
    let toml = b"x";
    let check = async |edit: fn(&mut Value), expected: &str| {
        let world = World::new().await;
        let tar = tar_entry(EntryType::Regular, "release.toml", "", 0o644, toml);
        world.craft(vec![file_entry("release.toml", toml)], &tar, edit).await;
        let error = world.fetch().await.unwrap_err();
        let text = crate::errors::chain(&error);
        assert!(error.permanent() && text.contains(expected), "{text}");
        world.assert_nothing_on_disk();
    };
    check(|m| m["files"][0]["path"] = json!("/etc/cron.d/x"), "\"/etc/cron.d/x\" is absolute")
        .await;
    check(|m| m["files"][0]["path"] = json!("../x"), "\"../x\" has a '..' component").await;
    check(|m| m["files"][0]["size"] = json!(1_u64 << 50), "bytes unpacked, more than").await;
    check(|m| m["version"] = json!("v1"), "says that it is v1's").await;
    check(|m| m["digest"] = json!("ab".repeat(32)), "describes artifact abab").await;
    check(|m| m["frames"][0]["digest"] = json!("ab".repeat(32)), "frame 0 of the artifact").await;
    check(|m| m["frames"][0]["unpacked_bytes"] = json!(1025), "does not unpack to the 1025").await;
    check(|m| m["frames"][0]["unpacked_bytes"] = json!(1023), "frame 0 of the archive").await;
    check(|m| m["files"][0]["executable"] = json!(true), "executable in only one").await;
    check(|m| m["files"][0]["sha256"] = json!("ab".repeat(32)), "file \"release.toml\" has digest")
        .await;
}

#[tokio::test]
async fn another_manifest_than_the_channel_named_is_refused() {
    let world = application(3).await;
    let manifest = world.release("v1").await;
    world.point_at(manifest.release(), Digest::from_bytes([9; 32])).await;
    let error = world.fetch().await.unwrap_err();
    assert!(error.permanent() && error.to_string().contains("the channel says 0909"), "{error}");
}

#[tokio::test]
async fn an_archive_that_lies_is_refused_by_name() {
    let toml = b"x";
    let good = || tar_entry(EntryType::Regular, "release.toml", "", 0o644, toml);
    let check = async |tar: Vec<u8>, expected: &str| {
        let world = World::new().await;
        let files = vec![file_entry("app.js", b"js"), file_entry("release.toml", toml)];
        world.craft(files, &tar, |_| ()).await;
        let error = world.fetch().await.unwrap_err();
        let text = crate::errors::chain(&error);
        assert!(error.permanent() && text.contains(expected), "{text}");
        world.assert_nothing_on_disk();
        assert!(!world.root.join("state/escaped").exists() && !world.root.join("escaped").exists());
    };
    let first = |kind, name: &str, target: &str, mode, content: &[u8]| {
        let mut tar = tar_entry(kind, name, target, mode, content);
        tar.extend(good());
        tar
    };
    let js = b"js".as_slice();
    use EntryType::{Block, Char, Continuous, Directory, Fifo, Link, Regular, Symlink};
    check(first(Regular, "/escaped", "", 0o644, js), "\"/escaped\" is absolute").await;
    check(first(Regular, "../escaped", "", 0o644, js), "\"../escaped\" has a '..'").await;
    check(first(Regular, "a/../../escaped", "", 0o644, js), "'..' component").await;
    check(first(Regular, "other.js", "", 0o644, js), "is not what the manifest lists here").await;
    check(first(Symlink, "app.js", "/etc/passwd", 0o777, b""), "is not a file").await;
    check(first(Directory, "app.js/", "", 0o755, b""), "is not a file").await;
    check(first(Link, "app.js", "/etc/passwd", 0o644, b""), "\"app.js\" is a hard link").await;
    check(first(Char, "app.js", "", 0o644, b""), "\"app.js\" is a device").await;
    check(first(Block, "app.js", "", 0o644, b""), "\"app.js\" is a device").await;
    check(first(Fifo, "app.js", "", 0o644, b""), "\"app.js\" is a named pipe").await;
    check(first(Continuous, "app.js", "", 0o644, js), "of an unknown kind").await;
    check(first(EntryType::XHeader, "app.js", "", 0o644, js), "is a pax header").await;
    check(first(Regular, "app.js", "", 0o4755, js), "\"app.js\" is setuid").await;
    check(first(Regular, "app.js", "", 0o755, js), "executable in only one").await;
    check(first(Regular, "app.js", "", 0o644, b"longer"), "has 6 bytes, the manifest says 2").await;
    check(first(Regular, "app.js", "", 0o644, b"sj"), "file \"app.js\" has digest").await;
    check(first(EntryType::GNULongName, "x", "", 0o644, &[b'n'; 5000]), "longer than 4096").await;
    let lacks = tar_entry(Regular, "app.js", "", 0o644, js);
    check(lacks, "lacks \"release.toml\"").await;
    let mut more = first(Regular, "app.js", "", 0o644, js);
    more.extend(tar_entry(Regular, "more.js", "", 0o644, js));
    check(more, "\"more.js\" is not listed").await;
    let mut torn = first(Regular, "app.js", "", 0o644, js);
    torn.truncate(900);
    check(torn, "frame 0 of the archive cannot be unpacked").await;
    check(vec![0xff; 2048], "frame 0 of the archive cannot be unpacked").await;
}

#[tokio::test]
async fn what_is_no_zstd_or_asks_for_too_much_memory_is_refused() {
    use std::io::Write;
    let tar = tar_entry(EntryType::Regular, "release.toml", "", 0o644, &vec![0; 64 << 20]);
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    zstd.window_log(27).unwrap();
    zstd.write_all(&tar).unwrap();
    let wide = zstd.finish().unwrap();
    for artifact in [b"no zstd at all".to_vec(), wide] {
        let world = World::new().await;
        let file = file_entry("release.toml", &vec![0; 64 << 20]);
        world.craft_bytes(vec![file], &artifact, tar.len(), |_| ()).await;
        let error = world.fetch().await.unwrap_err();
        let text = crate::errors::chain(&error);
        assert!(error.permanent() && text.contains("cannot be unpacked"), "{text}");
        world.assert_nothing_on_disk();
    }
}

#[tokio::test]
async fn only_one_fetches_at_a_time() {
    let world = application(3).await;
    world.release("v1").await;
    let lock = world.store.lock().unwrap();
    let error = world.fetch().await.unwrap_err();
    assert!(error.to_string().contains("another groundcrew is fetching"), "{error}");
    drop(lock);
    world.fetch().await.unwrap();
}
