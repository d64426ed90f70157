//! `groundcrew fleet refresh`: makes a version of the launch template and lets Auto Scaling roll it
//! out. Whatever is refused is refused before anything is made. Never changes the template's
//! default version, nor the group's own: Auto Scaling sets that when the refresh has succeeded.

use anyhow::{anyhow, bail};
use groundcrew_core::backups::call::CallErrorKind;
use groundcrew_core::fleet::AmiId;
use groundcrew_core::fleet::refresh::{
    self, Begin, Choice, Options, Outcome, Preferences, Refusal, VersionFacts,
};
use serde::Serialize;

use super::super::EXIT_OK;
use super::super::args::RefreshArgs;
use super::super::render;
use super::super::render::human::clean;
use super::super::terminal::Output;
use super::{Fleet, cause, cause_of_change, follow};
use crate::aws::call_failure::CallFailure;
use crate::aws::ec2::Which;
use crate::aws::groups::Described;
use crate::{clock, random};

/// The state of an image that can be launched.
const AVAILABLE: &str = "available";

/// What is going to be done.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The group.
    pub group: String,
    /// Instances that it has.
    pub instances: usize,
    /// The launch template.
    pub template: String,
    /// The version that the group has now.
    pub from_version: String,
    /// The version that it gets; `None`: one that is still to be made.
    pub to_version: Option<u64>,
    /// The version that the new one is made from.
    pub made_from: Option<u64>,
    /// The image.
    pub image: Option<String>,
    /// How long a new instance warms up, in seconds, as the group has it.
    pub warmup_s: Option<u32>,
    /// How it is done.
    pub preferences: Preferences,
}

/// What was begun, as JSON.
#[derive(Debug, Serialize)]
struct Begun<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    refresh: Option<&'a str>,
}

pub(super) async fn run(
    fleet: &Fleet,
    args: &RefreshArgs,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    if args.running.cancel || args.running.rollback {
        return end(fleet, args, json, out).await;
    }
    let options = options(fleet, args);
    let described = fleet.describe().await?;
    let group = &described.group;
    let preferences = refresh::preferences(group, &options)?;
    let template = refresh::template(group, &options)?.clone();
    let base = args.template_version.map_or(Which::Latest, Which::Number);
    let base = fleet.ec2.describe_version(&template.id, base).await.map_err(cause)?;
    let choice = refresh::choose(&options, &base)?;
    let last = fleet.groups.refresh(&fleet.name, None).await.map_err(cause)?;
    let begin = refresh::begin(group, last.as_ref(), choice, &options)?;
    if options.auto_rollback && begin == Begin::Start {
        check_way_back(fleet, &described, &options).await?;
    }
    let mut plan = plan(&described, &options, &base, choice, preferences);
    match begin {
        Begin::Nothing => {
            if json {
                print_json(&plan, None, out)?;
            } else {
                out.print(&render::fleet::nothing_to_do(&plan))?;
            }
            Ok(EXIT_OK)
        }
        Begin::Follow(running) => {
            if !json {
                out.print(&render::fleet::the_same_runs(&fleet.name, &running))?;
            }
            begun(fleet, args, (&plan, &running.id), json, out).await
        }
        Begin::Start => {
            if let (Some(ami), Choice::MadeFrom(_)) = (&options.ami, choice) {
                check_image(fleet, ami).await?;
            }
            if !json {
                out.print(&render::fleet::refresh_plan(&plan, out.style()))?;
            }
            if args.dry_run {
                if json {
                    print_json(&plan, None, out)?;
                }
                return Ok(EXIT_OK);
            }
            let version = version(fleet, &template.id, &options, &base, choice).await?;
            plan.to_version = Some(version);
            let id = start(fleet, &described, &plan, version).await?;
            begun(fleet, args, (&plan, &id), json, out).await
        }
    }
}

fn options(fleet: &Fleet, args: &RefreshArgs) -> Options {
    let pace = &args.pace;
    let alarms = if pace.alarm.is_empty() { &fleet.config.alarms } else { &pace.alarm };
    Options {
        ami: args.ami.clone(),
        min_healthy_percent: pace.min_healthy,
        max_healthy_percent: pace.max_healthy,
        alarms: alarms.iter().map(|alarm| alarm.as_str().to_owned()).collect(),
        auto_rollback: !pace.no_rollback,
        skip_matching: !pace.replace_matching,
        bake: pace.bake,
    }
}

fn plan(
    described: &Described,
    options: &Options,
    base: &VersionFacts,
    choice: Choice,
    preferences: Preferences,
) -> Plan {
    let group = &described.group;
    let template = group.launch.template();
    let (to_version, made_from) = match choice {
        Choice::Existing(number) => (Some(number), None),
        Choice::MadeFrom(number) => (None, Some(number)),
    };
    let image = options.ami.as_ref().map(|ami| ami.as_str().to_owned());
    Plan {
        group: group.name.clone(),
        instances: group.instances.len(),
        template: template.map(|template| template.id.clone()).unwrap_or_default(),
        from_version: template.map(|template| template.version.clone()).unwrap_or_default(),
        to_version,
        made_from,
        image: image.or_else(|| base.image.clone()),
        warmup_s: group.warmup_s,
        preferences,
    }
}

async fn check_way_back(
    fleet: &Fleet,
    described: &Described,
    options: &Options,
) -> anyhow::Result<()> {
    let Some(template) = described.group.launch.template() else { return Ok(()) };
    let Some(which) = Which::parse(&template.version) else {
        bail!("the group has version {} of its launch template", clean(&template.version));
    };
    let now = fleet.ec2.describe_version(&template.id, which).await.map_err(cause)?;
    Ok(refresh::way_back(options, &now)?)
}

async fn check_image(fleet: &Fleet, ami: &AmiId) -> anyhow::Result<()> {
    match fleet.ec2.image_state(ami).await.map_err(cause)?.as_deref() {
        Some(AVAILABLE) => Ok(()),
        Some(state) => bail!("image {ami} is {}; wait until it is available", clean(state)),
        None => bail!("there is no image {ami} in this region that this account may use"),
    }
}

async fn version(
    fleet: &Fleet,
    template: &str,
    options: &Options,
    base: &VersionFacts,
    choice: Choice,
) -> anyhow::Result<u64> {
    match (choice, &options.ami) {
        (Choice::MadeFrom(_), Some(ami)) => {
            let token = format!("groundcrew-{:016x}-{:x}", random::seed(), clock::wall().0);
            let made = fleet.ec2.create_version(template, base, ami, &token).await;
            Ok(made.map_err(cause_of_change)?.number)
        }
        (Choice::Existing(number) | Choice::MadeFrom(number), _) => Ok(number),
    }
}

async fn start(
    fleet: &Fleet,
    described: &Described,
    plan: &Plan,
    version: u64,
) -> anyhow::Result<String> {
    let started = fleet.groups.start_refresh(described, version, &plan.preferences).await;
    match started {
        Ok(id) => Ok(id),
        // Somebody was faster than between the look and the start.
        Err(failure) if failure.code == "InstanceRefreshInProgress" => {
            let running = fleet.groups.refresh(&fleet.name, None).await.map_err(cause)?;
            let refusal = running.map(|running| Refusal::Running {
                group: fleet.name.clone(),
                refresh: Box::new(running),
            });
            Err(refusal.map_or_else(|| cause(failure), anyhow::Error::from))
        }
        Err(failure) => Err(cause_of_change(failure)),
    }
}

/// From here on it runs.
async fn begun(
    fleet: &Fleet,
    args: &RefreshArgs,
    (plan, id): (&Plan, &str),
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    if args.wait {
        return follow::follow(fleet, id, Outcome::Updated, json, out).await;
    }
    if json {
        print_json(plan, Some(id), out)?;
    } else {
        out.print(&render::fleet::begun(&fleet.name, id))?;
    }
    Ok(EXIT_OK)
}

fn print_json(plan: &Plan, refresh: Option<&str>, out: &mut Output) -> anyhow::Result<()> {
    Ok(out.print(&format!("{:#}\n", serde_json::to_value(Begun { plan, refresh })?))?)
}

/// `--cancel` and `--rollback`.
async fn end(
    fleet: &Fleet,
    args: &RefreshArgs,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let (asked, wanted) = if args.running.cancel {
        (fleet.groups.cancel_refresh(&fleet.name).await, Outcome::Cancelled)
    } else {
        (fleet.groups.roll_back_refresh(&fleet.name).await, Outcome::RolledBack)
    };
    let id = match asked {
        Ok(id) => id,
        Err(failure) => return Err(not_ended(fleet, failure).await),
    };
    if args.wait {
        return follow::follow(fleet, &id, wanted, json, out).await;
    }
    let text = if json {
        let refresh = fleet.groups.refresh(&fleet.name, Some(&id)).await.map_err(cause)?;
        format!("{:#}\n", serde_json::json!({ "group": fleet.name, "refresh": refresh }))
    } else {
        render::fleet::ending(&fleet.name, &id, wanted)
    };
    out.print(&text)?;
    Ok(EXIT_OK)
}

/// Nothing runs, or what runs cannot be rolled back: the last one says more than the code.
async fn not_ended(fleet: &Fleet, failure: CallFailure) -> anyhow::Error {
    if failure.kind != CallErrorKind::Refused || failure.code != "ActiveInstanceRefreshNotFound" {
        return cause_of_change(failure);
    }
    let name = clean(&fleet.name);
    match fleet.groups.refresh(&fleet.name, None).await {
        Ok(Some(last)) => anyhow!(
            "no instance refresh of group {name} runs; the last one: {}",
            clean(&refresh::summary(&last))
        ),
        Ok(None) => anyhow!("no instance refresh of group {name} runs"),
        Err(failure) => cause(failure).context(format!("no instance refresh of group {name} runs")),
    }
}
