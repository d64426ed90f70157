//! Gathers what the instance's metadata and AWS say, for `groundcrew doctor`. Changes nothing: what
//! would change something is tried on what does not exist.

use std::collections::BTreeSet;
use std::future::Future;

use futures_util::future::join_all;
use groundcrew_core::doctor::{Action, Balancer, FleetFacts, Group, Learned, Outcome, TargetGroup};
use groundcrew_core::lifecycle::fleet::{CallError, CallErrorKind};

use super::{in_time, is_instance, read, watch};
use crate::aws::fleet::FleetClients;
use crate::aws::imds::Imds;
use crate::aws::load_balancing::balancer;
use crate::errors::chain;

/// Where the metadata says how the instance is paid for.
const LIFE_CYCLE: &str = "instance-life-cycle";

/// What is said about this host. `enabled` is the configuration's word whether it is an EC2
/// instance.
pub async fn examine(enabled: Option<bool>) -> FleetFacts {
    if !is_instance(enabled) {
        let why = "this host is no EC2 instance, or is not to be taken for one".to_owned();
        return FleetFacts { on_ec2: false, ..nothing(&why) };
    }
    let imds = Imds::open();
    let ask = async |path| match imds.get(path).await {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(format!("the metadata has no {path}")),
        Err(error) => Err(chain(&error)),
    };
    let instance = ask(watch::INSTANCE_ID).await.and_then(|text| {
        read::instance_id(&text).ok_or_else(|| "the metadata's instance-id is none".to_owned())
    });
    let life_cycle = match &instance {
        Ok(_) => ask(LIFE_CYCLE).await.map(|text| text.trim().to_owned()),
        Err(why) => Err(why.clone()),
    };
    let known = match &instance {
        Ok(id) => match Box::pin(FleetClients::connect()).await {
            Ok(clients) => {
                let examination = Examination { clients, instance: id, actions: Vec::new() };
                Box::pin(examination.run()).await
            }
            Err(error) => nothing(&error.text),
        },
        Err(why) => nothing(why),
    };
    FleetFacts { instance, life_cycle, ..known }
}

/// That nothing is known, for this reason.
fn nothing(why: &str) -> FleetFacts {
    FleetFacts {
        on_ec2: true,
        instance: Err(why.to_owned()),
        life_cycle: Err(why.to_owned()),
        group: Err(why.to_owned()),
        hooks: Err(why.to_owned()),
        target_groups: Err(why.to_owned()),
        balancers: Err(why.to_owned()),
        actions: Vec::new(),
        skew_ms: Err(why.to_owned()),
    }
}

struct Examination<'a> {
    clients: FleetClients,
    instance: &'a str,
    actions: Vec<Action>,
}

impl Examination<'_> {
    async fn run(mut self) -> FleetFacts {
        let group = self.group().await;
        let known = match &group {
            Ok(Some(group)) => Box::pin(self.of_group(group)).await,
            Ok(None) => nothing("the instance is in no Auto Scaling group"),
            Err(why) => nothing(why),
        };
        let silent = || "no answer of AWS says when it was written".to_owned();
        let skew_ms = self.clients.clock.ahead_ms().ok_or_else(silent);
        FleetFacts { group, actions: self.actions, skew_ms, ..known }
    }

    async fn group(&mut self) -> Learned<Option<Group>> {
        let autoscaling = self.clients.autoscaling.clone();
        let member = autoscaling.describe_instance(self.instance);
        let member = self.asked("autoscaling:DescribeAutoScalingInstances", member).await?;
        let Some(member) = member else { return Ok(None) };
        let group = autoscaling.describe_group(&member);
        self.asked("autoscaling:DescribeAutoScalingGroups", group).await
    }

    async fn of_group(&mut self, group: &Group) -> FleetFacts {
        let FleetClients { autoscaling, balancing, .. } = self.clients.clone();
        let hooks = autoscaling.describe_lifecycle_hooks(&group.name);
        let hooks = self.asked("autoscaling:DescribeLifecycleHooks", hooks).await;
        let tried = Box::pin(autoscaling.try_actions(&group.name, self.instance));
        self.actions.extend(tried.await);
        let target_groups = self.target_groups(&group.target_groups).await;
        let balancers = match &target_groups {
            Ok(target_groups) => Ok(self.balancers(target_groups).await),
            Err(why) => Err(why.clone()),
        };
        if let Some(arn) = group.target_groups.first() {
            self.actions.extend(balancing.try_actions(arn, self.instance).await);
        }
        FleetFacts { hooks, target_groups, balancers, ..nothing("") }
    }

    async fn target_groups(&mut self, arns: &[String]) -> Learned<Vec<TargetGroup>> {
        if arns.is_empty() {
            return Ok(Vec::new());
        }
        let balancing = self.clients.balancing.clone();
        let found = balancing.describe_target_groups(arns);
        let mut found = self.asked("elasticloadbalancing:DescribeTargetGroups", found).await?;
        let attributes =
            found.iter().map(|one| in_time(balancing.target_group_attributes(&one.arn)));
        let attributes = join_all(attributes).await;
        let action = "elasticloadbalancing:DescribeTargetGroupAttributes";
        self.note_all(action, attributes.iter().map(|one| one.as_ref().err()));
        for (target_group, attributes) in found.iter_mut().zip(attributes) {
            target_group.attributes = attributes.map_err(|error| error.text);
        }
        Ok(found)
    }

    async fn balancers(&mut self, target_groups: &[TargetGroup]) -> Vec<Balancer> {
        let balancing = self.clients.balancing.clone();
        let arns: BTreeSet<_> = target_groups.iter().flat_map(|one| &one.balancers).collect();
        let idle = join_all(arns.iter().map(|arn| in_time(balancing.idle_timeout(arn)))).await;
        let action = "elasticloadbalancing:DescribeLoadBalancerAttributes";
        self.note_all(action, idle.iter().map(|one| one.as_ref().err()));
        let balancers = arns.into_iter().zip(idle);
        balancers
            .map(|(arn, idle)| Balancer {
                idle_timeout: idle.map_err(|error| error.text),
                ..balancer(arn)
            })
            .collect()
    }

    /// The answer of a call that only reads, and whether it is allowed.
    async fn asked<T>(
        &mut self,
        action: &'static str,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Learned<T> {
        let answer = in_time(call).await;
        self.note_all(action, [answer.as_ref().err()]);
        answer.map_err(|error| error.text)
    }

    /// The first call that was refused stands for all of one action.
    fn note_all<'e>(
        &mut self,
        name: &'static str,
        errors: impl IntoIterator<Item = Option<&'e CallError>>,
    ) {
        let answers: Vec<_> = errors.into_iter().collect();
        let errors = || answers.iter().copied().flatten();
        let denied = errors().find(|error| error.kind == CallErrorKind::Denied);
        let outcome = match (denied, errors().next()) {
            (Some(error), _) => {
                let again = format!("{name} is not allowed: ");
                Outcome::Denied(error.text.trim_start_matches(&again).to_owned())
            }
            (None, None) if answers.is_empty() => return,
            (None, None) => Outcome::Allowed,
            (None, Some(error)) => Outcome::Unknown(error.text.clone()),
        };
        self.actions.push(Action { name, outcome });
    }
}
