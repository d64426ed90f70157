//! A state directory on a file system that runs full.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{SOON, load};
use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;

// The agent leaves 64 MiB free for logs.
const SIZE_MIB: usize = 72;

/// A small file system of this test's own: nobody else sees the mount, and it ends with the test.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts it at a path, or says why not.
    fn mount(path: PathBuf) -> Result<Self, String> {
        use nix::sched::{CloneFlags, unshare};
        if !nix::unistd::geteuid().is_root() {
            return Err("not root".to_owned());
        }
        // Of this thread only, which also starts the agent.
        unshare(CloneFlags::CLONE_NEWNS).map_err(|error| error.to_string())?;
        run("mount", &["--make-rprivate", "/"])?;
        fs::create_dir(&path).unwrap();
        let size = format!("size={SIZE_MIB}m,mode=0755");
        run("mount", &["-t", "tmpfs", "-o", &size, "none", path.to_str().expect("UTF-8")])?;
        Ok(Self { path })
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Leaves so many bytes.
    fn fill_up_to(&self, left: u64) {
        self.make_room();
        let mut file = fs::File::create(self.filler()).unwrap();
        let free = nix::sys::statvfs::statvfs(&self.path).unwrap();
        let free = free.blocks_available() as u64 * free.fragment_size() as u64;
        let zeros = std::io::Read::take(std::io::repeat(0), free.saturating_sub(left));
        // The last page may belong to somebody else by now.
        let copied = std::io::copy(&mut std::io::BufReader::new(zeros), &mut file);
        assert!(copied.is_ok() || left == 0, "{copied:?}");
    }

    fn make_room(&self) {
        if let Err(error) = fs::remove_file(self.filler()) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Processes of the tier still have files open here.
        drop(run("umount", &["--lazy", self.path.to_str().expect("UTF-8")]));
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn a_full_disk_delays_a_release_and_the_live_one_goes_on() {
    let world = World::new();
    let disk = match SmallDisk::mount(world.path().join("state")) {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: no file system of this test's own: {reason}"),
    };
    world.release(&Release::web("v1", world.port));
    let agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let load = load(&world).start();
    load.wait_for_answers(100);

    disk.fill_up_to(32 << 20);
    world.release(&Release::web("v2", world.port));
    let (_, said) = agent.wait_for_event("v2 could not be fetched");
    let wanted = ["the release needs ", " must stay free", &format!("{}", 64 << 20), " has only "];
    for wanted in wanted {
        assert!(said.contains(wanted), "{said:?} lacks {wanted:?}");
    }
    let status = agent.status().unwrap();
    assert_eq!(status["release"]["version"], "v1", "{status:#}");
    assert!(status["rejected"].is_null(), "a full disk is not the release's fault: {status:#}");
    load.wait_for_answers(100);
    disk.make_room();
    agent.wait_for_settled("v2");

    // Not even the ledger can be written.
    agent.wait_for_one_generation("web", 2);
    world.publish(&Release::web("v3", world.port));
    disk.fill_up_to(0);
    world.promote("v3");
    let status = agent
        .wait_for(SOON, "the ledger cannot be written", |status| status["state"] == "degraded");
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains("ledger.json") && reason.contains("No space left"), "{reason}");
    load.wait_for_answers(200);
    assert_eq!(world.cli(&["status"]).code, Some(1));
    disk.make_room();
    agent.wait_for_settled("v3");
    load.wait_for_answers(100);
    load.stop().assert_none_failed();
    agent.wait_for_one_generation("web", 2);
    // The agent's processes end before their file system does.
    drop(agent);
    crate::harness::reaper::kill_all(world.path());
}
