//! Relational Database Service: databases, their snapshots and what is restored of them. What
//! changes something is asked for once: an answer that is lost is looked for, not asked for again.

use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_rds::Client;
use aws_sdk_rds::config::Builder;
use aws_sdk_rds::config::retry::RetryConfig;
use groundcrew_core::backups::backup::Tag;
use groundcrew_core::backups::limits::CALL_WITHIN;

use super::call_failure::CallFailure;
use super::kms::Kms;

mod change;
mod describe;

pub use change::is_aurora;

/// How long one attempt may take.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(12);
/// How long a question may take, all attempts and pauses included.
const QUESTION_WITHIN: Duration = Duration::from_secs(30);
/// How long a change may take, which is one attempt.
const CHANGE_WITHIN: Duration = Duration::from_secs(25);
/// Attempts that the SDK makes for one question; the core makes the next.
const ATTEMPTS_MAX: u32 = 3;
/// The longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// RDS is also where the state of its snapshots' keys is asked for.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_RDS", "AWS_ENDPOINT_URL_KMS"];

// What comes before a change, such as a look, still has its time within the call.
const _: () = assert!(CHANGE_WITHIN.as_secs() + QUESTION_WITHIN.as_secs() < CALL_WITHIN.as_secs());

/// The service in one region.
#[derive(Debug, Clone)]
pub struct Rds {
    shared: SdkConfig,
    client: Client,
}

/// An instance, as RDS shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its identifier, in lower case.
    pub id: String,
    /// Its status, in RDS's word.
    pub status: String,
    /// What stays the same when it is renamed (`DbiResourceId`).
    pub resource: String,
    /// The cluster that it is in.
    pub cluster: Option<String>,
    /// Where it can be reached, once it can.
    pub endpoint: Option<Endpoint>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Where and as what it runs.
    pub placement: Placement,
}

/// A cluster, as RDS shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its identifier, in lower case.
    pub id: String,
    /// Its status, in RDS's word.
    pub status: String,
    /// What stays the same when it is renamed (`DbClusterResourceId`).
    pub resource: String,
    /// Such as `aurora-postgresql`.
    pub engine: String,
    /// Its instances.
    pub members: Vec<String>,
    /// Where its writer can be reached.
    pub endpoint: Option<Endpoint>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Where and as what it runs.
    pub placement: Placement,
}

/// Where a database can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name.
    pub host: String,
    /// A port.
    pub port: u16,
}

/// Where and as what a database runs. What is not said is RDS's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// Such as `db.t4g.medium`. A cluster of Aurora has none, its instances do.
    pub class: Option<String>,
    /// The DB subnet group.
    pub subnet_group: Option<String>,
    /// VPC security groups.
    pub security_groups: Vec<String>,
    /// The parameter group: of a cluster, that of the cluster.
    pub parameter_group: Option<String>,
    /// Whether there is a standby in another zone.
    pub multi_az: bool,
    /// Whether IAM may say who connects.
    pub iam_authentication: bool,
    /// Whether it must not be deleted.
    pub deletion_protection: bool,
    /// Days that automated backups are kept; `None`: as in the snapshot.
    pub backup_days: Option<i32>,
}

/// A snapshot, as RDS shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identifier, in lower case.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// Its status, in RDS's word.
    pub status: String,
    /// The instance or the cluster that it is of, by the name that this had then.
    pub database: String,
    /// The resource that it is of.
    pub resource: String,
    /// Such as `postgres`.
    pub engine: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The ARN of its KMS key.
    pub key: Option<String>,
    /// When the data is of, in seconds since 1970-01-01 UTC: a copy has that of its source.
    pub created_s: Option<i64>,
    /// What it holds, if RDS says so.
    pub bytes: Option<u64>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// What is to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRequest<'a> {
    /// The new instance or cluster.
    pub id: &'a str,
    /// The snapshot.
    pub snapshot: &'a str,
    /// Where and as what it runs.
    pub placement: &'a Placement,
    /// Its tags.
    pub tags: &'a [Tag],
}

impl Rds {
    /// With credentials, region and endpoint from the environment and the instance's metadata.
    /// Without a region there is nobody to ask: it may be there the next time.
    pub async fn connect() -> Result<Self, CallFailure> {
        let shared = Box::pin(super::load_config_with_region(&ENDPOINT_VARIABLES)).await;
        let shared = shared.ok_or_else(|| CallFailure::no_region("rds"))?;
        let client = client(&shared);
        Ok(Self { shared, client })
    }

    /// The same in another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let region = Region::new(region.to_owned());
        let shared = self.shared.to_builder().region(region).build();
        let client = client(&shared);
        Self { shared, client }
    }

    /// The keys of its region.
    #[must_use]
    pub fn kms(&self) -> Kms {
        Kms::with(&self.shared)
    }
}

fn client(shared: &SdkConfig) -> Client {
    let retries =
        RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX).with_max_backoff(BACKOFF_MAX);
    let timeouts = super::timeouts(ATTEMPT_WITHIN, QUESTION_WITHIN);
    let config = Builder::from(shared).retry_config(retries).timeout_config(timeouts).build();
    Client::from_conf(config)
}

/// For what changes something: one attempt.
fn once() -> Builder {
    Builder::new()
        .retry_config(RetryConfig::disabled())
        .timeout_config(super::timeouts(CHANGE_WITHIN, CHANGE_WITHIN))
}
