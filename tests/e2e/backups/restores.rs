//! What is restored of snapshots: for proof, isolated, found again and deleted; and for people,
//! never over anything.

use std::sync::Arc;

use groundcrew::backups::snapshots::Snapshots;
use groundcrew_core::backups::call::{CallErrorKind, Make};
use groundcrew_core::backups::database::Target;
use groundcrew_core::backups::proof::{EMPTY, Scratch};
use groundcrew_core::backups::settings::BackupSettings;
use serde_json::json;

use super::aws::{Aws, DATABASE, HOME, JOB, run, settings, shared, tags_of};

const ID: &str = "gc-nightly-shop-20261121";
const SCRATCH: &str = "gc-verify-nightly-20261121";
const UNTIL_S: i64 = 1_795_314_600;

async fn statuses(shop: &Snapshots) -> Vec<(String, String)> {
    let all = shop.scratches().await.unwrap();
    assert!(all.iter().all(|one| one.until_s == Some(UNTIL_S)), "{all:?}");
    all.into_iter().map(|Scratch { id, status, .. }| (id, status)).collect()
}

fn one(status: &str) -> Vec<(String, String)> {
    vec![(SCRATCH.to_owned(), status.to_owned())]
}

/// The network that the settings of the tests name.
fn create_network(aws: &Aws) {
    let subnets = [
        ("DBSubnetGroupName", "proof"),
        ("DBSubnetGroupDescription", "proof"),
        ("SubnetIds.SubnetIdentifier.1", &*aws.subnet()),
    ];
    aws.rds(HOME, "CreateDBSubnetGroup", &subnets);
}

#[test]
fn an_instance_is_restored_for_proof_and_goes_again() {
    run(async |aws: Aws| {
        aws.pull("rds", &json!({"seconds": {"snapshot": 0, "restore": 3600}}));
        create_network(&aws);
        aws.create_instance(DATABASE, &[("MultiAZ", "true")]);
        let (shop, target) = (Snapshots::connect(shared()), Target::Instance);
        let made = shop.snapshot(ID, &target, &tags_of(JOB, "2026-11-21")).await;
        assert_eq!(made, Ok(Make::Begun));
        assert_eq!(statuses(&shop).await, []);
        let restore = async |id: &str, from: &str| shop.restore(id, from, &target, UNTIL_S).await;
        assert_eq!(restore(SCRATCH, "gc-gone").await, Ok(Make::NoSource));
        for id in [DATABASE, "gc-verify-hourly-20261121"] {
            assert_eq!(restore(id, ID).await.unwrap_err().kind, CallErrorKind::Refused);
        }
        assert_eq!(restore(SCRATCH, ID).await, Ok(Make::Begun));
        assert_eq!(restore(SCRATCH, ID).await, Ok(Make::AlreadyExists));
        assert_eq!(statuses(&shop).await, one("creating"));
        let calls = aws.calls("RestoreDBInstanceFromDBSnapshot");
        let asked = &calls.last().unwrap()["parameters"];
        for (name, value) in [
            ("DBSubnetGroupName", "proof"),
            ("VpcSecurityGroupIds.VpcSecurityGroupId.1", "sg-proof"),
            ("DBInstanceClass", "db.t4g.medium"),
            ("MultiAZ", "false"),
            ("PubliclyAccessible", "false"),
            ("DeletionProtection", "false"),
            ("BackupRetentionPeriod", "0"),
        ] {
            assert_eq!(asked[name], value, "{name}: {asked:#}");
        }
        aws.pull("rds", &json!({"seconds": {"restore": 0}}));
        assert_eq!(statuses(&shop).await, one("available"));
        let endpoint = shop.endpoint(SCRATCH).await.unwrap().expect("an endpoint");
        assert!(endpoint.host.starts_with(SCRATCH) && endpoint.port > 0, "{endpoint:?}");

        // Named and tagged by half, or another's.
        aws.create_instance("gc-verify-nightly-20261120", &[]);
        for id in [DATABASE, "gc-verify-nightly-20261120", "gc-verify-nightly-"] {
            let error = shop.destroy(id).await.unwrap_err();
            assert_eq!(error.kind, CallErrorKind::Refused, "{}", error.text);
        }
        assert_eq!(shop.destroy(SCRATCH).await, Ok(()));
        assert_eq!(shop.destroy(SCRATCH).await, Ok(()), "it is gone");
        assert_eq!(statuses(&shop).await, []);
        let deleted = aws.calls("DeleteDBInstance");
        assert_eq!(deleted.len(), 1, "{deleted:#?}");
        assert_eq!(deleted[0]["parameters"]["SkipFinalSnapshot"], "true");
        assert!(shop.database().await.unwrap().is_some());

        let nowhere = BackupSettings {
            proof: groundcrew_core::backups::settings::ProofSettings {
                restore: None,
                ..settings(DATABASE).proof
            },
            ..settings(DATABASE)
        };
        let nowhere = Snapshots::connect(Arc::new(nowhere));
        let error = nowhere.restore(SCRATCH, ID, &target, UNTIL_S).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Refused);
    });
}

#[test]
fn a_cluster_is_restored_in_two_steps_and_goes_again() {
    run(async |aws: Aws| {
        aws.pull("rds", &json!({"seconds": {"snapshot": 0, "restore": 3600}}));
        create_network(&aws);
        aws.create_cluster(DATABASE);
        let (shop, target) = (Snapshots::connect(shared()), Target::Cluster(DATABASE.to_owned()));
        assert!(shop.database().await.unwrap().is_some());
        let made = shop.snapshot(ID, &target, &tags_of(JOB, "2026-11-21")).await;
        assert_eq!(made, Ok(Make::Begun));
        let restore = async || shop.restore(SCRATCH, ID, &target, UNTIL_S).await;
        let gone = shop.restore(SCRATCH, "gc-gone", &target, UNTIL_S).await;
        assert_eq!(gone, Ok(Make::NoSource));
        assert_eq!(restore().await, Ok(Make::Begun));
        assert_eq!(statuses(&shop).await, one("creating"));
        assert_eq!(restore().await, Ok(Make::AlreadyExists));
        aws.pull("rds", &json!({"seconds": {"restore": 0}}));
        assert_eq!(statuses(&shop).await, one(EMPTY));
        assert_eq!(restore().await, Ok(Make::Begun), "its instance");
        assert_eq!(statuses(&shop).await, one("available"));
        assert_eq!(restore().await, Ok(Make::AlreadyExists));
        let added = aws.calls("CreateDBInstance");
        let asked = &added.last().unwrap()["parameters"];
        assert_eq!(
            (&asked["DBInstanceIdentifier"], &asked["DBClusterIdentifier"]),
            (&json!(SCRATCH), &json!(SCRATCH))
        );
        assert_eq!(asked["DBInstanceClass"], "db.t4g.medium");
        assert!(shop.endpoint(SCRATCH).await.unwrap().is_some());

        // An instance goes and the cluster does not: whoever comes next sees to it.
        aws.fail("DeleteDBCluster", "InvalidDBClusterStateFault", 1);
        let error = shop.destroy(SCRATCH).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Throttled, "{}", error.text);
        assert_eq!(statuses(&shop).await, one(EMPTY));
        assert_eq!(shop.destroy(SCRATCH).await, Ok(()));
        assert_eq!(statuses(&shop).await, []);
        assert!(shop.database().await.unwrap().is_some());
    });
}

#[test]
fn what_people_have_restored_is_beside_what_there_is() {
    run(async |aws: Aws| {
        aws.pull("rds", &json!({"seconds": {"snapshot": 0, "restore": 0}}));
        aws.create_instance(DATABASE, &[]);
        aws.create_cluster("orders");
        let (shop, target) = (Snapshots::connect(shared()), Target::Instance);
        let tags = tags_of(JOB, "2026-11-21");
        assert_eq!(shop.snapshot(ID, &target, &tags).await, Ok(Make::Begun));
        for taken in [DATABASE, "orders", "orders-1"] {
            let error = shop.restore_to(ID, &target, taken).await.unwrap_err();
            assert_eq!(error.kind, CallErrorKind::Refused);
            assert!(error.text.contains("nothing is restored over it"), "{}", error.text);
        }
        assert_eq!(aws.calls("RestoreDBInstanceFromDBSnapshot").len(), 0);
        assert_eq!(shop.restored("shop-new", &target).await, Ok(None));
        assert_eq!(shop.restore_to("gc-gone", &target, "shop-new").await, Ok(Make::NoSource));
        assert_eq!(shop.restore_to(ID, &target, "shop-new").await, Ok(Make::Begun));
        let calls = aws.calls("RestoreDBInstanceFromDBSnapshot");
        let asked = &calls.last().unwrap()["parameters"];
        assert_eq!(asked["DBInstanceClass"], "db.m7g.large", "as what it is restored of");
        let restored = shop.restored("shop-new", &target).await.unwrap().unwrap();
        assert_eq!(restored.status, "available");
        assert!(restored.endpoint.is_some());
        assert_eq!(statuses(&shop).await, [], "it is nobody's to delete");

        let orders = Snapshots::connect(Arc::new(settings("orders")));
        let target = Target::Cluster("orders".to_owned());
        assert!(orders.database().await.unwrap().is_some());
        let id = "gc-nightly-orders-20261121";
        assert_eq!(orders.snapshot(id, &target, &tags).await, Ok(Make::Begun));
        assert_eq!(orders.restore_to(id, &target, "orders-new").await, Ok(Make::Begun));
        // Moto's clusters are being created until somebody has looked.
        let first = orders.restored("orders-new", &target).await.unwrap().unwrap();
        assert!(["creating", EMPTY].contains(&&*first.status), "{first:?}");
        let next = orders.restored("orders-new", &target).await.unwrap().unwrap();
        assert_eq!(next.status, EMPTY);
        for not_ours in [DATABASE, "orders"] {
            let added = orders.add_instance(not_ours, &target).await;
            assert_ne!(added, Ok(Make::Begun), "{not_ours}");
        }
        assert_eq!(orders.add_instance("orders-new", &target).await, Ok(Make::Begun));
        let added = aws.calls("CreateDBInstance");
        let asked = &added.last().unwrap()["parameters"];
        assert_eq!(asked["DBInstanceClass"], "db.r7g.large");
        let restored = orders.restored("orders-new", &target).await.unwrap().unwrap();
        assert_eq!(restored.status, "available");
    });
}
