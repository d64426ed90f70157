//! Elastic Load Balancing, as one instance needs it: out of its target groups, and back in.

use std::error::Error;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_elasticloadbalancingv2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_elasticloadbalancingv2::types::TargetDescription;
use aws_sdk_elasticloadbalancingv2::types::TargetGroup as Described;
use aws_sdk_elasticloadbalancingv2::{Client, config};
use futures_util::future::join_all;
use groundcrew_core::doctor::{Action, Balancer, HealthCheck, TargetGroup, TargetGroupAttributes};
use groundcrew_core::lifecycle::fleet::CallError;

use super::fleet::{call_error, passing, tried};
use super::server_clock::ServerClock;

/// The service.
#[derive(Debug, Clone)]
pub struct LoadBalancing {
    client: Client,
}

impl LoadBalancing {
    pub(super) fn new(config: &SdkConfig, clock: &ServerClock) -> Self {
        let config = config::Builder::from(config).interceptor(clock.clone()).build();
        Self { client: Client::from_conf(config) }
    }

    /// Takes an instance out of target groups (ARNs). All are tried; the first error is returned.
    pub async fn deregister(
        &self,
        target_groups: &[String],
        instance: &str,
    ) -> Result<(), CallError> {
        let all = target_groups.iter().map(async |arn| {
            let request = self.client.deregister_targets().target_group_arn(arn);
            let Err(error) = request.targets(target(instance)).send().await else { return Ok(()) };
            done_or("elasticloadbalancing:DeregisterTargets", arn, &error)
        });
        join_all(all).await.into_iter().collect()
    }

    /// Puts it back in. All are tried; the first error is returned.
    pub async fn register(
        &self,
        target_groups: &[String],
        instance: &str,
    ) -> Result<(), CallError> {
        let all = target_groups.iter().map(async |arn| {
            let request = self.client.register_targets().target_group_arn(arn);
            let Err(error) = request.targets(target(instance)).send().await else { return Ok(()) };
            done_or("elasticloadbalancing:RegisterTargets", arn, &error)
        });
        join_all(all).await.into_iter().collect()
    }

    /// Target groups (ARNs, at least one) as their settings are, without their attributes.
    pub async fn describe_target_groups(
        &self,
        arns: &[String],
    ) -> Result<Vec<TargetGroup>, CallError> {
        let request = self.client.describe_target_groups();
        let answer = request.set_target_group_arns(Some(arns.to_vec())).send().await;
        let action = "elasticloadbalancing:DescribeTargetGroups";
        let answer = answer.map_err(|error| call_error(action, &error))?;
        Ok(answer.target_groups.unwrap_or_default().into_iter().map(target_group).collect())
    }

    /// The attributes of a target group.
    pub async fn target_group_attributes(
        &self,
        arn: &str,
    ) -> Result<TargetGroupAttributes, CallError> {
        let request = self.client.describe_target_group_attributes().target_group_arn(arn);
        let answer = request.send().await;
        let action = "elasticloadbalancing:DescribeTargetGroupAttributes";
        let answer = answer.map_err(|error| call_error(action, &error))?;
        let value = |wanted: &str| {
            let mut all = answer.attributes().iter();
            all.find(|one| one.key() == Some(wanted)).and_then(|one| seconds(one.value()?))
        };
        Ok(TargetGroupAttributes {
            deregistration_delay: value("deregistration_delay.timeout_seconds"),
            slow_start: value("slow_start.duration_seconds"),
        })
    }

    /// A load balancer's idle timeout. Only application load balancers have one.
    pub async fn idle_timeout(&self, arn: &str) -> Result<Option<Duration>, CallError> {
        let request = self.client.describe_load_balancer_attributes().load_balancer_arn(arn);
        let answer = request.send().await;
        let action = "elasticloadbalancing:DescribeLoadBalancerAttributes";
        let answer = answer.map_err(|error| call_error(action, &error))?;
        let mut all = answer.attributes().iter();
        let found = all.find(|one| one.key() == Some("idle_timeout.timeout_seconds"));
        let found = found.and_then(|one| seconds(one.value()?));
        if found.is_none() && arn.contains(":loadbalancer/app/") {
            return Err(passing("AWS does not say what its idle timeout is"));
        }
        Ok(found)
    }

    /// Tries what changes something, where there is nothing to change: a target group beside `arn`
    /// that does not exist.
    pub async fn try_actions(&self, arn: &str, instance: &str) -> [Action; 2] {
        let arn = nothing_beside(arn);
        let deregister = self.client.deregister_targets().target_group_arn(&arn);
        let register = self.client.register_targets().target_group_arn(&arn);
        let (deregister, register) = tokio::join!(
            deregister.targets(target(instance)).send(),
            register.targets(target(instance)).send(),
        );
        [
            tried("elasticloadbalancing:DeregisterTargets", &deregister),
            tried("elasticloadbalancing:RegisterTargets", &register),
        ]
    }
}

/// A load balancer, known by its ARN, before it was asked anything.
#[must_use]
pub fn balancer(arn: &str) -> Balancer {
    // arn:aws:elasticloadbalancing:REGION:ACCOUNT:loadbalancer/app/NAME/ID
    let name = arn.split('/').nth(2).unwrap_or(arn).to_owned();
    let idle_timeout = Err("it was not asked".to_owned());
    Balancer { name, arn: arn.to_owned(), idle_timeout }
}

/// The ARN of a target group that nobody has, in the same account and region.
fn nothing_beside(arn: &str) -> String {
    let place = arn.split(":targetgroup/").next().unwrap_or(arn);
    format!("{place}:targetgroup/groundcrew-doctor/0000000000000000")
}

fn target_group(found: Described) -> TargetGroup {
    let number = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok());
    let health = found.health_check_enabled().unwrap_or(true).then(|| HealthCheck {
        path: found.health_check_path().map(str::to_owned),
        port: found.health_check_port().and_then(|port| port.parse().ok()),
        interval: Duration::from_secs(
            number(found.health_check_interval_seconds()).unwrap_or_default().into(),
        ),
        unhealthy: number(found.unhealthy_threshold_count()).unwrap_or_default(),
    });
    TargetGroup {
        name: found.target_group_name().unwrap_or_default().to_owned(),
        port: found.port().and_then(|port| u16::try_from(port).ok()),
        health,
        attributes: Err("they were not asked for".to_owned()),
        balancers: found.load_balancer_arns().to_vec(),
        arn: found.target_group_arn.unwrap_or_default(),
    }
}

fn seconds(value: &str) -> Option<Duration> {
    value.parse().ok().map(Duration::from_secs)
}

/// On the target group's own port, which is how Auto Scaling registers instances.
fn target(instance: &str) -> TargetDescription {
    TargetDescription::builder().id(instance).build()
}

fn done_or<E>(action: &str, arn: &str, error: &SdkError<E>) -> Result<(), CallError>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    // Nobody sends requests through a target group that is gone.
    if error.as_service_error().is_some_and(|error| error.code() == Some("TargetGroupNotFound")) {
        return Ok(());
    }
    let CallError { kind, text } = call_error(action, error);
    let name = arn.split('/').nth(1).unwrap_or(arn);
    Err(CallError { kind, text: format!("target group {name}: {text}") })
}
