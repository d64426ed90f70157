//! What is said about backups.

use std::time::Duration;

use groundcrew_core::backups::Kind;
use groundcrew_core::backups::proof::Level;
use groundcrew_core::backups::settings::{Encryption, Password, Tls};

use super::{bad_host, host, parse_host};

const STORE: &str = "backup_store = \"s3://acme-backups/shop\"\n";
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
const BACKUPS: &str = r#"
backup_store = "s3://acme-backups/shop/"
[[backup]]
name = "shop-nightly"
kind = "rds-snapshot"
database = "Shop-Production"
schedule = "20 0 * * *"
timezone = "Europe/Berlin"
stale_after = "30h"
[backup.retention]
keep_daily = 35
keep_weekly = 12
keep_monthly = 36
min_keep = 4
[[backup.copy]]
region = "eu-west-1"
kms_key = "alias/backups"
keep_daily = 7
[backup.verify]
levels = ["L0", "L3"]
[backup.verify.restore]
subnet_group = "isolated"
security_groups = ["sg-0123456789abcdef0"]
class = "db.t4g.medium"
within = "2h"
database = "orders"
connection = { user = "verify", iam = true }
[[backup]]
name = "shop-dump"
kind = "pg-dump"
database = "shop"
schedule = "every 6h"
catch_up = "1h"
[backup.retention]
keep_within = "30d"
[backup.connection]
host = "replica.abc.eu-central-1.rds.amazonaws.com"
secret = "rds!db-0a1b"
[backup.encryption]
age_recipients = ["RECIPIENT"]
[backup.dump]
size_min = "1 MiB"
shrink_max = "20%"
[backup.verify]
levels = ["L0", "L1", "L2"]
identity_file = "age-identity"
rows_percent_min = 90
assertions = [{ name = "orders are new", sql = "SELECT true" }]
"#;

fn warnings(lines: &str) -> String {
    let text = format!("{}{lines}", super::REQUIRED);
    let (_, warnings) = host::parse_with_warnings("groundcrew.toml", &text).unwrap();
    let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// A job of snapshots, and what follows its usual lines.
fn snapshots(name: &str, more: &str) -> String {
    format!(
        "[[backup]]\nname = \"{name}\"\nkind = \"rds-snapshot\"\ndatabase = \"shop\"\n\
         schedule = \"20 0 * * *\"\n{more}"
    )
}

#[test]
fn a_snapshot_and_a_dump() {
    let config = parse_host(&BACKUPS.replace("RECIPIENT", RECIPIENT));
    let store = config.backup_store.as_ref().unwrap();
    assert_eq!((store.bucket.as_str(), store.prefix.as_str()), ("acme-backups", "shop"));
    let [shot, dump] = config.backups.as_slice() else { panic!("{:?}", config.backups) };
    let job = &shot.job;
    assert_eq!((job.name.as_str(), job.database.as_str()), ("shop-nightly", "shop-production"));
    assert_eq!((job.kind, job.zone.name()), (Kind::RdsSnapshot, "Europe/Berlin"));
    assert_eq!((job.catch_up, job.stale_after), (hours(19) + minutes(10), Some(hours(30))));
    assert_eq!((job.retention.keep_monthly, job.retention.min_keep), (36, 4));
    assert!(job.encrypted && shot.connection.is_none());
    assert_eq!(job.copies[0].retention.keep_daily, 7);
    assert_eq!((job.copies[0].within, job.copies[0].in_flight_max), (hours(12), 3));
    assert_eq!(shot.copy_keys["eu-west-1"], "alias/backups");
    let restore = shot.proof.restore.as_ref().unwrap();
    assert_eq!((restore.class.as_str(), restore.within), ("db.t4g.medium", hours(2)));
    assert_eq!((restore.database.as_str(), restore.speaks), ("orders", Kind::PgDump));
    assert_eq!(restore.connection.as_ref().unwrap().password, Password::Iam);
    assert_eq!(dump.job.catch_up, hours(1));
    let connection = dump.connection.as_ref().unwrap();
    assert_eq!((connection.port, connection.tls), (5432, Tls::VerifyFull));
    assert_eq!(connection.password, Password::Secret("rds!db-0a1b".to_owned()));
    assert_eq!(dump.encryption, Encryption::Age(vec![RECIPIENT.to_owned()]));
    assert_eq!((dump.job.dump.bytes_min, dump.job.dump.shrink_percent_max), (1 << 20, 20));
    assert_eq!(dump.job.levels, [Level::L0, Level::L1, Level::L2]);
    assert_eq!(dump.proof.assertions[0].name, "orders are new");
    assert_eq!(warnings(&BACKUPS.replace("RECIPIENT", RECIPIENT)), "");
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

#[test]
fn without_the_tables_there_are_none() {
    let config = parse_host("");
    assert!(config.backups.is_empty() && config.backup_store.is_none());
}

#[test]
fn a_job_of_a_few_lines_has_the_defaults() {
    let config = parse_host(&format!("{STORE}{}", snapshots("a", "")));
    let job = &config.backups[0].job;
    assert_eq!((job.zone.name(), job.spread), ("UTC", minutes(5)));
    assert_eq!((job.catch_up, job.stale_after), (hours(20), None));
    assert_eq!(job.levels, [Level::L0]);
    assert!(job.instance.is_empty() && job.run.is_empty(), "the runtime fills them in");
}

#[test]
fn everything_that_is_wrong_with_a_snapshot_is_said_at_once() {
    let said = bad_host(
        r#"[[backup]]
name = "Shop"
kind = "rds-snapshot"
database = "shop--production"
schedule = "@daily"
timezone = "Europe/Berln"
spread = "5"
[backup.retention]
keep_dayly = 3
min_keep = 0
[[backup.copy]]
region = "eu-west"
kms_key = "backups"
[[backup.copy]]
region = "eu-west-1"
kms_key = "arn:aws:kms:eu-central-1:123456789012:key/0a1b"
in_flight_max = 0
[backup.connection]
host = "x"
[backup.encryption]
kms_key = "alias/x"
[backup.verify]
levels = ["L0", "l1", "L3"]
[backup.verify.restore]
subnet_group = "a/b"
security_groups = []
class = "t4g.medium"
within = "5h"
"#,
    );
    for expected in [
        "4: backup[0].name: backup name \"Shop\" must begin with a letter from a to z",
        "6: backup[0].database: \"shop--production\" is not an identifier of RDS; name the",
        "7: backup[0].schedule: \"@daily\": @daily is not supported; write the five fields",
        "8: backup[0].timezone: \"Europe/Berln\" is not the name of a time zone; did you mean \
         Europe/Berlin?",
        "11: backup[0].retention.keep_dayly: unknown key; did you mean keep_daily?",
        "14: backup[0].copy[0].region: \"eu-west\" is not a region of AWS; write it like",
        "15: backup[0].copy[0].kms_key: \"backups\" is not the name of a KMS key; write its ARN",
        "19: backup[0].copy[1].in_flight_max: 0 is not within 1 to 20",
        "18: backup[0].copy[1].kms_key: is a key of eu-central-1, and the copy is in eu-west-1",
        "20: backup[0].connection: belongs to dumps; a snapshot is made by RDS alone",
        "22: backup[0].encryption: belongs to dumps; a snapshot is encrypted as its database is",
        "25: backup[0].verify.levels[1]: \"l1\" is no level; there are L0, L1, L2, L3",
        "27: backup[0].verify.restore.subnet_group: \"a/b\" is not the name of a group",
        "28: backup[0].verify.restore.security_groups: names 0 groups, wanted 1 to 16; without",
        "29: backup[0].verify.restore.class: \"t4g.medium\" is not a class of instances; write",
        "30: backup[0].verify.restore.within: 5h is not within 10m to 4h",
    ] {
        assert!(said.contains(&format!("groundcrew.toml:{expected}")), "{expected}\n{said}");
    }
}

#[test]
fn everything_that_is_wrong_with_a_dump_is_said_and_no_secret_is() {
    let identity = "AGE-SECRET-KEY-1QQQSECRET";
    let said = bad_host(&format!(
        r#"{STORE}[[backup]]
name = "a"
kind = "pg-dump"
database = "host=x dbname=y"
schedule = "*/5 * * * *"
[backup.connection]
host = "postgres://user:hunter2@x"
port = 0
user = "a=b"
password_file = "hunter2 hunter2"
secret = "the secret itself"
tls = "prefer"
[backup.encryption]
age_recipients = ["{identity}"]
[backup.dump]
shrink_max = "1.5%"
[backup.verify]
rows_percent_min = 101
assertions = [{{ name = "", sql = "SELECT 1" }}, {{ name = "b" }}]
identity_file = "../x"
directory = "scratch"
[[backup]]
name = "b"
kind = "mysql-dump"
database = "-e"
schedule = "0 1 * * *"
catch_up = "25h"
stale_after = "2h"
[[backup]]
name = "c"
kind = "dump"
"#
    ));
    assert!(!said.contains("the secret itself") && !said.contains("QQQSECRET"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    for expected in [
        "8: backup[0].schedule: \"*/5 * * * *\": is due every 5 minutes; that must be from 15",
        "7: backup[0].database: \"host=x dbname=y\" is not the name of a database; the server",
        "10: backup[0].connection.host: is not a server's name, address or directory; user, port",
        "11: backup[0].connection.port: 0 is not within 1 to 65535",
        "12: backup[0].connection.user: \"a=b\" is not the name of a user",
        "13: backup[0].connection.password_file: is not an absolute path, or the name of a",
        "14: backup[0].connection.secret: is not the name or ARN of a secret in Secrets Manager",
        "15: backup[0].connection.tls: \"prefer\" is not \"verify-full\" or \"require\" or \"off\"",
        "17: backup[0].encryption.age_recipients[0]: is not an age recipient; this is the identity",
        "19: backup[0].dump.shrink_max: has a fraction; write a whole percentage",
        "21: backup[0].verify.rows_percent_min: 101 is not within 0 to 100",
        "22: backup[0].verify.assertions[0].name: is empty or has more than 100 bytes",
        "22: backup[0].verify.assertions[1].sql: is missing; write a statement whose first",
        "23: backup[0].verify.identity_file: is not an absolute path, or the name of a systemd",
        "24: backup[0].verify.directory: \"scratch\" is not an absolute path",
        "28: backup[1].database: \"-e\" is not the name of a database",
        "30: backup[1].catch_up: 1d1h is not within 0s to 23h59m59s",
        "31: backup[1].stale_after: is less than the 1d between two slots; every backup would",
        "25: backup[1].connection: is missing; say how to connect: [backup.connection] with host",
        "34: backup[2].kind: \"dump\" is not \"rds-snapshot\" or \"pg-dump\" or \"mysql-dump\"",
        "32: backup[2].schedule: is missing; say when, such as schedule = \"20 0 * * *\"",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}

#[test]
fn a_connection_names_a_user_and_one_way_to_a_password() {
    let dump = |connection: &str| {
        format!(
            "{STORE}[[backup]]\nname = \"a\"\nkind = \"mysql-dump\"\ndatabase = \"shop\"\n\
             schedule = \"0 1 * * *\"\nconnection = {{ {connection} }}\n"
        )
    };
    let socket = parse_host(&dump("host = \"/run/mysqld\", user = \"root\""));
    let connection = socket.backups[0].connection.as_ref().unwrap();
    assert_eq!((connection.port, connection.tls), (3306, Tls::Off));
    assert_eq!(connection.password, Password::None);
    for (connection, expected) in [
        ("host = \"db\"", "connection.user: is missing; say who connects"),
        ("host = \"db\", iam = true", "connection.user: is missing; say who connects"),
        ("user = \"a\"", "connection.host: is missing; name the server"),
        (
            "host = \"db\", user = \"a\", iam = true, secret = \"x\"",
            "connection: has more than one way to a password; keep one of",
        ),
    ] {
        let said = bad_host(&dump(connection));
        assert!(said.contains(expected), "{connection}: {said}");
    }
}

#[test]
fn jobs_that_cannot_be_told_apart_are_refused() {
    let two = |first: &str, second: &str| bad_host(&format!("{STORE}{first}{second}"));
    let said = two(&snapshots("a", ""), &snapshots("a", ""));
    assert!(said.contains("backup[1].name: \"a\" is the name of another one too"), "{said}");
    // gc-a-b-shop and gc-a-b-shop.
    let second = snapshots("a-b", "");
    let first = snapshots("a", "").replace("\"shop\"", "\"b-shop\"");
    let said = two(&first, &second);
    assert!(said.contains("its snapshots would have the names of those of a; choose"), "{said}");
    let restore = "verify = { levels = [\"L3\"], restore = { subnet_group = \"x\", \
                   security_groups = [\"sg-1\"], class = \"db.x\" } }\n";
    let said = two(&snapshots("a", restore), &snapshots("a-c", restore));
    assert!(
        said.contains("instances that are restored for it and for a have like names"),
        "{said}"
    );
}

#[test]
fn the_store_is_a_bucket_and_has_to_be_there() {
    let said = bad_host(&snapshots("a", ""));
    assert!(said.contains("backup_store: is missing; say where the fleet remembers"), "{said}");
    let said = bad_host("backup_store = \"file:///srv/backups\"\n");
    assert!(said.contains("3: backup_store: is on this host alone; instances come and"), "{said}");
}

#[test]
fn there_are_no_more_than_there_may_be() {
    let jobs: String = (0..33).map(|n| snapshots(&format!("a{n}"), "")).collect();
    let said = bad_host(&format!("{STORE}{jobs}"));
    assert!(said.contains("backup: 33 are more than 32"), "{said}");
    let copy = |region: &str| format!("[[backup.copy]]\nregion = \"{region}\"\n");
    let many: String = (1..=5).map(|n| copy(&format!("eu-west-{n}"))).collect();
    let said = bad_host(&format!("{STORE}{}", snapshots("a", &many)));
    assert!(said.contains("backup[0].copy: 5 are more than 4"), "{said}");
    let twice = format!("{}{}", copy("eu-west-1"), copy("eu-west-1"));
    let said = bad_host(&format!("{STORE}{}", snapshots("a", &twice)));
    assert!(said.contains("backup[0].copy: two of them are to the same region"), "{said}");
}

#[test]
fn what_will_perhaps_not_work_as_meant_is_a_warning() {
    let keep = "retention = { keep_daily = 70, keep_monthly = 36 }\n";
    let levels = "verify = { levels = [\"L0\", \"L1\"] }\n";
    let said = warnings(&format!("{STORE}{}", snapshots("a", &format!("{keep}{levels}"))));
    for expected in [
        "10: warning: backup[0].verify.levels[0]: L1 is not proved of snapshots",
        "warning: backup[0]: keeps up to 109 snapshots in the databases' region, and RDS",
    ] {
        let expected = expected.replace("levels[0]", "levels[1]");
        assert!(said.contains(&expected), "{expected}\n{said}");
    }
    let said = warnings(&format!("{STORE}{}", snapshots("a", "")));
    assert!(said.contains("backup[0]: no keep_... is set, so every backup is kept"), "{said}");
    let dump = "[[backup]]\nname = \"d\"\nkind = \"pg-dump\"\ndatabase = \"shop\"\n\
                schedule = \"0 1 * * *\"\nretention = { keep_daily = 7 }\n\
                connection = { host = \"db\", user = \"a\" }\n";
    let said = warnings(&format!("{STORE}{dump}"));
    assert!(said.contains("backup[0]: its dumps are not encrypted: whoever reads"), "{said}");
    let sealed = format!(
        "encryption = {{ age_recipients = [\"{RECIPIENT}\"] }}\nverify = {{ levels = [\"L2\"] }}\n"
    );
    let said = warnings(&format!("{STORE}{dump}{sealed}"));
    assert!(said.contains("verify.levels: L1 and L2 read the dump, and this host has"), "{said}");
    assert!(said.contains("verify.levels: L2 restores the dump, and nothing is asked"), "{said}");
}

#[test]
fn a_restored_snapshot_needs_a_place() {
    let said = bad_host(&format!("{STORE}{}", snapshots("a", "verify = { levels = [\"L3\"] }\n")));
    let expected = "backup[0].verify.levels: L3 restores a snapshot; say where to in";
    assert!(said.contains(expected), "{said}");
    let asks = "verify = { levels = [\"L3\"], \
                assertions = [{ name = \"a\", sql = \"b\" }], \
                restore = { subnet_group = \"x\", security_groups = [\"sg-1\"], \
                class = \"db.x\" } }\n";
    let said = bad_host(&format!("{STORE}{}", snapshots("a", asks)));
    assert!(said.contains("verify.restore: has no connection; say who asks the"), "{said}");
}

#[test]
fn every_key_is_listed_once() {
    let keys: Vec<_> = host::keys().filter(|key| key.starts_with("backup")).collect();
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    for key in ["backup_store", "backup.copy.region", "backup.verify.assertions.sql"] {
        assert!(keys.iter().any(|known| known == key), "{key}");
    }
    let tables = ["backup.copy", "backup.verify", "backup.verify.restore.connection"];
    assert!(tables.iter().all(|table| !keys.iter().any(|key| key == table)), "{keys:?}");
}
