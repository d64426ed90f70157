//! Does what the controller says. Each effect is short here; what takes time becomes a task whose
//! answer comes back as an event.

use std::sync::Arc;
use std::time::Duration;

use groundcrew_core::effect::Effect;
use groundcrew_core::event::{ChannelReading, Event, FetchOutcome, News, OnDisk};
use groundcrew_core::ledger::Ledger;
use groundcrew_core::limits;
use groundcrew_core::spec::TierPlan;
use groundcrew_core::time::ms;
use groundcrew_core::types::{Desired, Digest, Pid, ProcessId, ReleaseRef, Run, Target};
use tokio::sync::watch;

use super::tell::tell;
use super::{Agent, Fetching, Known, traces};
use crate::config;
use crate::errors::chain;
use crate::handoff::preload;
use crate::handoff::protocol::{Quiet, ToProcess};
use crate::releases::channel::{ChannelRead, read_channel};
use crate::releases::fetch::{FetchError, FetchLimits, FetchProgress, Fetched, fetch};
use crate::releases::store::Store;
use crate::supervisor::StartRequest;
use crate::supervisor::probe::{Probe, ProbeTarget};
use crate::systemd;

impl Agent {
    pub(super) async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::SaveLedger(ledger) => self.save_ledger(*ledger),
            Effect::ReadChannel => self.read_channel(),
            Effect::Fetch(target) => self.fetch(target),
            Effect::CancelFetch(target) => {
                if let Some(fetching) = self.fetches.remove(&target.release.digest) {
                    fetching.cancel.cancel();
                }
            }
            Effect::Start { id, run, release, plan } => {
                if let Err(reason) = self.start(&id, run, release, *plan).await {
                    self.answer(Event::Started { id, run, outcome: Err(reason) });
                }
            }
            Effect::Probe { id, run, path } => self.probe(id, run, path),
            Effect::Accept { id, run } => self.order(&id, run, ToProcess::Accept),
            Effect::Bleed { id, run, within, quiet } => {
                let quiet = quiet.map(|quiet| Quiet {
                    lasts_ms: ms(quiet.lasts),
                    past_counts: quiet.past_counts,
                });
                self.order(&id, run, ToProcess::Bleed { within_ms: ms(within), quiet });
            }
            Effect::Terminate { id, run } => self.signal(id, run, false),
            Effect::Kill { id, run } => self.signal(id, run, true),
            Effect::Forget(id) => self.forget(&id),
            Effect::CloseSocket { port } => {
                systemd::forget(port);
                self.listeners.release(port);
            }
            Effect::Prune(digest) => self.prune(digest),
            Effect::ShipLogs { since, by, keep } => self.ship_logs(since, by, keep),
            Effect::Fleet(call) => self.call_fleet(call),
            Effect::Record(step) => {
                let after = groundcrew_core::time::text(Duration::from_millis(step.after_ms));
                tracing::info!("drain +{after}: {}", step.text);
            }
            Effect::Tell(told) => {
                tell(&told);
                self.notify(&told);
            }
            Effect::Measured(measured) => self.rollouts.count(measured),
            Effect::Exit => self.exit = true,
        }
    }

    /// For answers that are there at once. Their number is bounded by that of the effects of a
    /// step.
    pub(super) fn answer(&self, event: Event) {
        if let Err(error) = self.events.try_send(event) {
            tracing::error!("an answer for the controller is lost: {error}");
        }
    }

    fn save_ledger(&mut self, ledger: Ledger) {
        // On this task's time: what follows in the same step relies on it.
        let saved = tokio::task::block_in_place(|| self.ledger_file.save(ledger));
        let saved = saved.map_err(|error| chain(&error));
        if let Err(reason) = &saved {
            tracing::error!("the ledger is not saved: {reason}");
        }
        self.answer(Event::LedgerSaved(saved));
    }

    fn read_channel(&mut self) {
        let (source, events) = (Arc::clone(&self.source), self.events.clone());
        let (environment, etags) = (self.config.environment.clone(), self.etags.clone());
        self.tasks.spawn(async move {
            let etag = etags.borrow().clone();
            let reading = match read_channel(&source, &environment, etag.as_deref()).await {
                Ok(ChannelRead::Unchanged) => ChannelReading::Unchanged,
                Ok(ChannelRead::Missing) => ChannelReading::Missing,
                Ok(ChannelRead::Found { channel, etag }) => {
                    etags.send_replace(Some(etag));
                    ChannelReading::Found(Desired {
                        target: channel.target(),
                        channel_generation: channel.generation,
                    })
                }
                Err(error) => ChannelReading::Unreachable(chain(&error)),
            };
            drop(events.send(Event::Channel(reading)).await);
        });
    }

    fn fetch(&mut self, target: Target) {
        let digest = target.release.digest;
        let cancel = self.cancel.child_token();
        let (progress, seen) = watch::channel(FetchProgress::default());
        let fetching = Fetching { cancel: cancel.clone(), progress: seen };
        if let Some(before) = self.fetches.insert(digest, fetching) {
            before.cancel.cancel();
        }
        let (source, store) = (Arc::clone(&self.source), Arc::clone(&self.store));
        let events = self.events.clone();
        let limits = FetchLimits {
            disk_budget_bytes: Some(self.config.releases.disk_max),
            ..FetchLimits::default()
        };
        self.tasks.spawn(async move {
            let fetched = fetch(&source, &store, &target, &limits, progress, &cancel).await;
            if cancel.is_cancelled() {
                return;
            }
            let downloaded = matches!(&fetched, Ok(fetched) if fetched.bytes_downloaded > 0);
            let outcome = outcome(fetched, &store, &target);
            if downloaded {
                drop(events.send(Event::OnDisk(on_disk(&store).await)).await);
            }
            drop(events.send(Event::Fetched { target, outcome }).await);
        });
    }

    async fn start(
        &mut self,
        id: &ProcessId,
        run: Run,
        release: ReleaseRef,
        plan: TierPlan,
    ) -> Result<(), String> {
        self.telling.crashes.forget(id);
        let socket = match plan.spec.port {
            None => None,
            Some(port) => {
                let pids = self.pids();
                self.hold_port(port, &pids).map_err(|error| chain(&error))?;
                Some(self.listeners.duplicate(port).map_err(|error| chain(&error))?)
            }
        };
        let rotated = self.logs.rotate(id).await;
        if let Err(error) = rotated {
            tracing::warn!("{}", chain(&error));
        }
        let logs = self.log_files.paths(id).map_err(|error| chain(&error))?;
        let environment = preload::environment(
            &super::channel_path(&self.config.run_dir),
            &self.preload,
            plan.spec.handoff,
            plan.spec.crash,
            plan.spec.env.get("NODE_OPTIONS").map(String::as_str),
            traces::tracing(&self.config.traces),
        );
        let known = Known { run, plan: plan.clone(), release: release.version.clone() };
        self.known.insert(id.clone(), known);
        self.say_living();
        self.supervisor.start(StartRequest {
            id: id.clone(),
            run,
            directory: self.store.path(&release.digest),
            release,
            plan,
            socket,
            environment,
            stdout: logs.stdout,
            stderr: logs.stderr,
        });
        Ok(())
    }

    /// The numbers of all processes that run: any of them may hold a socket.
    fn pids(&self) -> Vec<Pid> {
        self.known.keys().filter_map(|id| self.supervisor.pid(id)).collect()
    }

    fn probe(&mut self, id: ProcessId, run: Run, path: Option<String>) {
        let target = ProbeTarget::Unix {
            path: self.supervisor.probe_socket(&id),
            pid: self.supervisor.pid(&id),
        };
        let probe = Probe { target, path, within: limits::PROBE_WITHIN };
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let answer = probe.ask().await.map_err(|error| error.to_string());
            drop(events.send(Event::Process { id, run, news: News::Probed(answer) }).await);
        });
    }

    /// What cannot be delivered now is asked for again when the process says hello.
    fn order(&self, id: &ProcessId, run: Run, order: ToProcess) {
        if self.known.get(id).is_some_and(|known| known.run == run) {
            self.registry.send(id, order);
        }
    }

    fn signal(&self, id: ProcessId, run: Run, kill: bool) {
        let found = if kill { self.supervisor.kill(&id) } else { self.supervisor.terminate(&id) };
        if !found {
            // It ended before; whether that was told already makes no difference.
            let news = News::Exited(groundcrew_core::types::Exit::Unknown);
            self.answer(Event::Process { id, run, news });
        }
    }

    fn forget(&mut self, id: &ProcessId) {
        self.known.remove(id);
        self.board.remove(id);
        self.usage.remove(id);
        self.telling.crashes.forget(id);
        self.supervisor.retire(id);
        self.say_living();
    }

    fn prune(&mut self, digest: Digest) {
        let (store, events) = (Arc::clone(&self.store), self.events.clone());
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            let removing = Arc::clone(&store);
            let removed = tokio::task::spawn_blocking(move || removing.remove(&digest)).await;
            match removed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("{}", chain(&error)),
                Err(error) => tracing::error!("removing {} failed: {error}", digest.short()),
            }
            if let Err(error) = store.empty_trash(&cancel).await {
                tracing::warn!("{}", chain(&error));
            }
            drop(events.send(Event::OnDisk(on_disk(&store).await)).await);
        });
    }
}

/// What the controller is told about the end of a fetch.
fn outcome(fetched: Result<Fetched, FetchError>, store: &Store, target: &Target) -> FetchOutcome {
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) if error.permanent() => return FetchOutcome::Refused(chain(&error)),
        Err(error) => return FetchOutcome::Failed(chain(&error)),
    };
    if fetched.bytes_downloaded > 0 {
        tracing::info!(
            "{} fetched: {} files written, {} linked, {} bytes downloaded in {:.1}s",
            target,
            fetched.files_written,
            fetched.files_linked,
            fetched.bytes_downloaded,
            fetched.took.as_secs_f64(),
        );
    }
    let path = store.path(&target.release.digest).join("release.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return FetchOutcome::Refused(format!("could not read {path}: {error}")),
    };
    match config::release::parse(&text) {
        Ok(parsed) => FetchOutcome::Ready(Box::new(parsed.spec)),
        Err(problems) => FetchOutcome::Refused(problems.to_string().replace('\n', "; ")),
    }
}

/// The releases on disk. One that cannot be read is left out: it is not complete.
pub(super) async fn on_disk(store: &Arc<Store>) -> Vec<OnDisk> {
    let store = Arc::clone(store);
    let list = move || {
        let digests = store.list().unwrap_or_else(|error| {
            tracing::error!("{}", chain(&error));
            Vec::new()
        });
        let size = |digest: Digest| match store.unpacked_bytes(&digest) {
            Ok(bytes) => Some(OnDisk { digest, bytes }),
            Err(error) => {
                tracing::error!("{}", chain(&error));
                None
            }
        };
        digests.into_iter().filter_map(size).collect()
    };
    tokio::task::spawn_blocking(list).await.unwrap_or_default()
}
