//! What the host's file says about being told. Secrets are named, or held where `Debug` does not
//! show them.

use std::fmt;

use super::Rules;
use super::errors::ErrorRules;

/// Something that must not be seen, or where it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// It stands in the configuration.
    Inline(String),
    /// In a file, read each time; a name without a slash is that of a systemd credential.
    File(String),
}

/// Without the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("[redacted]"),
            Self::File(path) => write!(f, "{path}"),
        }
    }
}

/// Where a target is, and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A topic of SNS, by its ARN.
    Sns {
        /// The ARN.
        topic: String,
    },
    /// An incoming webhook as Slack has it; Mattermost and Discord take the same.
    Slack {
        /// Its address, which is the secret.
        url: Secret,
    },
    /// The Events API v2 of PagerDuty.
    PagerDuty {
        /// The integration's key.
        key: Secret,
        /// The API's address.
        url: String,
    },
    /// The alerts API of Opsgenie.
    Opsgenie {
        /// The integration's key.
        key: Secret,
        /// The API's address.
        url: String,
    },
    /// A JSON document, signed as Standard Webhooks has it.
    Webhook {
        /// The address.
        url: Secret,
        /// What signs; `None`: nothing does.
        secret: Option<Secret>,
    },
}

impl Kind {
    /// The word of the configuration.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Sns { .. } => "sns",
            Self::Slack { .. } => "slack",
            Self::PagerDuty { .. } => "pagerduty",
            Self::Opsgenie { .. } => "opsgenie",
            Self::Webhook { .. } => "webhook",
        }
    }
}

/// One `[[notify]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSettings {
    /// What it wants, and how often.
    pub rules: Rules,
    /// Where it is.
    pub kind: Kind,
    /// The template of the title; `None`: the usual one.
    pub title: Option<String>,
    /// The template of the text; `None`: the usual one.
    pub text: Option<String>,
}

/// `[errors]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorSettings {
    /// The tracker's DSN.
    pub dsn: Secret,
    /// Which errors go there, and how often.
    pub rules: ErrorRules,
    /// What it calls the environment; `None`: as the host does.
    pub environment: Option<String>,
}
