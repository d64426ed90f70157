//! An Auto Scaling group as whoever runs it sees it, and what `groundcrew fleet` makes of it: what
//! a refresh begins with, when it has ended, how far a group may be scaled, and whether all is
//! well. Calls nobody.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::time::Wall;

pub mod refresh;
pub mod scale;
pub mod standing;
#[cfg(test)]
mod tests;

/// Alarms of one refresh (API_AlarmSpecification).
pub const ALARMS_MAX: usize = 10;
/// Characters of a name of a group or an alarm (API_StartInstanceRefresh).
pub const NAME_CHARS_MAX: usize = 255;

/// A group, as Auto Scaling describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Capacity, at least: instances, or what they weigh where their types have weights.
    pub min: u32,
    /// Capacity that is wanted now.
    pub desired: u32,
    /// Capacity, at most.
    pub max: u32,
    /// What its instances are launched from.
    pub launch: Launch,
    /// The part of the desired capacity that stays healthy while instances are replaced; `None`:
    /// the group does not say.
    pub min_healthy_percent: Option<u32>,
    /// The part that there may be meanwhile.
    pub max_healthy_percent: Option<u32>,
    /// How long a new instance warms up, in seconds.
    pub warmup_s: Option<u32>,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// What it does not do at present.
    pub suspended: Vec<Suspended>,
}

/// What the instances of a group are launched from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Launch {
    /// A launch template.
    Template(TemplateVersion),
    /// A launch template with several instance types.
    Mixed {
        /// The template.
        template: TemplateVersion,
        /// Whether an override has a template or an image of its own.
        own_images: bool,
    },
    /// A launch configuration, the older way.
    Configuration {
        /// Its name.
        name: String,
    },
    /// Neither.
    Unknown,
}

impl Launch {
    /// The template, if it is one.
    #[must_use]
    pub fn template(&self) -> Option<&TemplateVersion> {
        match self {
            Self::Template(template) | Self::Mixed { template, .. } => Some(template),
            Self::Configuration { .. } | Self::Unknown => None,
        }
    }
}

/// One version of a launch template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TemplateVersion {
    /// The template, such as `lt-0123456789abcdef0`.
    pub id: String,
    /// A number, `$Latest` or `$Default`.
    pub version: String,
}

/// An instance of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// Such as `i-0123456789abcdef0`.
    pub id: String,
    /// Its availability zone.
    pub zone: String,
    /// Its lifecycle state, in Auto Scaling's word.
    pub state: String,
    /// `Healthy` or `Unhealthy`.
    pub health: String,
    /// What it was launched from.
    pub template: Option<TemplateVersion>,
    /// Its image, if it is known.
    pub image: Option<String>,
    /// When its launch began, if the group still remembers.
    pub launched: Option<Wall>,
    /// How much of the wanted capacity it is; 1 where its type has no weight.
    pub weight: u32,
}

impl Instance {
    /// Whether it serves, as far as the group knows.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.state == "InService" && self.health == "Healthy"
    }

    /// Whether it is on its way into service.
    #[must_use]
    pub fn arrives(&self) -> bool {
        ["Pending", "ReplacingRootVolume", "RootVolumeReplaced"]
            .iter()
            .any(|state| self.state.starts_with(state))
    }

    /// Whether it is on its way out of service. One that a hook retains stays as it is until a
    /// person ends it.
    #[must_use]
    pub fn leaves(&self) -> bool {
        self.state != "Terminating:Retained"
            && ["Terminating", "Entering", "Detaching"]
                .iter()
                .any(|state| self.state.starts_with(state))
    }
}

impl Group {
    /// The capacity that serves, in the unit of `desired`: instances, or what they weigh.
    #[must_use]
    pub fn serving(&self) -> u32 {
        self.weights().fold(0, u32::saturating_add)
    }

    /// The most that one instance which serves weighs; 1 when none does.
    #[must_use]
    pub fn heaviest(&self) -> u32 {
        self.weights().max().unwrap_or(1)
    }

    fn weights(&self) -> impl Iterator<Item = u32> {
        self.instances.iter().filter(|instance| instance.serves()).map(|instance| instance.weight)
    }
}

/// A process of the group that is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suspended {
    /// Such as `Launch`.
    pub process: String,
    /// Why, if anybody said so.
    pub reason: Option<String>,
}

/// An instance refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refresh {
    /// Its id, a UUID.
    pub id: String,
    /// How it stands.
    pub status: RefreshStatus,
    /// Why, in Auto Scaling's words.
    pub reason: Option<String>,
    /// How far it is.
    pub percent: u32,
    /// Instances that are still to be replaced.
    pub to_update: u32,
    /// When it began.
    pub started: Option<Wall>,
    /// When it ended.
    pub ended: Option<Wall>,
    /// What it brings.
    pub target: Option<TemplateVersion>,
    /// Why it is or was rolled back.
    pub rollback_reason: Option<String>,
    /// How long it bakes at its end, in seconds.
    pub bake_s: u32,
}

/// How a refresh stands (API_InstanceRefresh).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum RefreshStatus {
    /// Asked for, not begun.
    Pending,
    /// Replacing instances.
    InProgress,
    /// All are replaced; it waits whether an alarm goes off.
    Baking,
    /// Done.
    Successful,
    /// Not done.
    Failed,
    /// Being cancelled.
    Cancelling,
    /// Cancelled: what was replaced stays so.
    Cancelled,
    /// Putting back what was replaced.
    RollbackInProgress,
    /// All is as it was before.
    RollbackSuccessful,
    /// Neither new nor as before.
    RollbackFailed,
    /// A word that this version does not know.
    Other(String),
}

impl RefreshStatus {
    /// Auto Scaling's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Baking => "Baking",
            Self::Successful => "Successful",
            Self::Failed => "Failed",
            Self::Cancelling => "Cancelling",
            Self::Cancelled => "Cancelled",
            Self::RollbackInProgress => "RollbackInProgress",
            Self::RollbackSuccessful => "RollbackSuccessful",
            Self::RollbackFailed => "RollbackFailed",
            Self::Other(word) => word,
        }
    }
}

impl From<&str> for RefreshStatus {
    fn from(word: &str) -> Self {
        match word {
            "Pending" => Self::Pending,
            "InProgress" => Self::InProgress,
            "Baking" => Self::Baking,
            "Successful" => Self::Successful,
            "Failed" => Self::Failed,
            "Cancelling" => Self::Cancelling,
            "Cancelled" => Self::Cancelled,
            "RollbackInProgress" => Self::RollbackInProgress,
            "RollbackSuccessful" => Self::RollbackSuccessful,
            "RollbackFailed" => Self::RollbackFailed,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl From<RefreshStatus> for String {
    fn from(status: RefreshStatus) -> Self {
        status.as_str().to_owned()
    }
}

/// What a group did, or tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// Its id.
    pub id: String,
    /// When it began.
    pub started: Option<Wall>,
    /// What it is, such as `Launching a new EC2 instance: i-0123456789abcdef0`.
    pub description: String,
    /// Whether it came to nothing.
    pub failed: bool,
    /// Why, in Auto Scaling's words.
    pub reason: Option<String>,
}

/// When instances were launched, by what the group remembers of its activities, the newest first.
pub fn date_instances(instances: &mut [Instance], activities: &[Activity]) {
    for instance in instances {
        let launch = activities.iter().find(|activity| {
            let launched = activity.description.strip_prefix("Launching a new EC2 instance: ");
            launched.is_some_and(|id| id.trim() == instance.id)
        });
        instance.launched = launch.and_then(|launch| launch.started);
    }
}

/// The id of an image: `ami-` and 8 or 17 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmiId(String);

/// What was typed is the id of no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write the id of an image, such as ami-0123456789abcdef0")]
pub struct AmiIdError;

impl FromStr for AmiId {
    type Err = AmiIdError;

    fn from_str(text: &str) -> Result<Self, AmiIdError> {
        let digits = text.strip_prefix("ami-").ok_or(AmiIdError)?;
        let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if matches!(digits.len(), 8 | 17) && digits.bytes().all(hexadecimal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(AmiIdError)
        }
    }
}

impl AmiId {
    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AmiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name of a group or of an alarm, as a person gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsName(String);

/// What was given is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 255 characters, and no control characters")]
pub struct AwsNameError;

impl FromStr for AwsName {
    type Err = AwsNameError;

    fn from_str(text: &str) -> Result<Self, AwsNameError> {
        let long = text.chars().count() > NAME_CHARS_MAX;
        if text.is_empty() || long || text.chars().any(char::is_control) {
            return Err(AwsNameError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl AwsName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
