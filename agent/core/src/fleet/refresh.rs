//! An instance refresh: what it begins with, which one is the same, how it ends, how often it is
//! looked at. What cannot be rolled back does not begin with automatic rollback.

use std::time::Duration;

use serde::Serialize;

use super::{ALARMS_MAX, AmiId, Group, Launch, Refresh, RefreshStatus, TemplateVersion};
use crate::backups::call::CallErrorKind;

/// The part of the desired capacity that stays healthy, where neither the group nor a person says
/// so: a replacement is there before what it replaces goes.
const MIN_HEALTHY_PERCENT: u32 = 100;
/// The part that there may be meanwhile.
const MAX_HEALTHY_PERCENT: u32 = 110;
/// The two may be so far apart, and no farther (API_RefreshPreferences).
const HEALTHY_SPAN_MAX: u32 = 100;
/// The longest that a refresh may bake (API_RefreshPreferences).
const BAKE_MAX: Duration = Duration::from_hours(48);

/// The pause before the second look at a refresh; each later one is longer by as much.
const LOOK_STEP: Duration = Duration::from_secs(1);
/// The longest pause.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(5);
/// Looks in a row that may fail.
const LOOKS_FAILED_MAX: u32 = 20;
/// How long a refresh is followed, but for the time that it bakes. It goes on without anybody who
/// looks.
pub const FOLLOW_WITHIN: Duration = Duration::from_hours(12);
/// The longest time without a word to whoever follows: runners of pipelines end what is silent.
pub const SILENCE_MAX: Duration = Duration::from_mins(1);

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The image; `None`: that of the version.
    pub ami: Option<AmiId>,
    /// See [`Group::min_healthy_percent`].
    pub min_healthy_percent: Option<u32>,
    /// See [`Group::max_healthy_percent`].
    pub max_healthy_percent: Option<u32>,
    /// CloudWatch alarms that end the refresh.
    pub alarms: Vec<String>,
    /// Whether a refresh that fails puts everything back.
    pub auto_rollback: bool,
    /// Whether instances that are as wanted stay.
    pub skip_matching: bool,
    /// How long alarms are watched after the last instance was replaced.
    pub bake: Duration,
}

/// A version of a launch template, as EC2 describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFacts {
    /// Its number.
    pub number: u64,
    /// Its image: an id, or `resolve:ssm:` and the name of a parameter.
    pub image: Option<String>,
    /// What it says of itself, word by word: a version that is made of this one says the same.
    pub description: Option<String>,
}

/// Which version the group is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// One that is there.
    Existing(u64),
    /// A new one, with the image that is asked for and everything else of this one.
    MadeFrom(u64),
}

/// How to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// All instances and the group itself are as wanted.
    Nothing,
    /// The same is being done already.
    Follow(Box<Refresh>),
    /// Start one.
    Start,
}

/// What Auto Scaling is told. Percentages are of the desired capacity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preferences {
    /// What stays healthy.
    pub min_healthy_percent: u32,
    /// What there may be.
    pub max_healthy_percent: u32,
    /// CloudWatch alarms that end the refresh.
    pub alarms: Vec<String>,
    /// Whether a refresh that fails puts everything back.
    pub auto_rollback: bool,
    /// Whether instances that are as wanted stay.
    pub skip_matching: bool,
    /// How long alarms are watched at the end, in seconds.
    pub bake_s: u32,
}

/// Why no refresh begins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no template of which there could be a new version.
    #[error("group {group} has no launch template, and only that can have a new image")]
    NoTemplate {
        /// The group.
        group: String,
    },
    /// One image would not be for all instances.
    #[error(
        "group {group} has instance types with a template or an image of their own: \
         one --ami cannot be for all of them"
    )]
    OwnImages {
        /// The group.
        group: String,
    },
    /// Auto Scaling could not go back.
    #[error(
        "group {group} runs {version} of its launch template, and a rollback from there goes \
         nowhere: set the number of a version in the group, or give --no-rollback"
    )]
    Floating {
        /// The group.
        group: String,
        /// `$Latest` or `$Default`.
        version: String,
    },
    /// Auto Scaling could not go back.
    #[error(
        "version {version} of the launch template names its image by a parameter ({image}), and \
         Auto Scaling rolls nothing of that kind back: give --ami, or --no-rollback"
    )]
    Parameter {
        /// The version.
        version: u64,
        /// What it says.
        image: String,
    },
    /// Auto Scaling could not go back to what the group has now.
    #[error(
        "the group's own version {version} of the launch template names its image by a parameter \
         ({image}), and Auto Scaling rolls nothing back to it: give --no-rollback this once; later \
         ones can go back to what this one brings"
    )]
    WayBack {
        /// The version.
        version: u64,
        /// What it says.
        image: String,
    },
    /// Another one runs.
    #[error("an instance refresh of group {group} runs already: {}", summary(refresh))]
    Running {
        /// The group.
        group: String,
        /// Which.
        refresh: Box<Refresh>,
    },
    /// Auto Scaling would not take the numbers.
    #[error(
        "{min} % healthy at least and {max} % at most do not go together: at least is 0 to 100, \
         at most 100 to 200, and they are 100 apart or less"
    )]
    Percentages {
        /// At least.
        min: u32,
        /// At most.
        max: u32,
    },
    /// Auto Scaling takes fewer.
    #[error("{given} alarms are more than the {ALARMS_MAX} that Auto Scaling takes")]
    Alarms {
        /// How many.
        given: usize,
    },
    /// Auto Scaling takes less.
    #[error("a refresh bakes for 48h at most")]
    Bake,
}

/// One refresh in a line: `Successful 100%, ID: reason`.
#[must_use]
pub fn summary(refresh: &Refresh) -> String {
    let brings = refresh.target.as_ref();
    let brings = brings.map_or_else(String::new, |target| {
        format!(", to version {} of {}", target.version, target.id)
    });
    let left = match ended(&refresh.status) {
        Some(_) => String::new(),
        None => format!(", {} to update", refresh.to_update),
    };
    let why = reason(refresh).map_or_else(String::new, |why| format!(": {why}"));
    let (status, percent, id) = (refresh.status.as_str(), refresh.percent, &refresh.id);
    format!("{status} {percent}%{left}, {id}{brings}{why}")
}

/// Why a refresh stands as it does. Of one that was rolled back, what made it so comes first.
#[must_use]
pub fn reason(refresh: &Refresh) -> Option<String> {
    match (&refresh.rollback_reason, &refresh.reason) {
        (Some(rollback), Some(reason)) if rollback != reason => {
            Some(format!("{rollback} {reason}"))
        }
        (Some(one), _) | (None, Some(one)) => Some(one.clone()),
        (None, None) => None,
    }
}

/// The template whose version changes.
pub fn template<'a>(group: &'a Group, options: &Options) -> Result<&'a TemplateVersion, Refusal> {
    let name = || group.name.clone();
    if matches!(group.launch, Launch::Mixed { own_images: true, .. }) && options.ami.is_some() {
        return Err(Refusal::OwnImages { group: name() });
    }
    let template = group.launch.template();
    let template = template.ok_or_else(|| Refusal::NoTemplate { group: name() })?;
    if options.auto_rollback && !is_number(&template.version) {
        let version = template.version.clone();
        return Err(Refusal::Floating { group: name(), version });
    }
    Ok(template)
}

/// The version that the group gets, where `base` is the one that is to be built upon. One that has
/// the image already is not made a second time.
pub fn choose(options: &Options, base: &VersionFacts) -> Result<Choice, Refusal> {
    let image = base.image.as_deref();
    match (&options.ami, image) {
        (Some(ami), image) if image != Some(ami.as_str()) => Ok(Choice::MadeFrom(base.number)),
        (None, Some(image)) if options.auto_rollback && is_parameter(image) => {
            Err(Refusal::Parameter { version: base.number, image: image.to_owned() })
        }
        (Some(_) | None, _) => Ok(Choice::Existing(base.number)),
    }
}

/// Whether a refresh that starts could go back to `now`, the version that the group has.
pub fn way_back(options: &Options, now: &VersionFacts) -> Result<(), Refusal> {
    match now.image.as_deref().filter(|image| options.auto_rollback && is_parameter(image)) {
        Some(image) => Err(Refusal::WayBack { version: now.number, image: image.to_owned() }),
        None => Ok(()),
    }
}

/// How to begin, `last` being the newest refresh that there is.
pub fn begin(
    group: &Group,
    last: Option<&Refresh>,
    choice: Choice,
    options: &Options,
) -> Result<Begin, Refusal> {
    let running = last.filter(|last| ended(&last.status).is_none());
    let own = group.launch.template().map(|template| template.id.as_str());
    let is_target = |found: Option<&TemplateVersion>| {
        let Choice::Existing(number) = choice else { return false };
        found
            .is_some_and(|found| Some(found.id.as_str()) == own && number_of(found) == Some(number))
    };
    if let Some(running) = running {
        let undone =
            matches!(running.status, RefreshStatus::Cancelling | RefreshStatus::RollbackInProgress);
        let refresh = Box::new(running.clone());
        if is_target(running.target.as_ref()) && !undone {
            return Ok(Begin::Follow(refresh));
        }
        return Err(Refusal::Running { group: group.name.clone(), refresh });
    }
    let same = is_target(group.launch.template())
        && group.instances.iter().all(|instance| is_target(instance.template.as_ref()));
    Ok(if same && options.skip_matching { Begin::Nothing } else { Begin::Start })
}

/// What Auto Scaling is told: what a person says, else what the group says, else what costs no
/// capacity.
pub fn preferences(group: &Group, options: &Options) -> Result<Preferences, Refusal> {
    let min = options.min_healthy_percent.or(group.min_healthy_percent);
    let max = options.max_healthy_percent.or(group.max_healthy_percent);
    let (min, max) = match (min, max) {
        (Some(min), Some(max)) => (min, max),
        (Some(min), None) => (min, MAX_HEALTHY_PERCENT.min(min.saturating_add(HEALTHY_SPAN_MAX))),
        (None, max) => (MIN_HEALTHY_PERCENT, max.unwrap_or(MAX_HEALTHY_PERCENT)),
    };
    if min > 100 || !(100..=200).contains(&max) || max - min > HEALTHY_SPAN_MAX {
        return Err(Refusal::Percentages { min, max });
    }
    if options.alarms.len() > ALARMS_MAX {
        return Err(Refusal::Alarms { given: options.alarms.len() });
    }
    if options.bake > BAKE_MAX {
        return Err(Refusal::Bake);
    }
    Ok(Preferences {
        min_healthy_percent: min,
        max_healthy_percent: max,
        alarms: options.alarms.clone(),
        auto_rollback: options.auto_rollback,
        skip_matching: options.skip_matching,
        bake_s: u32::try_from(options.bake.as_secs()).unwrap_or(u32::MAX),
    })
}

/// How a refresh ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every instance is as wanted.
    Updated,
    /// Some are, some are not.
    Failed,
    /// Some are, some are not, as somebody wanted.
    Cancelled,
    /// Every instance is as before.
    RolledBack,
}

/// How it ended; `None`: it has not. A word that is not known is no end.
#[must_use]
pub fn ended(status: &RefreshStatus) -> Option<Outcome> {
    match status {
        RefreshStatus::Successful => Some(Outcome::Updated),
        RefreshStatus::Failed | RefreshStatus::RollbackFailed => Some(Outcome::Failed),
        RefreshStatus::Cancelled => Some(Outcome::Cancelled),
        RefreshStatus::RollbackSuccessful => Some(Outcome::RolledBack),
        RefreshStatus::Pending
        | RefreshStatus::InProgress
        | RefreshStatus::Baking
        | RefreshStatus::Cancelling
        | RefreshStatus::RollbackInProgress
        | RefreshStatus::Other(_) => None,
    }
}

/// The pause before the next look, after so many of them.
#[must_use]
pub fn pause(looks: u32) -> Duration {
    LOOK_STEP.saturating_mul(looks.max(1)).min(LOOK_EVERY_MAX)
}

/// How long a refresh is followed: its alarms are watched after all else is done.
#[must_use]
pub fn follow_within(refresh: &Refresh) -> Duration {
    FOLLOW_WITHIN + Duration::from_secs(refresh.bake_s.into()).min(BAKE_MAX)
}

/// Whether to look again after a look that failed, the last of so many in a row. `passing` says
/// that the credentials for it did not come this time: that is no word on whether it is allowed.
#[must_use]
pub fn look_again(kind: CallErrorKind, passing: bool, failures: u32) -> bool {
    let lasting = kind.needs_person() && !passing;
    !lasting && failures <= LOOKS_FAILED_MAX
}

fn is_parameter(image: &str) -> bool {
    image.starts_with("resolve:")
}

fn is_number(version: &str) -> bool {
    version.parse::<u64>().is_ok()
}

fn number_of(template: &TemplateVersion) -> Option<u64> {
    template.version.parse().ok()
}
