//! Groups, refreshes and activities as the core knows them. What Auto Scaling leaves out is left
//! out; what it says in a word that is not known stays that word. No text from it is longer than a
//! reason or has control characters: people read them in errors too.

use aws_sdk_autoscaling::primitives::DateTime;
use aws_sdk_autoscaling::types::{
    Activity as WireActivity, AutoScalingGroup, Instance as WireInstance, InstanceRefresh,
    LaunchTemplateSpecification, LifecycleState, RefreshPreferences, ScalingActivityStatusCode,
};
use groundcrew_core::fleet::{
    Activity, Group, Instance, Launch, Refresh, RefreshStatus, Suspended, TemplateVersion,
};
use groundcrew_core::time::Wall;

use crate::aws::call_failure::clean;

/// What a group that names no version launches.
const UNNAMED: &str = "$Default";

pub(super) fn group(found: AutoScalingGroup) -> Group {
    let policy = found.instance_maintenance_policy();
    // -1 says that there is none (API_InstanceMaintenancePolicy).
    let percent = |percent: Option<i32>| percent.and_then(|percent| u32::try_from(percent).ok());
    let min_healthy_percent = policy.and_then(|policy| percent(policy.min_healthy_percentage()));
    let max_healthy_percent = policy.and_then(|policy| percent(policy.max_healthy_percentage()));
    let suspended = found.suspended_processes().iter().filter_map(|one| {
        let process = clean(one.process_name()?);
        Some(Suspended { process, reason: said(one.suspension_reason()) })
    });
    Group {
        name: clean(found.auto_scaling_group_name().unwrap_or_default()),
        min: count(found.min_size()),
        desired: count(found.desired_capacity()),
        max: count(found.max_size()),
        launch: launch(&found),
        min_healthy_percent,
        max_healthy_percent,
        warmup_s: percent(found.default_instance_warmup()),
        suspended: suspended.collect(),
        instances: found.instances().iter().filter_map(instance).collect(),
    }
}

fn launch(group: &AutoScalingGroup) -> Launch {
    if let Some(template) = group.launch_template().and_then(template) {
        return Launch::Template(template);
    }
    let mixed = group.mixed_instances_policy().and_then(|policy| policy.launch_template());
    if let Some(mixed) = mixed {
        let own_images = mixed.overrides().iter().any(|over| {
            over.launch_template_specification().is_some() || over.image_id().is_some()
        });
        let template = mixed.launch_template_specification().and_then(template);
        return template.map_or(Launch::Unknown, |template| Launch::Mixed { template, own_images });
    }
    let name = group.launch_configuration_name();
    name.map_or(Launch::Unknown, |name| Launch::Configuration { name: clean(name) })
}

fn template(found: &LaunchTemplateSpecification) -> Option<TemplateVersion> {
    let id = clean(found.launch_template_id()?);
    Some(TemplateVersion { id, version: clean(found.version().unwrap_or(UNNAMED)) })
}

fn instance(found: &WireInstance) -> Option<Instance> {
    let text = |text: Option<&str>| clean(text.unwrap_or("?"));
    Some(Instance {
        id: clean(found.instance_id()?),
        zone: text(found.availability_zone()),
        state: text(found.lifecycle_state().map(LifecycleState::as_str)),
        health: text(found.health_status()),
        template: found.launch_template().and_then(template),
        image: said(found.image_id()),
        launched: None,
        weight: weight(found.weighted_capacity()),
    })
}

/// 1 to 999 (API_Instance); what is none of it counts as no weight.
fn weight(said: Option<&str>) -> u32 {
    said.and_then(|said| said.parse().ok()).filter(|weight| *weight > 0).unwrap_or(1)
}

/// `None`: it has no id, and nobody could ask for it again.
pub(super) fn refresh(found: InstanceRefresh) -> Option<Refresh> {
    let desired = found.desired_configuration();
    let mixed = desired.and_then(|desired| desired.mixed_instances_policy());
    let mixed = mixed.and_then(|policy| policy.launch_template());
    let mixed = mixed.and_then(|mixed| mixed.launch_template_specification());
    let target = desired.and_then(|desired| desired.launch_template()).or(mixed);
    let rollback = found.rollback_details();
    let bake = found.preferences().and_then(RefreshPreferences::bake_time);
    let status = found.status().map_or("?", |status| status.as_str());
    Some(Refresh {
        id: clean(found.instance_refresh_id()?),
        status: RefreshStatus::from(clean(status).as_str()),
        reason: said(found.status_reason()),
        percent: count(found.percentage_complete()),
        to_update: count(found.instances_to_update()),
        started: found.start_time().and_then(wall),
        ended: found.end_time().and_then(wall),
        target: target.and_then(template),
        rollback_reason: said(rollback.and_then(|rollback| rollback.rollback_reason())),
        bake_s: count(bake),
    })
}

pub(super) fn activity(found: WireActivity) -> Option<Activity> {
    let status = found.status_code();
    let failed = matches!(
        status,
        Some(ScalingActivityStatusCode::Failed | ScalingActivityStatusCode::Cancelled)
    );
    Some(Activity {
        id: clean(found.activity_id()?),
        started: found.start_time().and_then(wall),
        description: clean(found.description().unwrap_or_default()),
        failed,
        reason: said(found.status_message()),
    })
}

fn said(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(clean)
}

fn count(number: Option<i32>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

fn wall(time: &DateTime) -> Option<Wall> {
    time.to_millis().ok().map(Wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_weighs_what_its_type_does() {
        let weight = |said: Option<&str>| {
            let found = WireInstance::builder().instance_id("i-1");
            let found = found.set_weighted_capacity(said.map(str::to_owned)).build();
            instance(&found).unwrap().weight
        };
        assert_eq!([weight(Some("4")), weight(Some("999")), weight(None)], [4, 999, 1]);
        for odd in ["", "0", "-1", "1.5", "99999999999"] {
            assert_eq!(weight(Some(odd)), 1, "{odd}");
        }
    }

    #[test]
    fn a_refresh_says_how_long_it_bakes() {
        let bake = |seconds: Option<i32>| {
            let preferences = RefreshPreferences::builder().set_bake_time(seconds).build();
            let found = InstanceRefresh::builder().instance_refresh_id("1");
            refresh(found.preferences(preferences).build()).unwrap().bake_s
        };
        assert_eq!([bake(Some(600)), bake(None), bake(Some(-1))], [600, 0, 0]);
    }
}
