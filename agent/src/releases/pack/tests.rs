//! Packing: the same bytes for the same directory, and what cannot be packed.

use super::super::testing::World;
use super::*;

struct Unwatched;

impl Watch for Unwatched {
    fn packed(&self, _: u64) {}

    fn cancelled(&self) -> bool {
        false
    }
}

fn pack(root: &Utf8Path, threads: usize) -> (Packed, Vec<u8>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let tree = Tree::walk(root).unwrap();
    let threads = NonZero::new(threads).unwrap();
    let packed = tree.pack(file.as_file_mut(), threads, &Unwatched).unwrap();
    (packed, std::fs::read(file.path()).unwrap())
}

/// Bytes that zstd cannot make much of.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

async fn varied() -> World {
    let world = World::new().await;
    for number in 0..40 {
        world.write(&format!("lib/{number}/index.js"), &noise(70_000, number + 1));
    }
    world.write("assets/big.bin", &noise(3 << 20, 99));
    world.write("assets/huge.bin", &vec![7; 20 << 20]);
    world.write("bin/www", b"#!/usr/bin/env node\n");
    world.make_executable("bin/www");
    world.write(&format!("deep/{}/x", "n".repeat(200)), b"long name");
    std::fs::create_dir(world.tree().join("empty")).unwrap();
    world.link("bin/current", "www");
    world.link("deep/far", &format!("{}/x", "n".repeat(200)));
    world
}

#[tokio::test]
async fn the_same_tree_gives_the_same_bytes_with_any_number_of_threads_and_times() {
    let world = varied().await;
    let (one, bytes) = pack(&world.tree(), 1);
    assert!(one.frames.len() > 4, "{} frames", one.frames.len());
    assert_eq!(super::super::hash::sha256(&bytes), one.digest);
    let other = varied().await;
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    let file = File::options().write(true).open(other.tree().join("bin/current")).unwrap();
    file.set_modified(long_ago).unwrap();
    assert_eq!(pack(&other.tree(), 3), (one, bytes));
}

#[tokio::test]
async fn a_plain_tar_unpacks_it() {
    let world = varied().await;
    let (packed, bytes) = pack(&world.tree(), 2);
    let out = world.root.join("out");
    std::fs::create_dir(&out).unwrap();
    let mut tar = tar::Archive::new(zstd::stream::read::Decoder::new(&*bytes).unwrap());
    tar.unpack(&out).unwrap();
    let unpacked = |root: &Utf8Path| {
        let listing = super::super::testing::listing(root).into_iter();
        listing.map(|(path, _, _, content)| (path, content)).collect::<Vec<_>>()
    };
    assert_eq!(unpacked(&out), unpacked(&world.tree()));
    let (again, _) = pack(&out, 2);
    assert_eq!(again.digest, packed.digest, "what was unpacked packs to the same artifact");
}

#[tokio::test]
async fn only_what_the_ignore_file_names_stays_out() {
    let world = World::new().await;
    let patterns = b"*.log\n/tmp/\nnode_modules/.cache\n!keep.log\n# a comment\n";
    world.write(".groundcrewignore", patterns);
    world.write(".gitignore", b"node_modules\n");
    for path in ["a.log", "keep.log", "tmp/x", "src/tmp/x", "node_modules/.cache/x"] {
        world.write(path, b"x");
    }
    for path in ["node_modules/a/index.js", ".env", ".git/HEAD", "vendor/.git/HEAD"] {
        world.write(path, b"x");
    }
    let (packed, _) = pack(&world.tree(), 2);
    let files = packed.files.iter().filter(|entry| entry.kind != EntryKind::Directory);
    let files: Vec<&str> = files.map(|entry| entry.path.as_str()).collect();
    let expected = [
        ".env",
        ".gitignore",
        ".groundcrewignore",
        "keep.log",
        "node_modules/a/index.js",
        "release.toml",
        "src/tmp/x",
    ];
    assert_eq!(files, expected);
}

#[tokio::test]
async fn what_no_release_may_hold_is_refused_by_name() {
    type Make = fn(&World);
    let check = async |make: Make, expected: &str| {
        let world = World::new().await;
        make(&world);
        let error = Tree::walk(&world.tree()).unwrap_err();
        let text = crate::errors::chain(&error);
        assert!(text.contains(expected), "{text}");
    };
    check(|world| world.link("a", "/etc/passwd"), "symlink \"a\" to \"/etc/passwd\" is absolute")
        .await;
    check(|world| world.link("a", "../x"), "symlink \"a\" to \"../x\" leaves the release").await;
    check(
        |world| {
            let path = world.tree().join("agent.sock");
            drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        },
        "\"agent.sock\" is a socket",
    )
    .await;
    check(
        |world| {
            let mode = nix::sys::stat::Mode::S_IRWXU;
            nix::unistd::mkfifo(world.tree().join("pipe").as_std_path(), mode).unwrap();
        },
        "\"pipe\" is a named pipe",
    )
    .await;
    check(
        |world| {
            use std::os::unix::ffi::OsStrExt;
            let name = std::ffi::OsStr::from_bytes(b"b\xff");
            File::create(world.tree().as_std_path().join(name)).unwrap();
        },
        "is not UTF-8",
    )
    .await;
    check(
        |world| std::fs::remove_file(world.tree().join("release.toml")).unwrap(),
        "has no release.toml",
    )
    .await;
}

#[tokio::test]
async fn a_file_that_changes_or_goes_while_it_is_packed_is_named() {
    let check = async |change: fn(&World), expected: &str| {
        let world = World::new().await;
        world.write("app.js", b"one");
        let tree = Tree::walk(&world.tree()).unwrap();
        change(&world);
        let mut out = tempfile::tempfile().unwrap();
        let error = tree.pack(&mut out, NonZero::<usize>::MIN, &Unwatched).unwrap_err();
        let text = crate::errors::chain(&error);
        assert!(text.contains("app.js") && text.contains(expected), "{text}");
    };
    check(|world| world.write("app.js", b"longer"), "changed while it was packed").await;
    check(|world| world.write("app.js", b"two"), "changed while it was packed").await;
    check(|world| std::fs::remove_file(world.tree().join("app.js")).unwrap(), "No such file").await;
}
