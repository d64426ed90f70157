//! Each kind of rotation, with and without another agent taking over in the middle of it.

use super::*;

/// Runs `history` with no restart, with one before it, with one after it, and with both; it leaves
/// behind what is not shipped yet. Whatever happens, the same lines are shipped once.
#[track_caller]
fn check(patterns: &[&str], history: fn(&mut World), shipped: &[&str]) {
    for (before, after) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new(patterns);
        world.write("app.log", &["one", "two"]);
        world.scan();
        world.read(1);
        if before {
            world.restart();
        }
        history(&mut world);
        if after {
            world.restart();
        }
        world.settle();
        assert_eq!(world.shipped, shipped, "restart before: {before}, after: {after}");
        assert_eq!(world.usage().lost_bytes, 0, "restart before: {before}, after: {after}");
    }
}

const BOTH: [&[&str]; 2] = [&["app.log"], &["app.log*"]];

#[test]
fn rename() {
    for patterns in BOTH {
        check(
            patterns,
            |world| {
                world.rename("app.log", "app.log.1");
                world.write("app.log", &["four"]);
                world.write("app.log.1", &["three"]);
            },
            &["one", "two", "three", "four"],
        );
    }
}

#[test]
fn rename_before_there_is_a_new_file() {
    for patterns in BOTH {
        check(
            patterns,
            |world| {
                world.rename("app.log", "app.log.1");
                world.ship();
                world.write("app.log.1", &["three"]);
                world.ship();
                world.write("app.log", &["four"]);
            },
            &["one", "two", "three", "four"],
        );
    }
}

#[test]
fn two_renames_at_once() {
    check(
        &["app.log*"],
        |world| {
            world.rename("app.log", "app.log.1");
            world.write("app.log", &["three"]);
            world.rename("app.log.1", "app.log.2");
            world.rename("app.log", "app.log.1");
            world.write("app.log", &["four"]);
        },
        &["one", "two", "four", "three"],
    );
}

#[test]
fn copy_and_truncate() {
    for patterns in BOTH {
        check(
            patterns,
            |world| {
                world.write("app.log", &["three"]);
                world.copy("app.log", "app.log.1");
                world.truncate("app.log");
                world.write("app.log", &["four"]);
            },
            &["one", "two", "three", "four"],
        );
    }
}

#[test]
fn copy_and_truncate_seen_in_between() {
    for patterns in BOTH {
        check(
            patterns,
            |world| {
                world.write("app.log", &["three"]);
                world.copy("app.log", "app.log.1");
                world.scan();
                world.truncate("app.log");
                world.scan();
                world.write("app.log", &["four"]);
            },
            &["one", "two", "three", "four"],
        );
    }
}

#[test]
fn a_copy_seen_while_it_is_made() {
    check(
        &["app.log*"],
        |world| {
            world.write("app.log", &["three"]);
            for part in ["", "one\ntw", "o\nthree\n"] {
                world.write_raw("app.log.1", part);
                world.scan();
            }
            world.truncate("app.log");
            world.write("app.log", &["four", "five", "six"]);
        },
        &["one", "two", "three", "four", "five", "six"],
    );
}

#[test]
fn truncated_and_longer_than_before_when_looked_at() {
    for patterns in BOTH {
        check(
            patterns,
            |world| {
                world.copy("app.log", "app.log.1");
                world.truncate("app.log");
                world.write("app.log", &["three", "four", "five", "six"]);
            },
            &["one", "two", "three", "four", "five", "six"],
        );
    }
}

#[test]
fn what_was_read_between_copy_and_truncation_is_not_repeated() {
    for patterns in BOTH {
        check(
            patterns,
            |world| {
                world.copy("app.log", "app.log.1");
                world.write("app.log", &["three"]);
                world.ship();
                world.truncate("app.log");
                world.write("app.log", &["four"]);
            },
            &["one", "two", "three", "four"],
        );
    }
}

#[test]
fn what_was_not_read_between_copy_and_truncation_is_lost_and_counted() {
    let mut world = World::new(&["app.log"]);
    world.write("app.log", &["one"]);
    world.ship();
    world.copy("app.log", "app.log.1");
    world.write("app.log", &["two"]);
    world.truncate("app.log");
    world.settle();
    world.write("app.log", &["three"]);
    world.scan();
    world.truncate("app.log");
    world.settle();
    world.check(&["one"]);
    assert_eq!(world.usage().lost_bytes, 6, "of three, which a look had seen");
}

#[test]
fn two_copies_at_once() {
    check(
        &["app.log*"],
        |world| {
            world.copy("app.log", "app.log.1");
            world.truncate("app.log");
            world.write("app.log", &["three"]);
            world.rename("app.log.1", "app.log.2");
            world.copy("app.log", "app.log.1");
            world.truncate("app.log");
            world.write("app.log", &["four"]);
        },
        &["one", "two", "four", "three"],
    );
}

#[test]
fn rename_and_compress() {
    for patterns in BOTH {
        check(
            patterns,
            |world| {
                world.rename("app.log", "app.log.1");
                world.write("app.log", &["three"]);
                world.gzip("app.log.1");
            },
            &["one", "two", "three"],
        );
    }
}

#[test]
fn copy_truncate_and_compress() {
    for patterns in BOTH {
        check(
            patterns,
            |world| {
                world.copy("app.log", "app.log.1");
                world.truncate("app.log");
                world.gzip("app.log.1");
                world.write("app.log", &["three"]);
            },
            &["one", "two", "three"],
        );
    }
}

#[test]
fn a_rest_in_a_compressed_file_survives_a_restart_half_way() {
    let mut world = World::new(&["app.log*"]);
    world.write("app.log", &["one", "two", "three"]);
    world.scan();
    world.read(1);
    world.restart();
    world.rename("app.log", "app.log.1");
    world.gzip("app.log.1");
    world.scan();
    world.read(1);
    world.restart();
    world.rename("app.log.1.gz", "app.log.2.gz");
    world.settle();
    world.restart();
    world.settle();
    world.check(&["one", "two", "three"]);
}

#[test]
fn zstd_is_read_as_well() {
    let mut world = World::new(&["app.log"]);
    let lines: Vec<String> = (0..20_000).map(|at| format!("line {at}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    world.write("app.log", &lines);
    world.scan();
    world.read(15_000);
    world.restart();
    let bytes = fs::read(world.path("app.log")).unwrap();
    let compressed = zstd::encode_all(bytes.as_slice(), 1).unwrap();
    fs::File::create(world.path("app.log-20260820.zst")).unwrap().write_all(&compressed).unwrap();
    world.remove("app.log");
    world.settle();
    world.check(&lines);
}

#[test]
fn a_compressed_file_that_is_not_whole_says_nothing() {
    let mut world = World::new(&["app.log"]);
    world.write("app.log", &["one", "two"]);
    world.scan();
    world.read(1);
    world.restart();
    world.gzip("app.log");
    let gz = OpenOptions::new().write(true).open(world.path("app.log.gz")).unwrap();
    gz.set_len(gz.metadata().unwrap().len() - 4).unwrap();
    world.settle();
    world.check(&["one"]);
    assert_eq!(world.usage().errors, 0, "{:?}", world.usage());
}

#[test]
fn no_newline_at_the_end_of_a_rotated_file() {
    for patterns in BOTH {
        check(
            patterns,
            |world| {
                world.write_raw("app.log", "thr");
                world.ship();
                world.rename("app.log", "app.log.1");
                world.write("app.log", &["four"]);
                world.write_raw("app.log.1", "ee");
            },
            &["one", "two", "four", "three"],
        );
    }
}

#[test]
fn a_writer_that_stays_with_the_rotated_file_is_followed() {
    let mut world = World::new(&["app.log"]);
    world.write("app.log", &["one"]);
    world.ship();
    world.rename("app.log", "app.log.1");
    world.settle();
    assert_eq!(world.open_paths(), [""; 0], "it was quiet for long enough");
    world.write("app.log.1", &["two"]);
    world.ship();
    world.restart();
    world.write("app.log.1", &["three"]);
    world.settle();
    world.check(&["one", "two", "three"]);
}

#[test]
fn a_removed_file_is_read_to_its_end() {
    let mut world = World::new(&["app.log"]);
    world.write("app.log", &["one", "two"]);
    world.scan();
    world.remove("app.log");
    world.write("app.log", &["three"]);
    world.settle();
    world.check(&["one", "two", "three"]);
}

#[test]
fn a_removed_file_that_nobody_held_is_given_up_after_a_while() {
    let mut world = World::new(&["app.log"]);
    world.write("app.log", &["one", "two"]);
    world.scan();
    world.read(1);
    world.restart();
    world.remove("app.log");
    world.settle();
    assert_eq!((world.usage().forgotten, world.named.known().files.len()), (0, 1));
    world.pass(Duration::from_hours(1));
    world.scan();
    assert_eq!((world.usage().forgotten, world.named.known().files.len()), (1, 0));
}
