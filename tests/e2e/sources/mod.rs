//! Where releases come from: S3 that fails in every way, archives that lie, disks without room.
//! What serves goes on.

mod disk;
mod hostile;
mod s3;

use std::time::Duration;

use crate::harness::agent::World;
use crate::harness::load::{Kind, Load};

const SOON: Duration = Duration::from_secs(30);

fn load(world: &World) -> Load {
    Load::on(world.port)
        .with(Kind::KeepAlive, 4)
        .with(Kind::Post, 2)
        .with(Kind::NewConnection, 2)
        .with(Kind::Slow, 2)
}
