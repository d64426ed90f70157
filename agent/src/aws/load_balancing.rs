//! Elastic Load Balancing, as one instance needs it: out of its target groups, and back in.

use std::error::Error;

use aws_config::SdkConfig;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_elasticloadbalancingv2::types::TargetDescription;
use futures_util::future::join_all;
use groundcrew_core::lifecycle::fleet::CallError;

use super::fleet::call_error;

/// The service.
#[derive(Debug, Clone)]
pub struct LoadBalancing {
    client: Client,
}

impl LoadBalancing {
    pub(super) fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
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
