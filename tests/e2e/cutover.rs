//! One release after the other under load, with every kind of connection: nothing fails.

use std::time::Duration;

use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::load::Load;

#[test]
fn a_new_release_takes_over_without_a_failed_request() {
    let world = World::new();
    world.release(&Release::web("v1", world.port));
    let mut agent = Agent::start(&world);
    agent.wait_for_settled("v1");
    let load = Load::of_every_kind(world.port).start();
    load.wait_for_answers(500);
    world.release(&Release::web("v2", world.port));
    load.wait_for_release("v2", Duration::from_secs(30));
    agent.kill();
    agent.restart();
    agent.wait_for_settled("v2");
    world.release(&Release::web("v3", world.port).app("BOOT", "throw"));
    agent.wait_for_rejected("v3");
    load.stop().assert_none_failed();
}
