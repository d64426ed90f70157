//! Auto Scaling, as one instance needs it: which group, which hooks, and what it says to them.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::LifecycleHook;
use groundcrew_core::lifecycle::fleet::{CallError, Hook, HookResult, Transition};

use super::fleet::call_error;

/// What a hook holds for, unless it says so (API_PutLifecycleHook).
const HEARTBEAT_TIMEOUT: Duration = Duration::from_hours(1);
/// The longest a hook holds: this, or [`HEARTBEATS_MAX`] times its timeout.
const GLOBAL_TIMEOUT_MAX: Duration = Duration::from_hours(48);
const HEARTBEATS_MAX: u32 = 100;

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
    pub(super) fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
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
        let request = self.client.describe_auto_scaling_groups().auto_scaling_group_names(group);
        let answer = request.send().await;
        let answer =
            answer.map_err(|error| call_error("autoscaling:DescribeAutoScalingGroups", &error))?;
        let mut arns = BTreeSet::new();
        for found in answer.auto_scaling_groups() {
            arns.extend(found.target_group_arns().iter().cloned());
            // Attached the newer way; names of classic load balancers and VPC Lattice are among
            // them.
            let sources = found.traffic_sources().iter().filter_map(|source| source.identifier());
            let balanced = sources.filter(|arn| arn.contains(":elasticloadbalancing:"));
            arns.extend(balanced.map(str::to_owned));
        }
        Ok(arns.into_iter().collect())
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
