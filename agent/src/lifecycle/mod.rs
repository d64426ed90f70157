//! The host's place in EC2: watches the instance's metadata, and carries what the core has to say
//! to Auto Scaling and the load balancers. Decides nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use groundcrew_core::event::Event;
use groundcrew_core::lifecycle::fleet::{
    CallError, CallErrorKind, FleetAnswer, FleetCall, Membership,
};
use groundcrew_core::limits;
use groundcrew_core::time::Moment;
use tokio::sync::{Mutex, OnceCell, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aws::autoscaling::Member;
use crate::aws::fleet::FleetClients;
use crate::aws::imds::{self, Imds};
use crate::clock;
use crate::errors::chain;

mod detect;
mod examine;
mod known;
mod read;
#[cfg(test)]
mod tests;
mod watch;

pub use examine::examine;
use watch::{InstanceIds, Pace, Watch};

/// How long what was said about the group counts as known.
const GROUP_KNOWN_FOR: Duration = Duration::from_mins(1);

/// The watch over the instance's metadata, and the calls. Ends with its
/// [`shutdown`](Self::shutdown) or its drop.
pub struct Lifecycle {
    /// `None`: this host is no EC2 instance.
    imds: Option<Arc<Imds>>,
    instance: InstanceIds,
    clients: OnceCell<FleetClients>,
    /// What was last said about the group, and when.
    about: Mutex<Option<(Moment, Membership)>>,
    /// Target groups are left and entered one after the other, or the last word may be the first.
    balancing: Mutex<()>,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Lifecycle {
    /// Begins to watch, when this is an EC2 instance: `enabled` says so, or else the environment
    /// and the machine do. What is new about the metadata goes to `events`.
    #[must_use]
    pub fn open(
        enabled: Option<bool>,
        events: mpsc::Sender<Event>,
        cancel: &CancellationToken,
    ) -> Self {
        Self::with(is_instance(enabled).then(Imds::open), events, cancel, Pace::USUAL)
    }

    fn with(
        imds: Option<Imds>,
        events: mpsc::Sender<Event>,
        cancel: &CancellationToken,
        pace: Pace,
    ) -> Self {
        let (imds, cancel) = (imds.map(Arc::new), cancel.child_token());
        let instance = InstanceIds::default();
        let mut tasks = JoinSet::new();
        if let Some(imds) = &imds {
            let watch = Watch::new(Arc::clone(imds), Arc::clone(&instance), events, pace);
            tasks.spawn(watch.run(cancel.clone()));
        }
        Self {
            imds,
            instance,
            clients: OnceCell::new(),
            about: Mutex::default(),
            balancing: Mutex::default(),
            cancel,
            tasks,
        }
    }

    /// Whether this host is an EC2 instance.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.imds.is_some()
    }

    /// The instance's id, once the metadata has said it.
    #[must_use]
    pub fn instance_id(&self) -> Option<String> {
        self.instance.borrow().clone()
    }

    /// The instance's id, as soon as the metadata has said it; `None`: it did not within that time,
    /// or there is none.
    pub fn instance_within(
        &self,
        within: Duration,
    ) -> impl Future<Output = Option<String>> + Send + use<> {
        let known = self.enabled().then(|| self.instance.subscribe());
        async move {
            let mut known = known?;
            let said = known.wait_for(Option::is_some);
            let said = tokio::time::timeout(within, said).await.ok()?.ok()?;
            said.clone()
        }
    }

    /// Makes a call. The answer comes within [`limits::FLEET_CALL_WITHIN`].
    pub async fn call(&self, call: FleetCall) -> FleetAnswer {
        match call {
            FleetCall::Ask => FleetAnswer::Membership(in_time(Box::pin(self.ask())).await),
            FleetCall::Heartbeat { group, hook } => {
                let outcome = in_time(async {
                    let (clients, instance) = self.ready().await?;
                    clients.autoscaling.record_heartbeat(&group, &hook, &instance).await
                });
                FleetAnswer::Beaten { outcome: outcome.await, hook }
            }
            FleetCall::Complete { group, hook, result } => {
                let outcome = in_time(async {
                    let (clients, instance) = self.ready().await?;
                    clients.autoscaling.complete_action(&group, &hook, &instance, result).await
                });
                FleetAnswer::Completed { outcome: outcome.await, hook }
            }
            FleetCall::Deregister(target_groups) => {
                let outcome = in_time(async {
                    let (clients, instance) = self.ready().await?;
                    let _one = self.balancing.lock().await;
                    clients.balancing.deregister(&target_groups, &instance).await
                });
                FleetAnswer::Deregistered(outcome.await)
            }
            FleetCall::Register(target_groups) => {
                let outcome = in_time(async {
                    let (clients, instance) = self.ready().await?;
                    let _one = self.balancing.lock().await;
                    clients.balancing.register(&target_groups, &instance).await
                });
                FleetAnswer::Registered(outcome.await)
            }
        }
    }

    /// Asks the group to put the instance on standby, without a replacement. The group's name.
    pub async fn standby(&self) -> Result<String, CallError> {
        in_time(async {
            let (clients, instance, member) = self.membership().await?;
            if !matches!(member.state.as_str(), "Standby" | "EnteringStandby") {
                clients.autoscaling.enter_standby(&member.group, &instance, true).await?;
            }
            Ok(member.group)
        })
        .await
    }

    /// Asks the group to put the instance back into service. The group's name.
    pub async fn exit_standby(&self) -> Result<String, CallError> {
        in_time(async {
            let (clients, instance, member) = self.membership().await?;
            if member.state != "InService" && !member.state.starts_with("Pending") {
                clients.autoscaling.exit_standby(&member.group, &instance).await?;
            }
            Ok(member.group)
        })
        .await
    }

    /// Ends the watch, and waits until it has.
    pub async fn shutdown(mut self) {
        self.cancel.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    async fn ask(&self) -> Result<Option<Box<Membership>>, CallError> {
        let (clients, instance) = self.ready().await?;
        // What it was before a stop or a hibernation says nothing.
        clients.clock.forget();
        let autoscaling = &clients.autoscaling;
        let Some(Member { group, state }) = autoscaling.describe_instance(&instance).await? else {
            return Ok(None);
        };
        // A state that is about to change is asked for again and again; what surrounds it is not.
        let mut about = self.about.lock().await;
        let known = about
            .as_ref()
            .filter(|(at, known)| known.group == group && clock::at().since(*at) < GROUP_KNOWN_FOR);
        let (hooks, target_groups) = match known {
            Some((_, known)) => (known.hooks.clone(), known.target_groups.clone()),
            None => tokio::try_join!(
                autoscaling.describe_lifecycle_hooks(&group),
                autoscaling.target_group_arns(&group),
            )?,
        };
        let clock_ahead_ms = clients.clock.ahead_ms();
        let membership = Membership { group, state, hooks, target_groups, clock_ahead_ms };
        if known.is_none() {
            *about = Some((clock::at(), membership.clone()));
        }
        Ok(Some(Box::new(membership)))
    }

    async fn membership(&self) -> Result<(&FleetClients, String, Member), CallError> {
        let (clients, instance) = self.ready().await?;
        let member = clients.autoscaling.describe_instance(&instance).await?.ok_or_else(|| {
            let text = format!("{instance} is in no Auto Scaling group");
            CallError { kind: CallErrorKind::Gone, text }
        })?;
        Ok((clients, instance, member))
    }

    /// The clients, and whom they speak for.
    async fn ready(&self) -> Result<(&FleetClients, String), CallError> {
        let instance = self.instance().await?;
        let clients = self.clients.get_or_try_init(|| Box::pin(FleetClients::connect())).await?;
        Ok((clients, instance))
    }

    async fn instance(&self) -> Result<String, CallError> {
        if let Some(id) = self.instance_id() {
            return Ok(id);
        }
        let Some(imds) = &self.imds else {
            let text = "this host is no EC2 instance".to_owned();
            return Err(CallError { kind: CallErrorKind::Denied, text });
        };
        let text = imds.get(watch::INSTANCE_ID).await.map_err(|error| {
            passing(format!("the instance's id is not known: {}", chain(&error)))
        })?;
        text.as_deref()
            .and_then(read::instance_id)
            .ok_or_else(|| passing("the instance's id is not known: the metadata has none"))
    }
}

/// Whether this host is an EC2 instance: `enabled` says so, or else the environment and the
/// machine.
fn is_instance(enabled: Option<bool>) -> bool {
    let signs = detect::Signs {
        forced: enabled,
        disabled: imds::is_disabled(),
        endpoint: imds::endpoint_override().is_some(),
    };
    detect::is_instance(signs, Utf8Path::new("/sys"))
}

/// The answer, or that there is none by the time the core gives up.
async fn in_time<T>(call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let within = limits::FLEET_CALL_WITHIN;
    tokio::time::timeout(within, call).await.unwrap_or_else(|_| {
        Err(passing(format!("AWS did not answer within {} s", within.as_secs())))
    })
}

fn passing(text: impl Into<String>) -> CallError {
    CallError { kind: CallErrorKind::Passing, text: text.into() }
}
