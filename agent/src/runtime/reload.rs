//! `groundcrew reload`: the agent becomes the binary that is on disk now, with the configuration
//! that is there now, and keeps its number, its children and the listening sockets.
//!
//! What can fail is done while the old agent is still whole. Should the kernel refuse the last step
//! all the same, the old agent opens again, as after a crash, and says why it is still there.

use groundcrew_core::time::Moment;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};

use super::signals::Signals;
use super::{Agent, RuntimeError};
use crate::config::HostConfig;
use crate::control::AgentDocument;
use crate::handoff::listener::Listeners;
use crate::supervisor::image::Image;
use crate::{clock, systemd};

/// Where the answer to an order to reload goes.
type Answer = oneshot::Sender<Result<(), String>>;

/// What the agent knows of its own binary.
pub(super) struct Reload {
    image: Image,
    /// The trial of what is on disk, while there is one. Ended with the agent.
    trial: JoinSet<Result<(), String>>,
    asker: Option<Answer>,
    /// Tells one agent from the next.
    opened: Moment,
    /// Why the agent is not the one that was asked for.
    failed: Option<String>,
    /// The trial went well: the agent ends, to go on as the other one.
    pub is_due: bool,
}

impl Reload {
    pub(super) fn new(image: Image, failed: Option<String>) -> Self {
        let (trial, opened) = (JoinSet::new(), clock::at());
        Self { image, trial, asker: None, opened, failed, is_due: false }
    }

    pub(super) fn document(&self, ready: bool) -> AgentDocument {
        AgentDocument {
            opened: self.opened,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready,
            failed: self.failed.clone(),
        }
    }

    /// The end of the trial; for ever when there is none.
    pub(super) async fn tried(&mut self) -> Result<(), String> {
        let ended = |ended: Result<_, JoinError>| {
            ended.unwrap_or_else(|error| Err(format!("the trial failed: {error}")))
        };
        match self.trial.join_next().await {
            Some(result) => ended(result),
            None => std::future::pending().await,
        }
    }
}

impl Agent {
    /// Begins a reload: tries the binary on disk out, beside everything else.
    pub(super) fn reload(&mut self, answer: Answer) {
        let refusal = match self.reload.asker {
            Some(_) => Err("a reload is under way already".to_owned()),
            None => self.may_reload(),
        };
        if refusal.is_err() {
            // Whoever asked may have gone.
            drop(answer.send(refusal));
            return;
        }
        let image = self.reload.image.clone();
        tracing::info!("trying {} out, to go on as it", image.path());
        self.reload.asker = Some(answer);
        self.reload.trial.spawn(async move { image.try_out().await });
    }

    /// Ends the agent when the trial went well, and else says why not.
    pub(super) fn reload_tried(&mut self, tried: Result<(), String>) {
        // Looked at again: the trial took its time.
        let tried = tried.and_then(|()| self.may_reload());
        let tried = tried.map_err(|reason| format!("the agent goes on as it is: {reason}"));
        match &tried {
            Ok(()) => {
                systemd::reloading();
                self.reload.is_due = true;
                self.exit = true;
            }
            Err(reason) => tracing::error!("{reason}"),
        }
        if let Some(asker) = self.reload.asker.take() {
            drop(asker.send(tried));
        }
    }

    /// An agent that was told to end is the only one that knows; every other reason to leave is
    /// remembered.
    fn may_reload(&self) -> Result<(), String> {
        if self.controller.is_told_to_exit() {
            return Err("the agent was told to end".to_owned());
        }
        Ok(())
    }
}

/// Runs agent after agent in this process: one, unless the kernel refuses to run the next binary.
pub(super) async fn run(config: HostConfig, image: Image) -> Result<(), RuntimeError> {
    let signals = Signals::open()?;
    let mut sockets = super::stored_sockets();
    let mut failed = None;
    loop {
        let reload = Reload::new(image.clone(), failed.take());
        let mut agent = Box::pin(Agent::open(config.clone(), sockets, reload)).await?;
        let result = agent.live(&signals).await;
        let is_due = agent.reload.is_due;
        if is_due {
            // What is under way is as harmless to cut here as in a crash, and waiting for an answer
            // from far away is not.
            agent.tasks.abort_all();
            systemd::alive();
        }
        let listeners = std::mem::take(&mut agent.listeners);
        agent.close().await;
        result?;
        if !is_due {
            return Ok(());
        }
        let reason = become_next(&image, &listeners);
        tracing::error!("{reason}");
        (sockets, failed) = (listeners, Some(reason));
    }
}

/// Becomes the binary on disk. Returns only when that failed, with the reason.
fn become_next(image: &Image, listeners: &Listeners) -> String {
    systemd::alive();
    let failed =
        |error| format!("the agent goes on as it is: {} cannot be run: {error}", image.path());
    match systemd::pass_on(listeners.all()) {
        Ok(passed) => failed(image.become_it(passed.variable())),
        Err(error) => failed(error),
    }
}
