//! Between the controller and the host's place in its Auto Scaling group.

use std::sync::Arc;
use std::time::Duration;

use groundcrew_core::event::Event;
use groundcrew_core::lifecycle::fleet::FleetCall;
use groundcrew_core::lifecycle::sight::TargetState;
use tokio::sync::oneshot;

use super::Agent;

impl Agent {
    pub(super) fn call_fleet(&mut self, call: FleetCall) {
        let (lifecycle, events) = (Arc::clone(&self.lifecycle), self.events.clone());
        self.tasks.spawn(async move {
            let answer = lifecycle.call(call).await;
            drop(events.send(Event::Fleet(answer)).await);
        });
    }

    /// A person wants the host to leave, or to serve again.
    pub(super) fn drain_or_undrain(
        &mut self,
        reason: Option<String>,
        answer: oneshot::Sender<Result<String, String>>,
    ) -> Option<Event> {
        let standing = &self.controller.ledger().lifecycle;
        if reason.is_none() && standing.target() == Some(&TargetState::Standby) {
            self.exit_standby(answer);
            return Some(Event::Order(None));
        }
        let said = match (&reason, &standing.order) {
            (Some(_), _) => {
                Ok("the host leaves; `groundcrew status` shows how far it is".to_owned())
            }
            (None, Some(_)) => Ok("the host serves again, unless others want it to leave".into()),
            (None, None) => Err("nobody has drained this host by hand".to_owned()),
        };
        let refused = said.is_err();
        // Whoever asked may have gone meanwhile; then nobody misses the answer.
        drop(answer.send(said));
        (!refused).then_some(Event::Order(reason))
    }

    /// A person wants to see how leaving goes.
    pub(super) fn drill(
        &mut self,
        text: String,
        within: Option<Duration>,
        answer: oneshot::Sender<Result<String, String>>,
    ) -> Option<Event> {
        if !self.controller.is_ready() {
            let why = "the host does not serve as it should, so there is nothing to drill with";
            drop(answer.send(Err(why.to_owned())));
            return None;
        }
        drop(answer.send(Ok("the drill begins".to_owned())));
        Some(Event::Drill { text, within })
    }

    pub(super) fn standby(&mut self, answer: oneshot::Sender<Result<String, String>>) {
        let lifecycle = Arc::clone(&self.lifecycle);
        self.tasks.spawn(async move {
            let said = match lifecycle.standby().await {
                Ok(group) => Ok(format!("{group} puts this instance on standby")),
                Err(error) => Err(error.text),
            };
            drop(answer.send(said));
        });
    }

    fn exit_standby(&mut self, answer: oneshot::Sender<Result<String, String>>) {
        let lifecycle = Arc::clone(&self.lifecycle);
        self.tasks.spawn(async move {
            let said = match lifecycle.exit_standby().await {
                Ok(group) => Ok(format!("{group} puts this instance back into service")),
                Err(error) => Err(error.text),
            };
            drop(answer.send(said));
        });
    }
}
