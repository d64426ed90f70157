//! A test that calls the agent's own functions, in a process that is pointed at the emulator: SDKs
//! learn from their environment where AWS is, and a test cannot change its own.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;
use std::sync::Arc;

use groundcrew_core::backups::backup::{Tag, tags};
use groundcrew_core::backups::civil::DateTime;
use groundcrew_core::backups::proof::{DumpRules, Level};
use groundcrew_core::backups::retention::Policy;
use groundcrew_core::backups::settings::{
    BackupSettings, Encryption, ProofSettings, RestoreSettings, Store,
};
use groundcrew_core::backups::slot::Slot;
use groundcrew_core::backups::zone::Zone;
use groundcrew_core::backups::{JobSettings, Kind, limits};
use serde_json::{Value, json};

use crate::harness::emulator::{Emulator, Services, sdk_environment};
use crate::harness::fault_proxy::FaultProxy;
use crate::harness::{http_client, load};

/// The bucket of the backups.
pub const BUCKET: &str = "backups";
/// Where the database is.
pub const HOME: &str = "us-east-1";
/// The job and its database.
pub const JOB: &str = "nightly";
pub const DATABASE: &str = "shop";
/// Set in the process that is pointed at the emulator: the emulator's own address.
const INSIDE: &str = "GROUNDCREW_TEST_INSIDE";

/// The emulator, as the process sees it that is pointed at it.
pub struct Aws {
    address: String,
}

/// Runs `body` in a process of its own that runs this test and no other.
pub fn run(body: impl AsyncFnOnce(Aws)) {
    run_with(|_| {}, body);
}

/// The same. `faults` says what goes wrong between that process and S3.
pub fn run_with(faults: impl FnOnce(&FaultProxy), body: impl AsyncFnOnce(Aws)) {
    if let Ok(address) = env::var(INSIDE) {
        return load::runtime().block_on(body(Aws { address }));
    }
    // The harness names a test's thread after it. A wrong name would run no test, and go well.
    let thread = std::thread::current();
    let test = thread.name().filter(|name| name.contains("::")).expect("a test's own thread");
    let emulator = Emulator::start(Services::All);
    emulator.create_bucket(BUCKET);
    let proxy = FaultProxy::start(emulator.address());
    faults(&proxy);
    let status = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .envs(sdk_environment(&emulator.endpoint))
        .env("AWS_ENDPOINT_URL_S3", proxy.endpoint())
        .env(INSIDE, emulator.address())
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed: {status}");
}

/// The job of a database, with a place for proofs.
pub fn settings(database: &str) -> BackupSettings {
    let job = JobSettings {
        name: JOB.parse().unwrap(),
        kind: Kind::RdsSnapshot,
        database: database.to_owned(),
        schedule: "20 0 * * *".parse().unwrap(),
        zone: Zone::utc(),
        catch_up: limits::CATCH_UP_USUAL,
        spread: limits::SPREAD_USUAL,
        stale_after: None,
        retention: Policy::default(),
        copies: Vec::new(),
        levels: Level::ALL.to_vec(),
        encrypted: false,
        restore_within: limits::RESTORE_WITHIN_USUAL,
        dump: DumpRules::default(),
        instance: "i-1".to_owned(),
        run: "i-1.1".to_owned(),
    };
    let restore = RestoreSettings {
        subnet_group: "proof".to_owned(),
        security_groups: vec!["sg-proof".to_owned()],
        class: "db.t4g.medium".to_owned(),
        parameter_group: None,
        connection: None,
        database: "shop".to_owned(),
        speaks: Kind::PgDump,
    };
    let proof = ProofSettings {
        identity_file: None,
        directory: None,
        rows_percent_min: 90,
        assertions: Vec::new(),
        restore: Some(restore),
    };
    BackupSettings {
        job,
        copy_keys: BTreeMap::new(),
        connection: None,
        encryption: Encryption::None,
        proof,
    }
}

/// Where records and leases are.
pub fn store() -> Store {
    Store { bucket: BUCKET.to_owned(), prefix: "shop/production".to_owned() }
}

/// What moto knows a key by where RDS and KMS take its ARN.
pub fn key_id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap()
}

pub fn slot(day: &str) -> Slot {
    let nominal: DateTime = format!("{day}T00:20").parse().unwrap();
    Slot { nominal, at_s: nominal.seconds(), daily: true }
}

/// The tags of a slot's snapshot.
pub fn tags_of(job: &str, day: &str) -> Vec<Tag> {
    tags(&job.parse().unwrap(), slot(day), 0, "i-1.1", false)
}

/// The settings of [`DATABASE`], shared.
pub fn shared() -> Arc<BackupSettings> {
    Arc::new(settings(DATABASE))
}

impl Aws {
    /// Pulls a lever of the emulator.
    pub fn pull(&self, lever: &str, said: &Value) {
        let path = format!("/_emulator/{lever}");
        let body = said.to_string();
        let answer =
            http_client::request(&self.address, "POST", &path, &[], body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{lever}: {}", answer.text());
    }

    /// The next `times` calls of an action fail, with a code or as `lost`.
    pub fn fail(&self, action: &str, fault: &str, times: u32) {
        let said = match fault {
            "lost" => json!({"action": action, "kind": "lost", "times": times}),
            code => json!({"action": action, "kind": "error", "code": code, "times": times}),
        };
        self.pull("fault", &said);
    }

    /// A call of RDS that the agent does not make.
    pub fn rds(&self, region: &str, action: &str, parameters: &[(&str, &str)]) {
        let scope = format!("AWS4-HMAC-SHA256 Credential=test/20260101/{region}/rds/aws4_request");
        let escaped = |value: &str| value.replace(':', "%3A").replace('/', "%2F");
        let pairs = [("Action", action), ("Version", "2014-10-31")];
        let pairs = pairs.iter().chain(parameters);
        let pairs: Vec<_> =
            pairs.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let body = pairs.join("&");
        let headers =
            [("Authorization", &*scope), ("Content-Type", "application/x-www-form-urlencoded")];
        let body = body.as_bytes();
        let answer = http_client::request(&self.address, "POST", "/", &headers, body).unwrap();
        assert_eq!(answer.status, 200, "{action}: {}", answer.text());
    }

    /// A call of KMS that the agent does not make.
    pub fn kms(&self, region: &str, action: &str, said: &Value) -> Value {
        let scope = format!("AWS4-HMAC-SHA256 Credential=test/20260101/{region}/kms/aws4_request");
        let target = format!("TrentService.{action}");
        let headers = [
            ("Authorization", &*scope),
            ("X-Amz-Target", &*target),
            ("Content-Type", "application/x-amz-json-1.1"),
        ];
        let body = said.to_string();
        let answer =
            http_client::request(&self.address, "POST", "/", &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{action}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// A key of KMS, by its ARN.
    pub fn key(&self, region: &str) -> String {
        let made = self.kms(region, "CreateKey", &json!({}));
        made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    /// A subnet that is there.
    pub fn subnet(&self) -> String {
        let scope = format!("AWS4-HMAC-SHA256 Credential=test/20260101/{HOME}/ec2/aws4_request");
        let headers =
            [("Authorization", &*scope), ("Content-Type", "application/x-www-form-urlencoded")];
        let body = b"Action=DescribeSubnets&Version=2016-11-15";
        let answer = http_client::request(&self.address, "POST", "/", &headers, body).unwrap();
        let text = answer.text();
        let (_, rest) = text.split_once("<subnetId>").expect("a subnet");
        rest.split_once('<').expect("an end").0.to_owned()
    }

    /// An instance, available at once.
    pub fn create_instance(&self, id: &str, more: &[(&str, &str)]) {
        let mut parameters = vec![
            ("DBInstanceIdentifier", id),
            ("DBInstanceClass", "db.m7g.large"),
            ("Engine", "postgres"),
            ("AllocatedStorage", "20"),
            ("MasterUsername", "root"),
            ("MasterUserPassword", "not-a-secret"),
        ];
        parameters.extend(more);
        self.rds(HOME, "CreateDBInstance", &parameters);
    }

    /// A cluster of Aurora with one instance.
    pub fn create_cluster(&self, id: &str) {
        let cluster = [
            ("DBClusterIdentifier", id),
            ("Engine", "aurora-postgresql"),
            ("MasterUsername", "root"),
            ("MasterUserPassword", "not-a-secret"),
        ];
        self.rds(HOME, "CreateDBCluster", &cluster);
        let writer = format!("{id}-1");
        let instance = [
            ("DBInstanceIdentifier", &*writer),
            ("DBClusterIdentifier", id),
            ("DBInstanceClass", "db.r7g.large"),
            ("Engine", "aurora-postgresql"),
        ];
        self.rds(HOME, "CreateDBInstance", &instance);
    }

    /// The journal's calls of an action, with their parameters and region.
    pub fn calls(&self, action: &str) -> Vec<Value> {
        let answer = http_client::get(&self.address, "/_emulator/journal").unwrap();
        let journal: Value = serde_json::from_slice(&answer.body).unwrap();
        let entries = journal["entries"].as_array().unwrap().iter();
        entries.filter(|entry| entry["action"] == action).cloned().collect()
    }

    /// Puts an object that the agent did not write.
    pub fn put(&self, path: &str, body: &[u8]) {
        let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request";
        let path = format!("/{BUCKET}/{}/{path}", store().prefix);
        let headers = [("Authorization", scope)];
        let answer = http_client::request(&self.address, "PUT", &path, &headers, body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}
