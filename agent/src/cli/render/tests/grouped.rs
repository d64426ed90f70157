//! A whole group.

use groundcrew_core::fleet::refresh::{Outcome, Preferences};
use groundcrew_core::fleet::scale::{self, Progress};
use groundcrew_core::fleet::standing::standing;
use groundcrew_core::fleet::{
    Activity, Group, Instance, Launch, Refresh, Suspended, TemplateVersion,
};

use super::*;
use crate::cli::fleet::{Document, RefreshPlan};
use crate::cli::render::fleet;

fn version(version: &str) -> TemplateVersion {
    TemplateVersion { id: "lt-0a1b2c3d".to_owned(), version: version.to_owned() }
}

fn group() -> Group {
    let instance = |id: &str, state: &str, health: &str, launched| Instance {
        id: id.to_owned(),
        zone: "eu-west-1a".to_owned(),
        state: state.to_owned(),
        health: health.to_owned(),
        template: Some(version("11")),
        image: Some("ami-12c6146b".to_owned()),
        launched,
        weight: 1,
    };
    Group {
        name: "shop-web".to_owned(),
        min: 2,
        desired: 2,
        max: 8,
        launch: Launch::Template(version("11")),
        min_healthy_percent: None,
        max_healthy_percent: None,
        warmup_s: None,
        instances: vec![
            instance("i-0a1b2c3d", "InService", "Healthy", Some(before(9000))),
            instance("i-0b2c3d4e", "InService", "Unhealthy", None),
        ],
        suspended: Vec::new(),
    }
}

fn refresh(status: &str) -> Refresh {
    Refresh {
        id: "08b91cf7".to_owned(),
        status: status.into(),
        reason: Some("Waiting for instances\u{1b}[2J".to_owned()),
        percent: 50,
        to_update: 1,
        started: Some(before(600)),
        ended: None,
        target: Some(version("12")),
        rollback_reason: None,
        bake_s: 0,
    }
}

fn document(group: Group, refresh: Option<Refresh>) -> Document {
    Document {
        now: NOW,
        standing: standing(&group, refresh.as_ref()),
        group,
        image: Some("ami-12c6146b".to_owned()),
        refresh,
        failed: Vec::new(),
        notes: Vec::new(),
    }
}

#[test]
fn a_group_that_is_refreshed() {
    let shown = fleet::status(&document(group(), Some(refresh("InProgress"))), PLAIN);
    insta::assert_snapshot!(shown, @r"
    ● refreshing: 1 of 2 in service
      Group      shop-web; 2 wanted, 2 to 8 allowed
      Launches   lt-0a1b2c3d version 11, ami-12c6146b
      Refresh    InProgress 50%, 1 to update, 08b91cf7, to version 12 of lt-0a1b2c3d: Waiting for instances\u{1b}[2J; 10m ago

    INSTANCE    ZONE        STATE      HEALTH     VERSION  IMAGE           AGE
    i-0a1b2c3d  eu-west-1a  InService  Healthy         11  ami-12c6146b  2h30m
    i-0b2c3d4e  eu-west-1a  InService  Unhealthy       11  ami-12c6146b      -
    ");
}

#[test]
fn a_group_that_a_person_has_to_look_at() {
    let mut sick = document(group(), None);
    let suspended = |process: &str| Suspended { process: process.to_owned(), reason: None };
    sick.group.suspended = ["AZRebalance", "HealthCheck", "Launch"].map(suspended).into();
    sick.standing = standing(&sick.group, None);
    sick.group.instances.clear();
    sick.notes = vec!["ec2:DescribeLaunchTemplateVersions is not allowed".to_owned()];
    sick.failed = vec![Activity {
        id: "1".to_owned(),
        started: Some(before(60)),
        description: "Launching a new EC2 instance".to_owned(),
        failed: true,
        reason: Some("No capacity.".to_owned()),
    }];
    insta::assert_snapshot!(fleet::status(&sick, PLAIN), @r"
    ● degraded: 0 of 2 in service
      Group      shop-web; 2 wanted, 2 to 8 allowed
      Launches   lt-0a1b2c3d version 11, ami-12c6146b
      Suspended  AZRebalance
      Suspended  HealthCheck
      Suspended  Launch
      Not seen   ec2:DescribeLaunchTemplateVersions is not allowed

    FAILED
        1m ago  Launching a new EC2 instance: No capacity.
    Next: aws autoscaling resume-processes --auto-scaling-group-name shop-web --scaling-processes Launch HealthCheck
    ");
    let next = |group, refresh| {
        let shown = fleet::status(&document(group, refresh), PLAIN);
        shown.lines().last().unwrap_or_default().to_owned()
    };
    let mut mixed = group();
    mixed.instances[0].template = Some(version("12"));
    insta::assert_snapshot!(next(mixed, Some(refresh("Failed"))), @"Next: groundcrew fleet refresh --group shop-web --template-version 11 --wait");
    let activities =
        "Next: aws autoscaling describe-scaling-activities --auto-scaling-group-name shop-web";
    assert_eq!(next(group(), None), activities);
    assert_eq!(next(group(), Some(refresh("Failed"))), activities, "all have the group's version");
    let mut paused = group();
    paused.suspended = vec![suspended("AZRebalance")];
    assert_eq!(next(paused, None), activities, "it is not what keeps instances away");
}

#[test]
fn what_a_refresh_will_do_and_does() {
    let plan = RefreshPlan {
        group: "shop-web".to_owned(),
        instances: 2,
        template: "lt-0a1b2c3d".to_owned(),
        from_version: "11".to_owned(),
        to_version: None,
        made_from: Some(12),
        image: Some("ami-12c6146b".to_owned()),
        warmup_s: Some(90),
        preferences: Preferences {
            min_healthy_percent: 100,
            max_healthy_percent: 110,
            alarms: vec!["5xx".to_owned(), "slow".to_owned()],
            auto_rollback: true,
            skip_matching: true,
            bake_s: 600,
        },
    };
    insta::assert_snapshot!(fleet::refresh_plan(&plan, PLAIN), @r"
    shop-web: 2 instances to ami-12c6146b
      Template   lt-0a1b2c3d: from version 11 to a new version, made from 12
      Pace       100 to 110 % of the capacity, 90s warm-up; instances that match stay
      Watched    5xx, slow, for 600s after the last instance too
      Back       when it fails, by itself to version 11
      Terraform  leaves image and version alone where it is told to, as in modules/fleet
    ");
    let step = |status, outcome| fleet::progress("shop-web", &refresh(status), outcome, PLAIN);
    insta::assert_snapshot!(step("InProgress", None), @r"   50%  InProgress, 1 to update: Waiting for instances\u{1b}[2J");
    insta::assert_snapshot!(step("Failed", Some(Outcome::Failed)), @r"shop-web is not refreshed (Failed): Waiting for instances\u{1b}[2J");
}

#[test]
fn what_scaling_will_do_and_does() {
    let plan = scale::plan(&group(), 3).unwrap();
    insta::assert_snapshot!(fleet::scale_plan(&group(), &plan, PLAIN), @r"
    shop-web: from 2 to 3, of 2 to 8
      Terraform leaves it so where desired_capacity is in ignore_changes, as in modules/fleet; elsewhere its next apply takes it back
    ");
    let step = |progress| fleet::scale_progress(&group(), 3, progress);
    insta::assert_snapshot!(step(Progress::Waiting(1)), @"  1 of 3 in service");
    insta::assert_snapshot!(step(Progress::Overruled(2)), @"shop-web: somebody else, or a policy, wants 2 now");
}
