//! What there may be in a directory beside files that grow.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_file_that_vanishes_and_comes_back_goes_on() {
    for restart in [false, true] {
        let mut world = World::new(&["app.log"]);
        world.write("app.log", &["one"]);
        world.ship();
        let away = world.dir.parent().unwrap().join("away");
        fs::rename(world.path("app.log"), &away).unwrap();
        if restart {
            world.restart();
        }
        world.settle();
        append(&away, "two\n");
        fs::rename(&away, world.path("app.log")).unwrap();
        world.settle();
        world.check(&["one", "two"]);
    }
}

#[test]
fn a_directory_that_vanishes_and_comes_back_goes_on() {
    let mut world = World::new(&["app.log"]);
    world.write("app.log", &["one"]);
    world.ship();
    world.restart();
    let away = world.dir.with_file_name("away");
    fs::rename(&world.dir, &away).unwrap();
    world.settle();
    world.pass(Duration::from_hours(2));
    world.settle();
    fs::rename(&away, &world.dir).unwrap();
    world.write("app.log", &["two"]);
    world.settle();
    world.check(&["one", "two"]);
    assert_eq!(world.usage().forgotten, 0, "what could not be looked for is not missing");
}

#[test]
fn a_reused_inode_is_a_new_file() {
    // On tmpfs and ext4 the next file often gets the inode of the last one that was removed.
    let directories = ["/dev/shm", "/tmp"].into_iter().filter(|path| fs::metadata(path).is_ok());
    for directory in directories {
        for restart in [false, true] {
            let keep = tempfile::tempdir_in(directory).unwrap();
            let root = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
            let mut world = World::within((keep, root), &["app.log"]);
            world.write("app.log", &["one"]);
            world.settle();
            for (at, line) in ["two", "three", "four", "five"].into_iter().enumerate() {
                if restart {
                    world.restart();
                }
                world.remove("app.log");
                // Longer than the one before, so that its offset would fit.
                world.write("app.log", &[&format!("{line}{}", "x".repeat(at * 10))]);
                world.settle();
            }
            let x = |count: usize| "x".repeat(count * 10);
            let [four, five] = [format!("four{}", x(2)), format!("five{}", x(3))];
            world.check(&["one", "two", &format!("three{}", x(1)), &four, &five]);
        }
    }
}

#[test]
fn a_link_is_followed_and_its_file_is_read_once() {
    let mut world = World::new(&["*.log"]);
    let target = world.dir.parent().unwrap().join("target");
    drop(File::create(&target).unwrap());
    append(&target, "one\n");
    std::os::unix::fs::symlink(&target, world.path("app.log")).unwrap();
    std::os::unix::fs::symlink(&target, world.path("too.log")).unwrap();
    std::os::unix::fs::symlink(world.path("nowhere"), world.path("dangling.log")).unwrap();
    world.ship();
    world.restart();
    append(&target, "two\n");
    world.ship();
    world.check(&["one", "two"]);
    assert_eq!(world.open_paths(), ["app.log"]);

    // Rotated where the link points to, while nobody looked.
    world.restart();
    append(&target, "three\n");
    fs::rename(&target, target.with_file_name("target.1")).unwrap();
    drop(File::create(&target).unwrap());
    append(&target, "four\n");
    world.settle();
    world.check(&["one", "two", "three", "four"]);
}

#[test]
fn what_is_no_file_is_not_opened() {
    let mut world = World::new(&["*"]);
    let pipe = world.path("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, pipe.as_std_path(), 0o600.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.path("socket")).unwrap();
    fs::create_dir(world.path("directory")).unwrap();
    world.write("app.log", &["one"]);
    world.ship();
    world.check(&["one"]);
    assert_eq!(world.usage().unreadable, 2, "{:?}", world.usage());
}

#[test]
fn a_file_replaced_by_a_pipe_is_read_to_its_end() {
    let mut world = World::new(&["app.log"]);
    world.write("app.log", &["one", "two"]);
    world.scan();
    world.remove("app.log");
    let pipe = world.path("app.log");
    rustix::fs::mkfifoat(rustix::fs::CWD, pipe.as_std_path(), 0o600.into()).unwrap();
    world.settle();
    world.check(&["one", "two"]);
    assert_eq!(world.open_paths(), [""; 0]);
}

#[test]
fn compressed_files_are_never_read_as_text() {
    let mut world = World::new(&["*"]);
    world.write("app.log", &["one"]);
    world.gzip("app.log");
    world.write("misnamed.log", &["two"]);
    world.gzip("misnamed.log");
    world.rename("misnamed.log.gz", "misnamed.log");
    drop(File::create(world.path("begun.log.gz")).unwrap());
    world.write("plain.gz", &["text, whatever it is called"]);
    world.settle();
    world.check(&["text, whatever it is called"]);
}

#[test]
fn a_neighbour_that_begins_alike_is_no_copy() {
    let mut world = World::new(&["*.log*"]);
    world.write("app-a.log", &["listening"]);
    world.write("app-b.log", &["listening"]);
    world.settle();
    world.check(&["listening", "listening"]);

    // Named like a copy, and equal so far: held back until it differs.
    world.write("app-a.log.1", &["listening"]);
    world.ship();
    world.check(&["listening", "listening"]);
    world.write("app-a.log.1", &["stopped"]);
    world.ship();
    world.check(&["listening", "listening", "listening", "stopped"]);
}

#[test]
fn a_large_old_file_is_read_from_its_end_and_a_new_one_from_its_start() {
    let mut world = World::new(&["*.log"]);
    let large = |name: &str| {
        world.write_raw(name, "");
        let file = OpenOptions::new().write(true).open(world.path(name)).unwrap();
        file.write_all_at(b"\nbegun", 65 * 1024 * 1024).unwrap();
    };
    large("old.log");
    world.write("boot.log", &["cloud-init"]);
    world.ship();
    world.check(&["cloud-init"]);
    append(&world.path("old.log"), " here\n");
    world.ship();
    world.check(&["cloud-init", "begun here"]);
    world.restart();
    let new = OpenOptions::new().create_new(true).write(true).open(world.path("new.log")).unwrap();
    new.write_all_at(b"\nend\n", 65 * 1024 * 1024).unwrap();
    world.scan();
    let opened = world.reading.values().find(|reading| reading.path.ends_with("new.log"));
    assert_eq!(opened.unwrap().at, 0);
}

#[test]
fn too_many_files_wait_until_others_are_idle() {
    let mut world = World::new(&["*.log"]);
    let names: Vec<String> = (0..2000).map(|at| format!("{at}.log")).collect();
    for name in &names {
        world.write(name, &[name]);
    }
    world.ship();
    assert_eq!((world.usage().open, world.usage().waiting), (1000, 1000));
    assert_eq!(world.shipped.len(), 1000);
    let wakes = world.named.scan_at().unwrap();
    world.pass(wakes.since(world.now.at));
    world.ship();
    world.ship();
    assert_eq!((world.usage().open, world.usage().waiting), (1000, 0));
    assert_eq!(world.shipped.len(), 2000);
    // One that gave up its place grows, and has to wait in turn.
    let idle = names.iter().find(|name| !world.open_paths().contains(&name.as_str())).unwrap();
    world.write(idle, &["more"]);
    world.ship();
    assert_eq!(world.usage().waiting, 1);
    world.pass(wakes.since(Moment(1000)));
    world.ship();
    world.ship();
    assert_eq!(world.shipped.len(), 2001);
    assert_eq!(world.shipped.last().map(String::as_str), Some("more"));
}

#[test]
fn a_file_that_may_not_be_read_is_counted() {
    let mut world = World::new(&["*.log"]);
    world.write("app.log", &["one"]);
    let set = |mode| fs::set_permissions(world.path("app.log"), Permissions::from_mode(mode));
    set(0o000).unwrap();
    world.ship();
    // Root may read everything.
    if !rustix::process::geteuid().is_root() {
        assert_eq!((world.shipped.len(), world.usage().unreadable), (0, 1));
    }
    let readable = Permissions::from_mode(0o600);
    fs::set_permissions(world.path("app.log"), readable).unwrap();
    world.ship();
    world.check(&["one"]);
}

#[tokio::test]
async fn new_names_and_copies_that_grow_wake_whoever_waits() {
    let mut world = World::new(&["new/*.log*"]);
    let (watches, events) = super::super::super::watch::watch().unwrap();
    let rules = rules(&world.dir, &world.patterns);
    world.named = Named::new(&rules, world.spool.clone(), Some(watches)).unwrap();
    world.ship();
    let names = async || assert!(events.next().await.unwrap().names);

    fs::create_dir(world.path("new")).unwrap();
    names().await;
    world.ship();
    world.write("new/app.log", &["one"]);
    names().await;
    world.ship();
    world.check(&["one"]);

    world.copy("new/app.log", "new/app.log.1");
    names().await;
    world.ship();
    world.check(&["one"]);
    world.write("new/app.log.1", &["two"]);
    let happened = events.next().await.unwrap();
    assert_eq!((happened.names, happened.grew.len()), (false, 1));
    world.ship();
    world.check(&["one", "one", "two"]);

    world.rename("new", "old");
    names().await;
    fs::create_dir(world.path("new")).unwrap();
    names().await;
    world.ship();
    world.write("new/app.log", &["three"]);
    names().await;
    world.ship();
    world.check(&["one", "one", "two", "three"]);
}
