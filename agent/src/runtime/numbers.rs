//! Fills the status with numbers: requests from the processes' reports, resources from `/proc`.

use std::collections::BTreeMap;
use std::sync::Arc;

use groundcrew_core::metrics::Point;
use groundcrew_core::status::{
    ReleaseEntry, ReleaseRole, ReleasesDocument, StatusDocument, TierStatus,
};
use groundcrew_core::time::{Moment, Wall};
use groundcrew_core::types::{Digest, Pid, ProcessId, Version};

use super::Agent;
use crate::clock;
use crate::errors::chain;
use crate::handoff::protocol::{Stats, StatusCounts};
use crate::metrics::{self, Answered};
use crate::supervisor::usage;

/// CPU time seen at the last look, to tell how much came since.
#[derive(Default)]
pub(super) struct Usages(BTreeMap<ProcessId, (Pid, Moment, u64)>);

impl Usages {
    pub fn remove(&mut self, id: &ProcessId) {
        self.0.remove(id);
    }

    /// Percent of one core since the last look; the first look has nothing to compare with.
    fn cpu_percent(&mut self, id: &ProcessId, pid: Pid, cpu_ms: u64) -> Option<u32> {
        let now = clock::at();
        let before = self.0.get(id).filter(|(before, ..)| *before == pid).copied();
        // Looks that follow each other closely would measure the tick of the clock.
        if let Some((_, at, cpu_before_ms)) = before {
            let passed_ms = groundcrew_core::time::ms(now.since(at));
            if passed_ms < 200 {
                return None;
            }
            self.0.insert(id.clone(), (pid, now, cpu_ms));
            let percent = cpu_ms.saturating_sub(cpu_before_ms) * 100 / passed_ms;
            return u32::try_from(percent).ok();
        }
        self.0.insert(id.clone(), (pid, now, cpu_ms));
        None
    }
}

/// What a report says was answered.
pub(super) fn answered(stats: &Stats) -> Answered {
    let StatusCounts { informational, success, redirect, client_error, server_error } =
        stats.status;
    Answered {
        by_class: [informational, success, redirect, client_error, server_error],
        latency: Arc::new(stats.latency.histogram()),
    }
}

impl Agent {
    /// The whole status.
    pub(super) fn status(&mut self) -> StatusDocument {
        let mut status = self.controller.status(clock::now(), self.facts());
        for tier in &mut status.tiers {
            self.fill_tier(tier);
        }
        if let Some(rollout) = &mut status.rollout
            && let Some(fetching) = self.fetches.get(&rollout.digest)
        {
            let progress = fetching.progress.borrow();
            if progress.files_total > 0 {
                rollout.detail =
                    format!("{} of {} files", progress.files_done, progress.files_total);
            }
        }
        status.disk.logs_bytes = self.logs.usage().bytes;
        status.pipelines = self.pipelines();
        status
    }

    /// Everything that is measured, now.
    pub(super) fn points(&mut self) -> Vec<Point> {
        let (status, ready) = (self.status(), self.controller.is_ready());
        let mut points = metrics::of_status(&status, ready);
        points.extend(metrics::of_requests(&self.totals));
        points.extend(self.rollouts.points());
        points.extend(self.notifications());
        points
    }

    /// The same as text; `None`: it could not be written, which is told.
    pub(super) fn metrics(&mut self) -> Option<String> {
        let text = metrics::exposition(self.points());
        text.inspect_err(|error| tracing::error!("the metrics could not be written: {error}")).ok()
    }

    fn fill_tier(&mut self, tier: &mut TierStatus) {
        let ids: Vec<_> = tier.processes.iter().map(|process| process.id.clone()).collect();
        let summary = self.board.summary(ids.iter(), clock::at());
        tier.in_flight = summary.in_flight;
        tier.connections = summary.connections;
        tier.websockets = summary.websockets;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate, not negative, far below 2^53"
        )]
        {
            tier.requests_per_second = summary.per_second().round() as u64;
        }
        tier.p99_us =
            summary.sums.latency.p99().and_then(|p99| u64::try_from(p99.as_micros()).ok());
        tier.errors_per_minute = summary.sums.status.server_error;
        for process in &mut tier.processes {
            if let Some(stats) = self.board.latest(&process.id) {
                process.loop_lag_us = Some(stats.lag_p99_us);
                process.connections = u64::from(stats.connections);
                process.in_flight = stats.in_flight;
            }
            // A process that just ended has no numbers, and the next status says that it ended.
            let Some(pid) = process.pid else { continue };
            let Ok(used) = usage::of(pid) else { continue };
            process.rss_bytes = Some(used.rss_bytes);
            let cpu_ms = groundcrew_core::time::ms(used.cpu);
            process.cpu_percent = self.usage.cpu_percent(&process.id, pid, cpu_ms);
        }
    }

    /// The releases on this host, newest first; `version` for one of them.
    pub(super) fn releases(&self, version: Option<&Version>) -> ReleasesDocument {
        let status = self.controller.status(clock::now(), self.facts());
        let digests = self.store.list().unwrap_or_else(|error| {
            tracing::warn!("{}", chain(&error));
            Vec::new()
        });
        let mut releases: Vec<_> =
            digests.iter().filter_map(|digest| self.release_entry(digest, &status)).collect();
        if let Some(desired) = &status.desired
            && !digests.contains(&desired.digest)
        {
            releases.push(ReleaseEntry {
                version: desired.version.clone(),
                digest: desired.digest,
                role: role(&status, &desired.digest),
                created: None,
                fetched: None,
                disk_bytes: None,
                files: None,
                commit: None,
                reason: None,
            });
        }
        for release in &mut releases {
            let rejected = status.rejected.as_ref();
            let rejected = rejected.filter(|rejected| rejected.digest == release.digest);
            release.reason = rejected.map(|rejected| rejected.reason.clone());
        }
        releases.retain(|release| version.is_none_or(|version| release.version == *version));
        releases.sort_by_key(|release| std::cmp::Reverse((release.fetched, release.created)));
        ReleasesDocument { now: clock::wall(), releases }
    }

    fn release_entry(&self, digest: &Digest, status: &StatusDocument) -> Option<ReleaseEntry> {
        // A release may be pruned between the list and the look.
        let manifest = self.store.manifest(digest).ok()?;
        let fetched = std::fs::metadata(self.store.manifest_path(digest)).ok()?.modified().ok()?;
        let fetched = fetched.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis();
        Some(ReleaseEntry {
            version: manifest.version.clone(),
            digest: *digest,
            role: role(status, digest),
            created: Some(Wall(manifest.created.as_millisecond())),
            fetched: i64::try_from(fetched).ok().map(Wall),
            disk_bytes: Some(manifest.unpacked_bytes),
            files: Some(manifest.files.len() as u64),
            commit: manifest.git.as_ref().map(|git| git.commit.clone()),
            reason: None,
        })
    }
}

fn role(status: &StatusDocument, digest: &Digest) -> ReleaseRole {
    let is = |other: Option<&Digest>| other == Some(digest);
    if is(status.release.as_ref().map(|release| &release.digest)) {
        ReleaseRole::Current
    } else if is(status.rejected.as_ref().map(|rejected| &rejected.digest)) {
        ReleaseRole::Rejected
    } else if is(status.desired.as_ref().map(|desired| &desired.digest)) {
        ReleaseRole::Desired
    } else if is(status.previous.as_ref().map(|previous| &previous.digest)) {
        ReleaseRole::Previous
    } else {
        ReleaseRole::Kept
    }
}
