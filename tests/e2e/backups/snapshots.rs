//! Snapshots at RDS: each call once, each refusal once, and answers that are lost.

use std::sync::Arc;

use futures_util::future::join_all;
use groundcrew::backups::snapshots::Snapshots;
use groundcrew_core::backups::backup::{Backup, BackupState, TAG_HOLD, TAG_IN_USE};
use groundcrew_core::backups::call::{CallError, CallErrorKind, Make};
use groundcrew_core::backups::database::{Database, Target};
use groundcrew_core::backups::record::Place;
use groundcrew_core::backups::settings::BackupSettings;
use serde_json::json;

use super::aws::{Aws, DATABASE, HOME, JOB, key_id, run, settings, shared, tags_of};

const ELSEWHERE: &str = "eu-west-1";
const DAY: &str = "2026-11-21";
const ID: &str = "gc-nightly-shop-20261121";

fn elsewhere() -> Place {
    Place::Region(ELSEWHERE.to_owned())
}

/// The snapshots of [`DATABASE`], which is there.
fn shop(aws: &Aws) -> Snapshots {
    aws.pull("rds", &json!({"seconds": {"snapshot": 0, "copy": 0}}));
    aws.create_instance(DATABASE, &[]);
    Snapshots::connect(shared())
}

async fn seen(snapshots: &Snapshots, place: &Place, id: &str) -> Backup {
    *snapshots.look(place, id, &Target::Instance).await.unwrap().expect("a snapshot")
}

#[track_caller]
fn kind<T: std::fmt::Debug>(answer: Result<T, CallError>) -> CallErrorKind {
    answer.expect_err("it went well").kind
}

#[test]
fn an_instance_is_backed_up_once() {
    run(async |aws: Aws| {
        let (shop, home) = (shop(&aws), Place::Home);
        let nobody = Snapshots::connect(Arc::new(settings("nobody")));
        assert_eq!(nobody.database().await, Ok(None));
        let tags = tags_of(JOB, DAY);
        let made = nobody.snapshot("gc-nightly-nobody", &Target::Instance, &tags).await;
        assert_eq!(made, Ok(Make::NoSource));
        let Database { target, status, resource } = shop.database().await.unwrap().unwrap();
        assert_eq!((&target, &*status), (&Target::Instance, "available"));
        assert!(resource.starts_with("db-"), "{resource}");

        assert_eq!(shop.look(&home, ID, &target).await, Ok(None));
        aws.pull("rds", &json!({"seconds": {"snapshot": 3600}}));
        let racing = join_all((0..8).map(|_| shop.snapshot(ID, &target, &tags))).await;
        let begun = racing.iter().filter(|made| **made == Ok(Make::Begun)).count();
        let others = racing.iter().filter(|made| **made == Ok(Make::AlreadyExists)).count();
        assert_eq!((begun, others), (1, 7), "{racing:?}");
        let made = seen(&shop, &home, ID).await;
        assert_eq!((made.state, made.resource), (BackupState::Underway, resource));
        assert_eq!(shop.database().await.unwrap().unwrap().status, "backing-up");
        let other = shop.snapshot("gc-nightly-shop-20261122", &target, &tags).await;
        assert_eq!(other, Ok(Make::InvalidState));
        assert_eq!(kind(shop.delete(&home, ID, &target).await), CallErrorKind::Throttled);

        aws.pull("rds", &json!({"seconds": {"snapshot": 0}}));
        let made = seen(&shop, &home, ID).await;
        assert_eq!(made.state, BackupState::Available);
        assert!(made.arn.ends_with(&format!(":snapshot:{ID}")), "{}", made.arn);
        assert_eq!(made.marks.expect("tags").job, JOB);
        aws.pull("rds", &json!({"status": {ID: "incompatible-restore"}}));
        let failed = BackupState::Failed("incompatible-restore".to_owned());
        assert_eq!(seen(&shop, &home, ID).await.state, failed);

        aws.pull("rds", &json!({"status": {ID: null}, "quota": 1}));
        let made = shop.snapshot("gc-nightly-shop-20261122", &target, &tags).await;
        assert!(matches!(&made, Ok(Make::Quota(words)) if words.contains("snapshots")), "{made:?}");
    });
}

#[test]
fn only_what_is_the_jobs_is_listed_and_deleted() {
    run(async |aws: Aws| {
        let (shop, home, target) = (shop(&aws), Place::Home, Target::Instance);
        // More than a page of what people and other jobs made.
        for number in 0..110 {
            let id = format!("before-upgrade-{number}");
            let parameters = [("DBSnapshotIdentifier", &*id), ("DBInstanceIdentifier", DATABASE)];
            aws.rds(HOME, "CreateDBSnapshot", &parameters);
        }
        let make = async |id: &str, job: &str, day: &str| {
            let made = shop.snapshot(id, &target, &tags_of(job, day)).await;
            assert_eq!(made, Ok(Make::Begun), "{id}");
        };
        make("gc-hourly-shop-20261121", "hourly", DAY).await;
        make("gc-nightly-shop-20261120", JOB, "2026-11-20").await;
        make(ID, JOB, DAY).await;
        let listed = shop.list(&home, &target).await.unwrap();
        let ids: Vec<_> = listed.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, [ID, "gc-nightly-shop-20261120"]);
        assert_eq!(shop.list(&elsewhere(), &target).await, Ok(Vec::new()));

        for id in ["before-upgrade-1", "gc-hourly-shop-20261121"] {
            assert_eq!(kind(shop.delete(&home, id, &target).await), CallErrorKind::Refused);
        }
        let hold = vec![(TAG_HOLD.to_owned(), "audit".to_owned())];
        assert_eq!(shop.mark(ID, &target, &hold).await, Ok(()));
        let error = shop.delete(&home, ID, &target).await.unwrap_err();
        assert_eq!(error.text, format!("snapshot {ID} is held: audit"));
        let in_use = vec![(TAG_IN_USE.to_owned(), "i-1.1@2026-11-21T02:00:00Z".to_owned())];
        assert_eq!(shop.mark(ID, &target, &in_use).await, Ok(()));
        let marks = seen(&shop, &home, ID).await.marks.unwrap();
        assert_eq!(marks.in_use.unwrap().run, "i-1.1");
        assert_eq!(kind(shop.mark("gc-gone", &target, &hold).await), CallErrorKind::Refused);

        let old = "gc-nightly-shop-20261120";
        assert_eq!(shop.delete(&home, old, &target).await, Ok(()));
        assert_eq!(shop.look(&home, old, &target).await, Ok(None));
        assert_eq!(shop.delete(&home, old, &target).await, Ok(()), "it is gone");
        let deleted = aws.calls("DeleteDBSnapshot");
        assert_eq!(deleted.len(), 1, "nothing else was asked for: {deleted:#?}");

        // A page that fails fails the list, when the SDK's attempts are used up.
        aws.fail("DescribeDBSnapshots", "InternalFailure", 3);
        assert_eq!(kind(shop.list(&home, &target).await), CallErrorKind::Unclear);
    });
}

#[test]
fn copies_have_a_key_of_their_region() {
    run(async |aws: Aws| {
        let (target, home) = (Target::Instance, Place::Home);
        aws.pull("rds", &json!({"seconds": {"snapshot": 0, "copy": 3600}}));
        let key = aws.key(HOME);
        aws.create_instance(DATABASE, &[("StorageEncrypted", "true"), ("KmsKeyId", &key)]);
        let there = aws.key(ELSEWHERE);
        let with_key = |key: Option<&str>| {
            let mut settings: BackupSettings = settings(DATABASE);
            let key = key.map(|key| (ELSEWHERE.to_owned(), key.to_owned()));
            settings.copy_keys.extend(key);
            Snapshots::connect(Arc::new(settings))
        };
        let shop = with_key(Some(&there));
        let tags = tags_of(JOB, DAY);
        assert_eq!(shop.snapshot(ID, &target, &tags).await, Ok(Make::Begun));
        let source = seen(&shop, &home, ID).await.arn;
        let copy = async |shop: &Snapshots, id: &str| {
            shop.copy(ELSEWHERE, id, &source, &target, &tags).await
        };
        assert_eq!(copy(&shop, ID).await, Ok(Make::Begun));
        assert_eq!(copy(&shop, ID).await, Ok(Make::AlreadyExists));
        let made = seen(&shop, &elsewhere(), ID).await;
        assert_eq!(made.state, BackupState::Underway);
        assert_eq!(made.marks.expect("tags are passed").job, JOB);
        let calls = aws.calls("CopyDBSnapshot");
        assert_eq!(calls[0]["region"], ELSEWHERE);
        assert_eq!(calls[0]["parameters"]["KmsKeyId"], there.as_str());
        assert_eq!(calls[0]["parameters"]["CopyTags"], "false");

        // Without a key in the host's file it is RDS's own.
        assert_eq!(copy(&with_key(None), "gc-b").await, Ok(Make::Begun));
        let calls = aws.calls("CopyDBSnapshot");
        assert_eq!(calls.last().unwrap()["parameters"]["KmsKeyId"], "alias/aws/rds");
        let missing = with_key(Some("arn:aws:kms:eu-west-1:123456789012:key/gone"));
        assert_eq!(kind(copy(&missing, "gc-c").await), CallErrorKind::Denied);
        aws.fail("CopyDBSnapshot", "SnapshotQuotaExceeded", 1);
        assert!(matches!(copy(&shop, "gc-c").await, Ok(Make::Quota(_))));
        aws.pull("rds", &json!({"status": {ID: "creating"}}));
        assert_eq!(copy(&shop, "gc-c").await, Ok(Make::InvalidState));
        aws.pull("rds", &json!({"status": {ID: null}}));
        let gone = format!("{source}-gone");
        let made = shop.copy(ELSEWHERE, "gc-c", &gone, &target, &tags).await;
        assert_eq!(made, Ok(Make::NoSource));

        let regions = [ELSEWHERE.to_owned(), "eu-central-1".to_owned()];
        let inspection = shop.inspect(ID, &target, &regions).await.unwrap();
        assert!(inspection.encrypted && inspection.backup.is_some());
        assert_eq!(inspection.key_state.as_deref(), Some("Enabled"));
        let copies: Vec<_> = inspection.copies.iter().map(|(_, one)| one.is_some()).collect();
        assert_eq!(copies, [true, false]);
        aws.kms(HOME, "ScheduleKeyDeletion", &json!({"KeyId": key_id(&key)}));
        let inspection = shop.inspect(ID, &target, &[]).await.unwrap();
        assert_eq!(inspection.key_state.as_deref(), Some("PendingDeletion"));
        let inspection = shop.inspect("gc-gone", &target, &[]).await.unwrap();
        assert!(inspection.backup.is_none() && inspection.key_state.is_none());
    });
}

#[test]
fn failures_say_whether_something_was_done() {
    run(async |aws: Aws| {
        let (shop, home, target) = (shop(&aws), Place::Home, Target::Instance);
        let tags = tags_of(JOB, DAY);
        for (code, expected) in [
            ("Throttling", CallErrorKind::Throttled),
            ("RequestLimitExceeded", CallErrorKind::Throttled),
            ("AccessDenied", CallErrorKind::Denied),
            ("InternalFailure", CallErrorKind::Unclear),
            ("ServiceUnavailable", CallErrorKind::Unclear),
            ("InvalidParameterValue", CallErrorKind::Refused),
        ] {
            aws.fail("CreateDBSnapshot", code, 1);
            let error = shop.snapshot(ID, &target, &tags).await.unwrap_err();
            assert_eq!(error.kind, expected, "{}", error.text);
            assert!(error.text.contains("rds:CreateDBSnapshot"), "{}", error.text);
            assert_eq!(shop.look(&home, ID, &target).await, Ok(None), "nothing is asked again");
        }
        for (code, expected) in [
            ("InvalidDBInstanceState", Make::InvalidState),
            ("InvalidDBInstanceStateFault", Make::InvalidState),
            ("DBInstanceNotFoundFault", Make::NoSource),
            ("DBSnapshotAlreadyExistsFault", Make::AlreadyExists),
        ] {
            aws.fail("CreateDBSnapshot", code, 1);
            assert_eq!(shop.snapshot(ID, &target, &tags).await, Ok(expected), "{code}");
        }
        let before = aws.calls("CreateDBSnapshot").len();
        aws.fail("CreateDBSnapshot", "lost", 1);
        let answer = shop.snapshot(ID, &target, &tags).await;
        assert_eq!(kind(answer), CallErrorKind::Unclear);
        assert_eq!(aws.calls("CreateDBSnapshot").len(), before + 1, "it is asked for once");
        assert_eq!(seen(&shop, &home, ID).await.state, BackupState::Available, "it was done");
        aws.fail("DeleteDBSnapshot", "lost", 1);
        assert_eq!(kind(shop.delete(&home, ID, &target).await), CallErrorKind::Unclear);
        assert_eq!(shop.delete(&home, ID, &target).await, Ok(()));
        // Questions are asked again by the SDK.
        aws.fail("DescribeDBSnapshots", "Throttling", 1);
        assert_eq!(shop.look(&home, ID, &target).await, Ok(None));
    });
}

#[test]
fn a_cluster_is_backed_up_as_one() {
    run(async |aws: Aws| {
        aws.pull("rds", &json!({"seconds": {"snapshot": 0, "copy": 0}}));
        aws.create_cluster(DATABASE);
        let target = Target::Cluster(DATABASE.to_owned());
        // By the name of the cluster, and by that of one of its instances.
        for name in [DATABASE, "shop-1"] {
            let shop = Snapshots::connect(Arc::new(settings(name)));
            let database = shop.database().await.unwrap().expect("a database");
            assert_eq!(database.target, target, "{name}");
            assert!(database.resource.starts_with("cluster-"), "{}", database.resource);
        }
        let (shop, home) = (Snapshots::connect(shared()), Place::Home);
        let tags = tags_of(JOB, DAY);
        aws.pull("rds", &json!({"seconds": {"snapshot": 3600}}));
        assert_eq!(shop.snapshot(ID, &target, &tags).await, Ok(Make::Begun));
        assert_eq!(shop.snapshot(ID, &target, &tags).await, Ok(Make::AlreadyExists));
        let other = shop.snapshot("gc-nightly-shop-20261122", &target, &tags).await;
        assert_eq!(other, Ok(Make::InvalidState));
        assert_eq!(kind(shop.delete(&home, ID, &target).await), CallErrorKind::Throttled);
        aws.pull("rds", &json!({"seconds": {"snapshot": 0}}));
        let made = shop.look(&home, ID, &target).await.unwrap().expect("a snapshot");
        assert_eq!((&made.state, made.bytes), (&BackupState::Available, None));
        let listed = shop.list(&home, &target).await.unwrap();
        assert_eq!(listed, [(*made).clone()]);

        let copied = shop.copy(ELSEWHERE, ID, &made.arn, &target, &tags).await;
        assert_eq!(copied, Ok(Make::Begun));
        let inspection = shop.inspect(ID, &target, &[ELSEWHERE.to_owned()]).await.unwrap();
        assert!(inspection.copies[0].1.is_some() && !inspection.encrypted);
        let in_use = vec![(TAG_IN_USE.to_owned(), "i-1.1@2026-11-21T02:00:00Z".to_owned())];
        assert_eq!(shop.mark(ID, &target, &in_use).await, Ok(()));
        for place in [home, elsewhere()] {
            assert_eq!(shop.delete(&place, ID, &target).await, Ok(()));
            assert_eq!(shop.look(&place, ID, &target).await, Ok(None));
        }
        let nobody = Target::Cluster("nobody".to_owned());
        assert_eq!(shop.snapshot("gc-a", &nobody, &tags).await, Ok(Make::NoSource));
    });
}
