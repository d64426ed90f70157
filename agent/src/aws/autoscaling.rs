//! Auto Scaling, as one instance needs it: which group, which hooks, and what it says to them.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleHook, RetentionAction};
use aws_sdk_autoscaling::{Client, config};
use groundcrew_core::doctor::{Action, Group};
use groundcrew_core::lifecycle::fleet::{CallError, Hook, HookResult, Transition};

use super::fleet::{call_error, tried};
use super::server_clock::ServerClock;

/// What a hook holds for, unless it says so (API_PutLifecycleHook).
const HEARTBEAT_TIMEOUT: Duration = Duration::from_hours(1);
/// The longest a hook holds: this, or [`HEARTBEATS_MAX`] times its timeout.
const GLOBAL_TIMEOUT_MAX: Duration = Duration::from_hours(48);
const HEARTBEATS_MAX: u32 = 100;

/// The name of a hook and of a group that nobody has.
const NOTHING: &str = "groundcrew-doctor-tries-what-does-not-exist";

/// The service.
#[derive(Debug, Clone)]
pub struct AutoScaling {
    client: Client,
}

/// The group that an instance is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The group's name.
    pub group: String,
    /// The instance's state now, such as `Terminating:Wait`.
    pub state: String,
}

impl AutoScaling {
    pub(super) fn new(config: &SdkConfig, clock: &ServerClock) -> Self {
        let config = config::Builder::from(config).interceptor(clock.clone()).build();
        Self { client: Client::from_conf(config) }
    }

    /// Where an instance stands; `None`: in no group.
    pub async fn describe_instance(&self, instance: &str) -> Result<Option<Member>, CallError> {
        let request = self.client.describe_auto_scaling_instances().instance_ids(instance);
        let answer = request.send().await;
        let answer = answer
            .map_err(|error| call_error("autoscaling:DescribeAutoScalingInstances", &error))?;
        let mut found = answer.auto_scaling_instances.unwrap_or_default().into_iter();
        let found = found.find(|found| found.instance_id() == Some(instance));
        Ok(found.and_then(|found| {
            let (group, state) = (found.auto_scaling_group_name?, found.lifecycle_state?);
            Some(Member { group, state })
        }))
    }

    /// The lifecycle hooks of a group.
    pub async fn describe_lifecycle_hooks(&self, group: &str) -> Result<Vec<Hook>, CallError> {
        let request = self.client.describe_lifecycle_hooks().auto_scaling_group_name(group);
        let answer = request.send().await;
        let answer =
            answer.map_err(|error| call_error("autoscaling:DescribeLifecycleHooks", &error))?;
        Ok(answer.lifecycle_hooks.unwrap_or_default().into_iter().filter_map(hook).collect())
    }

    /// ARNs of the target groups that a group registers its instances in.
    pub async fn target_group_arns(&self, group: &str) -> Result<Vec<String>, CallError> {
        let found = self.group(group).await?;
        Ok(found.as_ref().map(target_groups_of).unwrap_or_default())
    }

    /// The group of a member, as its settings are; `None`: there is none of that name any more.
    pub async fn describe_group(&self, member: &Member) -> Result<Option<Group>, CallError> {
        let found = self.group(&member.group).await?;
        Ok(found.map(|found| {
            let triggers = found.instance_lifecycle_policy().and_then(|p| p.retention_triggers());
            let abandoned = triggers.and_then(|triggers| triggers.terminate_hook_abandon());
            let grace = found.health_check_grace_period().and_then(|s| u64::try_from(s).ok());
            Group {
                name: member.group.clone(),
                state: member.state.clone(),
                health_check_type: found.health_check_type().unwrap_or("EC2").to_owned(),
                grace: Duration::from_secs(grace.unwrap_or(0)),
                retains: abandoned == Some(&RetentionAction::Retain),
                target_groups: target_groups_of(&found),
            }
        }))
    }

    async fn group(&self, name: &str) -> Result<Option<AutoScalingGroup>, CallError> {
        let request = self.client.describe_auto_scaling_groups().auto_scaling_group_names(name);
        let answer = request.send().await;
        let answer =
            answer.map_err(|error| call_error("autoscaling:DescribeAutoScalingGroups", &error))?;
        Ok(answer.auto_scaling_groups.unwrap_or_default().into_iter().next())
    }

    /// Tries what changes something, where there is nothing to change: a hook of the group that
    /// does not exist, and a group that does not.
    pub async fn try_actions(&self, group: &str, instance: &str) -> [Action; 4] {
        let heartbeat = self.client.record_lifecycle_action_heartbeat();
        let heartbeat = heartbeat.auto_scaling_group_name(group).lifecycle_hook_name(NOTHING);
        let complete = self.client.complete_lifecycle_action().lifecycle_hook_name(NOTHING);
        let complete = complete.auto_scaling_group_name(group).instance_id(instance);
        let enter = self.client.enter_standby().auto_scaling_group_name(NOTHING);
        let enter = enter.instance_ids(instance).should_decrement_desired_capacity(true);
        let exit = self.client.exit_standby().auto_scaling_group_name(NOTHING);
        let (heartbeat, complete, enter, exit) = tokio::join!(
            heartbeat.instance_id(instance).send(),
            complete.lifecycle_action_result("CONTINUE").send(),
            enter.send(),
            exit.instance_ids(instance).send(),
        );
        [
            tried("autoscaling:RecordLifecycleActionHeartbeat", &heartbeat),
            tried("autoscaling:CompleteLifecycleAction", &complete),
            tried("autoscaling:EnterStandby", &enter),
            tried("autoscaling:ExitStandby", &exit),
        ]
    }

    /// Keeps a hook from timing out.
    pub async fn record_heartbeat(
        &self,
        group: &str,
        hook: &str,
        instance: &str,
    ) -> Result<(), CallError> {
        let request = self.client.record_lifecycle_action_heartbeat();
        let request = request.auto_scaling_group_name(group).lifecycle_hook_name(hook);
        let answer = request.instance_id(instance).send().await;
        let action = "autoscaling:RecordLifecycleActionHeartbeat";
        answer.map(drop).map_err(|error| call_error(action, &error))
    }

    /// Lets the transition that a hook holds go on.
    pub async fn complete_action(
        &self,
        group: &str,
        hook: &str,
        instance: &str,
        result: HookResult,
    ) -> Result<(), CallError> {
        let request = self.client.complete_lifecycle_action();
        let request = request.auto_scaling_group_name(group).lifecycle_hook_name(hook);
        let request = request.instance_id(instance).lifecycle_action_result(result.to_string());
        let answer = request.send().await;
        answer.map(drop).map_err(|error| call_error("autoscaling:CompleteLifecycleAction", &error))
    }

    /// Takes an instance out of service, to be looked at; with `decrement` nobody replaces it.
    pub async fn enter_standby(
        &self,
        group: &str,
        instance: &str,
        decrement: bool,
    ) -> Result<(), CallError> {
        let request = self.client.enter_standby().auto_scaling_group_name(group);
        let request = request.instance_ids(instance).should_decrement_desired_capacity(decrement);
        let answer = request.send().await;
        answer.map(drop).map_err(|error| call_error("autoscaling:EnterStandby", &error))
    }

    /// Puts it back into service.
    pub async fn exit_standby(&self, group: &str, instance: &str) -> Result<(), CallError> {
        let request = self.client.exit_standby().auto_scaling_group_name(group);
        let answer = request.instance_ids(instance).send().await;
        answer.map(drop).map_err(|error| call_error("autoscaling:ExitStandby", &error))
    }
}

/// ARNs of the target groups that a group registers its instances in.
fn target_groups_of(group: &AutoScalingGroup) -> Vec<String> {
    let mut arns: BTreeSet<_> = group.target_group_arns().iter().cloned().collect();
    // Attached the newer way; names of classic load balancers and VPC Lattice are among them.
    let sources = group.traffic_sources().iter().filter_map(|source| source.identifier());
    let balanced = sources.filter(|arn| arn.contains(":elasticloadbalancing:"));
    arns.extend(balanced.map(str::to_owned));
    arns.into_iter().collect()
}

/// A hook as the core knows it; `None` for one of a transition that this version does not know.
fn hook(found: LifecycleHook) -> Option<Hook> {
    let transition = match found.lifecycle_transition.as_deref()? {
        "autoscaling:EC2_INSTANCE_LAUNCHING" => Transition::Launching,
        "autoscaling:EC2_INSTANCE_TERMINATING" => Transition::Terminating,
        _ => return None,
    };
    let seconds = |number: Option<i32>| {
        let number = number.and_then(|number| u64::try_from(number).ok());
        number.filter(|number| *number > 0).map(Duration::from_secs)
    };
    let heartbeat_timeout = seconds(found.heartbeat_timeout).unwrap_or(HEARTBEAT_TIMEOUT);
    let global_timeout = seconds(found.global_timeout)
        .unwrap_or_else(|| GLOBAL_TIMEOUT_MAX.min(heartbeat_timeout * HEARTBEATS_MAX));
    let default_result = match found.default_result.as_deref() {
        Some("CONTINUE") => HookResult::Continue,
        _ => HookResult::Abandon,
    };
    let name = found.lifecycle_hook_name?;
    Some(Hook { name, transition, heartbeat_timeout, global_timeout, default_result })
}
