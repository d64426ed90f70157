//! `groundcrew fleet`: one Auto Scaling group, from anywhere. What is refused, followed and waited
//! for is decided by the core; what is done is done by Auto Scaling, and goes on when nobody looks.

use std::io::ErrorKind;

use anyhow::{Context, anyhow, bail};
use camino::Utf8Path;
use groundcrew_core::backups::call::CallErrorKind;
use groundcrew_core::fleet::AwsName;

use super::args::{FleetArgs, FleetCommand};
use super::render::human::clean;
use super::terminal::Output;
use crate::aws::call_failure::CallFailure;
use crate::aws::ec2::Ec2;
use crate::aws::groups::{Described, Groups, connect};
use crate::aws::imds::Imds;
use crate::config::{FleetConfig, host};
use crate::fsx::About;

mod follow;
mod refresh;
mod scale;
mod status;

pub use refresh::Plan as RefreshPlan;
pub use status::Document;

/// Where the host's file is, unless something else is said.
const CONFIG: &str = "/etc/groundcrew/groundcrew.toml";
/// The name of this instance, below the metadata's root.
const INSTANCE_ID: &str = "instance-id";

/// It was rolled back: everything is as before.
pub(super) const EXIT_ROLLED_BACK: u8 = 4;
/// It was cancelled: some of it is done.
pub(super) const EXIT_CANCELLED: u8 = 5;
/// Whoever waited has had enough; what was waited for goes on (128 and SIGINT, as shells have it).
pub(super) const EXIT_INTERRUPTED: u8 = 130;

/// The group that is meant, and whom to ask about it.
pub(super) struct Fleet {
    name: String,
    groups: Groups,
    ec2: Ec2,
    config: FleetConfig,
}

pub(super) async fn run(args: &FleetArgs, out: &mut Output) -> anyhow::Result<u8> {
    let fleet = open(args).await?;
    match &args.command {
        None | Some(FleetCommand::Status) => status::run(&fleet, args.json, out).await,
        Some(FleetCommand::Refresh(refresh)) => refresh::run(&fleet, refresh, args.json, out).await,
        Some(FleetCommand::Scale(scale)) => scale::run(&fleet, scale, args.json, out).await,
    }
}

async fn open(args: &FleetArgs) -> anyhow::Result<Fleet> {
    let config = config(args.config.as_deref())?;
    let region = args.region.as_ref().or(config.region.as_ref());
    let (groups, ec2) = connect(region.map(AwsName::as_str)).await.map_err(cause)?;
    let name = match args.group.as_ref().or(config.group.as_ref()) {
        Some(name) => name.as_str().to_owned(),
        None => own_group(&groups).await?,
    };
    Ok(Fleet { name, groups, ec2, config })
}

/// `[fleet]` of the host's file. A laptop has no such file, and needs none.
fn config(path: Option<&Utf8Path>) -> anyhow::Result<FleetConfig> {
    let file = path.unwrap_or(Utf8Path::new(CONFIG));
    let text = match std::fs::read_to_string(file) {
        Err(error) if path.is_none() && error.kind() == ErrorKind::NotFound => {
            return Ok(FleetConfig::default());
        }
        read => read.about("read", file)?,
    };
    Ok(host::parse(file.as_str(), &text)?.fleet)
}

async fn own_group(groups: &Groups) -> anyhow::Result<String> {
    let instance = Imds::open().get(INSTANCE_ID).await;
    let instance = instance.context("this is no instance of a group: give --group NAME")?;
    let instance = instance.ok_or_else(|| anyhow!("this instance has no id: give --group NAME"))?;
    let found = groups.of_instance(instance.trim()).await.map_err(cause)?;
    let instance = clean(instance.trim());
    found.ok_or_else(|| anyhow!("instance {instance} is in no group: give --group NAME"))
}

impl Fleet {
    async fn describe(&self) -> anyhow::Result<Described> {
        let found = self.groups.describe(&self.name).await.map_err(cause)?;
        let Some(found) = found else {
            bail!(
                "there is no group {} in this region for these credentials; \
                 `aws autoscaling describe-auto-scaling-groups` shows those there are",
                clean(&self.name)
            );
        };
        Ok(found)
    }
}

/// A call's failure as an error with its hint.
fn cause(failure: CallFailure) -> anyhow::Error {
    let hint = match failure.kind {
        CallErrorKind::Denied if failure.passing => "; try again later",
        CallErrorKind::Denied => "; docs/fleet.md lists the rights that each command needs",
        CallErrorKind::Throttled => "; try again later",
        CallErrorKind::Unclear | CallErrorKind::Refused => "",
    };
    anyhow!("{}{hint}", failure.text)
}

/// The same of what changes something, which is asked for once: it may have been done.
fn cause_of_change(failure: CallFailure) -> anyhow::Error {
    let unclear = failure.kind == CallErrorKind::Unclear;
    let error = cause(failure);
    if unclear {
        return error.context("it may have been done: look with `groundcrew fleet status`");
    }
    error
}
