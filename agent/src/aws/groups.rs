//! Auto Scaling, as whoever runs a group needs it: what it has, its refreshes, its capacity. What
//! changes something is asked for once: a second refresh after an answer that was lost would be
//! refused because of the first.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::Builder;
use aws_sdk_autoscaling::config::retry::RetryConfig;
use aws_sdk_autoscaling::types::{
    AlarmSpecification, DesiredConfiguration, LaunchTemplateSpecification, MixedInstancesPolicy,
    RefreshPreferences, ScaleInProtectedInstances, StandbyInstances,
};
use groundcrew_core::backups::call::CallErrorKind;
use groundcrew_core::fleet::refresh::Preferences;
use groundcrew_core::fleet::{Activity, Group, Refresh};

use super::call_failure::{CallFailure, clean, failure};
use super::ec2::Ec2;

mod wire;

/// How long one attempt may take.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(10);
/// How long a question may take, all attempts and pauses included.
const QUESTION_WITHIN: Duration = Duration::from_secs(35);
/// Activities that are asked for, the newest first: one page.
const ACTIVITIES: i32 = 100;
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_AUTO_SCALING", "AWS_ENDPOINT_URL_EC2"];

/// The groups of one region.
#[derive(Debug, Clone)]
pub struct Groups {
    client: Client,
}

/// A group, with what a refresh has to say of it again word by word.
#[derive(Debug, Clone)]
pub struct Described {
    /// What the core knows of it.
    pub group: Group,
    mixed: Option<MixedInstancesPolicy>,
}

/// Auto Scaling and EC2 in a region; `None`: the environment's or this instance's. Credentials are
/// those of the environment, a profile, or this instance.
pub async fn connect(region: Option<&str>) -> Result<(Groups, Ec2), CallFailure> {
    let shared = match region {
        Some(region) => Some(super::load_config_in(region).await),
        None => Box::pin(super::load_config_with_region(&ENDPOINT_VARIABLES)).await,
    };
    let shared = shared.ok_or_else(|| CallFailure::no_region("autoscaling"))?;
    Ok((Groups::with(&shared), Ec2::with(&shared)?))
}

impl Groups {
    fn with(shared: &SdkConfig) -> Self {
        let timeouts = super::timeouts(ATTEMPT_WITHIN, QUESTION_WITHIN);
        let config = Builder::from(shared).timeout_config(timeouts).build();
        Self { client: Client::from_conf(config) }
    }

    /// The name of the group that an instance is in; `None`: it is in none.
    pub async fn of_instance(&self, instance: &str) -> Result<Option<String>, CallFailure> {
        let request = self.client.describe_auto_scaling_instances().instance_ids(instance);
        let answer = request.send().await;
        let answer =
            answer.map_err(|error| failure("autoscaling:DescribeAutoScalingInstances", &error))?;
        let found = answer.auto_scaling_instances.unwrap_or_default().into_iter().next();
        Ok(found.and_then(|found| found.auto_scaling_group_name))
    }

    /// A group; `None`: there is none of that name.
    pub async fn describe(&self, name: &str) -> Result<Option<Described>, CallFailure> {
        let request = self.client.describe_auto_scaling_groups().auto_scaling_group_names(name);
        let answer = request.send().await;
        let answer =
            answer.map_err(|error| failure("autoscaling:DescribeAutoScalingGroups", &error))?;
        let found = answer.auto_scaling_groups.unwrap_or_default().into_iter().next();
        Ok(found.map(|found| {
            let mixed = found.mixed_instances_policy.clone();
            Described { group: wire::group(found), mixed }
        }))
    }

    /// The newest refresh of a group, or the one of this id.
    pub async fn refresh(
        &self,
        group: &str,
        id: Option<&str>,
    ) -> Result<Option<Refresh>, CallFailure> {
        let request = self.client.describe_instance_refreshes().auto_scaling_group_name(group);
        let ids = id.map(|id| vec![id.to_owned()]);
        let answer = request.set_instance_refresh_ids(ids).max_records(1).send().await;
        let answer =
            answer.map_err(|error| failure("autoscaling:DescribeInstanceRefreshes", &error))?;
        let found = answer.instance_refreshes.unwrap_or_default().into_iter().next();
        Ok(found.and_then(wire::refresh))
    }

    /// What a group did lately, the newest first.
    pub async fn activities(&self, group: &str) -> Result<Vec<Activity>, CallFailure> {
        let request = self.client.describe_scaling_activities().auto_scaling_group_name(group);
        let answer = request.max_records(ACTIVITIES).send().await;
        let answer =
            answer.map_err(|error| failure("autoscaling:DescribeScalingActivities", &error))?;
        let found = answer.activities.unwrap_or_default().into_iter();
        Ok(found.filter_map(wire::activity).collect())
    }

    /// Starts a refresh to a version of the group's launch template. Its id.
    pub async fn start_refresh(
        &self,
        described: &Described,
        version: u64,
        preferences: &Preferences,
    ) -> Result<String, CallFailure> {
        let action = "autoscaling:StartInstanceRefresh";
        let request = self.client.start_instance_refresh();
        let request = request.auto_scaling_group_name(&described.group.name);
        let request = request.desired_configuration(described.with_version(version));
        let request = request.preferences(wire_preferences(preferences));
        let answer = request.customize().config_override(once()).send().await;
        let answer = answer.map_err(|error| failure(action, &error))?;
        id(action, answer.instance_refresh_id)
    }

    /// Ends the refresh that runs; what it replaced stays. Its id.
    pub async fn cancel_refresh(&self, group: &str) -> Result<String, CallFailure> {
        let request = self.client.cancel_instance_refresh().auto_scaling_group_name(group);
        let answer = request.customize().config_override(once()).send().await;
        let action = "autoscaling:CancelInstanceRefresh";
        let answer = answer.map_err(|error| failure(action, &error))?;
        id(action, answer.instance_refresh_id)
    }

    /// Puts back what the refresh that runs has replaced. Its id.
    pub async fn roll_back_refresh(&self, group: &str) -> Result<String, CallFailure> {
        let request = self.client.rollback_instance_refresh().auto_scaling_group_name(group);
        let answer = request.customize().config_override(once()).send().await;
        let action = "autoscaling:RollbackInstanceRefresh";
        let answer = answer.map_err(|error| failure(action, &error))?;
        id(action, answer.instance_refresh_id)
    }

    /// Lets a group have so many instances. With `honor_cooldown` Auto Scaling refuses it while a
    /// cooldown lasts.
    pub async fn set_desired_capacity(
        &self,
        group: &str,
        capacity: u32,
        honor_cooldown: bool,
    ) -> Result<(), CallFailure> {
        let capacity = i32::try_from(capacity).unwrap_or(i32::MAX);
        let request = self.client.set_desired_capacity().auto_scaling_group_name(group);
        let request = request.desired_capacity(capacity).honor_cooldown(honor_cooldown);
        let answer = request.customize().config_override(once()).send().await;
        answer.map(drop).map_err(|error| failure("autoscaling:SetDesiredCapacity", &error))
    }
}

/// The id of a refresh that an answer is about.
fn id(action: &str, id: Option<String>) -> Result<String, CallFailure> {
    id.map(|id| clean(&id)).ok_or_else(|| {
        let text = format!("{action} answered without the id of a refresh");
        CallFailure::own(CallErrorKind::Unclear, text)
    })
}

impl Described {
    /// What the group is to be like: as it is, with another version of its template.
    fn with_version(&self, version: u64) -> DesiredConfiguration {
        let id = self.group.launch.template().map(|template| template.id.clone());
        let template = LaunchTemplateSpecification::builder();
        let template = template.set_launch_template_id(id).version(version.to_string()).build();
        let wanted = DesiredConfiguration::builder();
        let Some(mut mixed) = self.mixed.clone() else {
            return wanted.launch_template(template).build();
        };
        if let Some(of_group) = &mut mixed.launch_template {
            of_group.launch_template_specification = Some(template);
            let own = of_group.overrides.iter_mut().flatten();
            for own in own.filter_map(|own| own.launch_template_specification.as_mut()) {
                // Auto Scaling describes them with both, and takes either.
                if own.launch_template_id.is_some() {
                    own.launch_template_name = None;
                }
            }
        }
        wanted.mixed_instances_policy(mixed).build()
    }
}

/// Instances on standby stay as they are: a person looks at them. Those that are protected from
/// scale-in are replaced: their hook drains them as it does others.
fn wire_preferences(preferences: &Preferences) -> RefreshPreferences {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let alarms = AlarmSpecification::builder().set_alarms(Some(preferences.alarms.clone()));
    let alarms = (!preferences.alarms.is_empty()).then(|| alarms.build());
    RefreshPreferences::builder()
        .min_healthy_percentage(number(preferences.min_healthy_percent))
        .max_healthy_percentage(number(preferences.max_healthy_percent))
        .skip_matching(preferences.skip_matching)
        .auto_rollback(preferences.auto_rollback)
        .set_bake_time((preferences.bake_s > 0).then(|| number(preferences.bake_s)))
        .set_alarm_specification(alarms)
        .standby_instances(StandbyInstances::Ignore)
        .scale_in_protected_instances(ScaleInProtectedInstances::Refresh)
        .build()
}

/// For what changes something: one attempt.
fn once() -> Builder {
    Builder::new()
        .retry_config(RetryConfig::disabled())
        .timeout_config(super::timeouts(QUESTION_WITHIN, QUESTION_WITHIN))
}

#[cfg(test)]
mod tests {
    use aws_sdk_autoscaling::types::{AutoScalingGroup, LaunchTemplate, LaunchTemplateOverrides};

    use super::*;

    fn template(id: Option<&str>, name: &str) -> LaunchTemplateSpecification {
        let template = LaunchTemplateSpecification::builder().launch_template_name(name);
        template.set_launch_template_id(id.map(str::to_owned)).version("3").build()
    }

    #[test]
    fn a_template_is_named_once() {
        let own = |template| {
            let own = LaunchTemplateOverrides::builder().instance_type("m7g.large");
            own.set_launch_template_specification(template).build()
        };
        let of_group = LaunchTemplate::builder()
            .launch_template_specification(template(Some("lt-1"), "web"))
            .overrides(own(Some(template(Some("lt-2"), "web-arm"))))
            .overrides(own(Some(template(None, "web-gpu"))))
            .overrides(own(None))
            .build();
        let mixed = MixedInstancesPolicy::builder().launch_template(of_group).build();
        let found = AutoScalingGroup::builder().mixed_instances_policy(mixed.clone()).build();
        let described = Described { group: wire::group(found), mixed: Some(mixed) };
        let wanted = described.with_version(12).mixed_instances_policy.unwrap();
        let wanted = wanted.launch_template.unwrap();
        let named = |template: &LaunchTemplateSpecification| {
            let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
            let (id, name) = (template.launch_template_id(), template.launch_template_name());
            [text(id), text(name), text(template.version())].join(" ")
        };
        assert_eq!(named(wanted.launch_template_specification().unwrap()), "lt-1 - 12");
        let own = wanted.overrides().iter().map(|own| own.launch_template_specification());
        let own: Vec<_> = own.map(|own| own.map(named)).collect();
        let (by_id, by_name) = ("lt-2 - 3".to_owned(), "- web-gpu 3".to_owned());
        assert_eq!(own, [Some(by_id), Some(by_name), None]);
    }
}
