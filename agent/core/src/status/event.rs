//! What people are told happened: a sentence for them, and typed words for whoever hands it on.
//! Part of the status' JSON and of the ledger: a name here is an interface.

use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::time::{Now, Wall};
use crate::types::{ProcessId, TierName, Version};

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventLevel {
    /// As it should be.
    Normal,
    /// Unexpected, and mended.
    Warning,
    /// Something was lost, or a person is needed.
    Error,
}

impl EventLevel {
    /// The word people read; the same as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// `Name = "word" "what it is";`
macro_rules! topics {
    ($($name:ident = $word:literal $help:literal;)*) => {
        /// What an event is about.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum Topic {
            $(#[doc = $help] $name,)*
            /// What has no topic of its own.
            #[default]
            #[serde(other)]
            Other,
        }

        impl Topic {
            /// Each of them.
            pub const ALL: &[Self] = &[$(Self::$name,)* Self::Other];

            /// The word people read; the same as in JSON.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                    Self::Other => "other",
                }
            }
        }
    };
}

topics! {
    DeploymentStarted = "deployment-started" "Another release is rolled out.";
    DeploymentServing = "deployment-serving" "It serves, and is on trial.";
    DeploymentSettled = "deployment-settled" "It passed its trial.";
    DeploymentRejected = "deployment-rejected" "It was found to be bad.";
    DeploymentRolledBack = "deployment-rolled-back" "The release before serves again.";
    DeploymentFailed = "deployment-failed" "It failed, and is tried again for want of another.";
    ProcessCrashed = "process-crashed" "A process ended that should not have.";
    ProcessUnhealthy = "process-unhealthy" "A process was not well, and is replaced.";
    CrashLoop = "crash-loop" "A process keeps ending.";
    CrashLoopOver = "crash-loop-over" "It does not any more.";
    RequestsCut = "requests-cut" "Requests were cut off.";
    DrainBegun = "drain-begun" "The host leaves.";
    DrainEnded = "drain-ended" "Everything has ended, and no request was cut.";
    DrainIncomplete = "drain-incomplete" "Everything has ended, and requests were cut.";
    SourceUnreachable = "source-unreachable" "The source of releases cannot be read.";
    SourceBack = "source-back" "It can be read again.";
    PipelineStuck = "pipeline-stuck" "What should leave the host does not.";
    PipelineMoving = "pipeline-moving" "It does again.";
    LinesDropped = "lines-dropped" "Log lines were lost.";
    HookProblem = "hook-problem" "Auto Scaling or a load balancer does not do as told.";
    BackupDone = "backup-done" "A backup was made, or was not needed.";
    BackupProved = "backup-proved" "A backup was proved.";
    BackupFailed = "backup-failed" "A backup was not made, or backups have stopped coming.";
    BackupProblem = "backup-problem" "A copy, the proof or the retention needs a person.";
    BackupRecovered = "backup-recovered" "There is a good backup again.";
    AgentStarted = "agent-started" "The agent began.";
    Test = "test" "A person tries out whether this arrives.";
}

impl Topic {
    /// The first word: what configurations name to mean all of a kind.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::DeploymentStarted
            | Self::DeploymentServing
            | Self::DeploymentSettled
            | Self::DeploymentRejected
            | Self::DeploymentRolledBack
            | Self::DeploymentFailed => "deployment",
            Self::ProcessCrashed
            | Self::ProcessUnhealthy
            | Self::CrashLoop
            | Self::CrashLoopOver => "crash",
            Self::RequestsCut | Self::DrainBegun | Self::DrainEnded | Self::DrainIncomplete => {
                "drain"
            }
            Self::SourceUnreachable | Self::SourceBack => "source",
            Self::PipelineStuck | Self::PipelineMoving | Self::LinesDropped => "pipeline",
            Self::HookProblem => "hook",
            Self::BackupDone
            | Self::BackupProved
            | Self::BackupFailed
            | Self::BackupProblem
            | Self::BackupRecovered => "backup",
            Self::AgentStarted => "agent",
            Self::Test => "test",
            Self::Other => "other",
        }
    }

    /// What an event of this topic ends, if it is good news.
    #[must_use]
    pub fn ends(self) -> &'static [Self] {
        match self {
            Self::DeploymentSettled => &[Self::DeploymentRejected, Self::DeploymentFailed],
            Self::CrashLoopOver => &[Self::CrashLoop],
            Self::SourceBack => &[Self::SourceUnreachable],
            Self::PipelineMoving => &[Self::PipelineStuck],
            Self::BackupRecovered => &[Self::BackupFailed],
            _ => &[],
        }
    }

    /// Whether an event of this topic only says that another is over, so that it is news to those
    /// alone who heard of that one.
    #[must_use]
    pub fn is_only_end(self) -> bool {
        matches!(
            self,
            Self::CrashLoopOver | Self::SourceBack | Self::PipelineMoving | Self::BackupRecovered
        )
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    fn is_other(&self) -> bool {
        *self == Self::Other
    }
}

/// Whom an event is about; nothing of it is known of the host as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// A tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<TierName>,
    /// A process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
    /// A release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<Version>,
    /// A way out of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// A job of backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
}

impl Subject {
    /// The host as a whole.
    #[must_use]
    pub fn host() -> Self {
        Self::default()
    }

    /// A release.
    #[must_use]
    pub fn release(version: &Version) -> Self {
        Self { release: Some(version.clone()), ..Self::default() }
    }

    /// A process, and what it runs.
    #[must_use]
    pub fn process(id: &ProcessId, release: &Version) -> Self {
        let (tier, process) = (Some(id.tier.clone()), Some(id.clone()));
        Self { tier, process, ..Self::release(release) }
    }

    /// A way out of the host.
    #[must_use]
    pub fn pipeline(name: &str) -> Self {
        Self { pipeline: Some(name.to_owned()), ..Self::default() }
    }

    /// A job of backups.
    #[must_use]
    pub fn backup(name: &str) -> Self {
        Self { backup: Some(name.to_owned()), ..Self::default() }
    }

    /// Tells people about it.
    #[must_use]
    pub fn tell(self, now: Now, level: EventLevel, topic: Topic, text: String) -> Effect {
        Effect::Tell(EventStatus {
            topic,
            subject: self,
            ..EventStatus::new(now.wall, level, text)
        })
    }

    fn is_host(&self) -> bool {
        *self == Self::default()
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventStatus {
    /// When.
    pub at: Wall,
    /// How much it matters.
    pub level: EventLevel,
    /// What, as a sentence.
    pub text: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Topic::is_other")]
    pub topic: Topic,
    /// Whom it is about.
    #[serde(default, skip_serializing_if = "Subject::is_host")]
    pub subject: Subject,
}

impl EventStatus {
    /// A sentence alone.
    #[must_use]
    pub fn new(at: Wall, level: EventLevel, text: String) -> Self {
        Self { at, level, text, topic: Topic::Other, subject: Subject::host() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_json_and_of_their_group() {
        for topic in Topic::ALL {
            assert_eq!(serde_json::to_value(topic).unwrap(), topic.word());
            assert_eq!(topic.word().parse_topic(), Some(*topic));
        }
        let newer: Topic = serde_json::from_str("\"backup-verified\"").unwrap();
        assert_eq!(newer, Topic::Other);
    }

    trait ParseTopic {
        fn parse_topic(&self) -> Option<Topic>;
    }

    impl ParseTopic for str {
        fn parse_topic(&self) -> Option<Topic> {
            Topic::ALL.iter().copied().find(|topic| topic.word() == self)
        }
    }

    #[test]
    fn what_has_neither_topic_nor_subject_is_written_as_ever() {
        let before = r#"{"at":1,"level":"normal","text":"v42 settled"}"#;
        let plain: EventStatus = serde_json::from_str(before).unwrap();
        assert_eq!(serde_json::to_string(&plain).unwrap(), before);
        let subject = Subject::process(&"web.17.1".parse().unwrap(), &"v42".parse().unwrap());
        let typed = EventStatus { topic: Topic::CrashLoop, subject, ..plain };
        let text = serde_json::to_string(&typed).unwrap();
        assert!(text.ends_with(
            r#""topic":"crash-loop","subject":{"tier":"web","process":"web.17.1","release":"v42"}}"#
        ));
        assert_eq!(serde_json::from_str::<EventStatus>(&text).unwrap(), typed);
    }

    #[test]
    fn only_what_can_begin_ends() {
        for topic in Topic::ALL {
            assert!(topic.ends().iter().all(|ended| ended.ends().is_empty()));
            assert!(!topic.is_only_end() || !topic.ends().is_empty());
        }
    }
}
