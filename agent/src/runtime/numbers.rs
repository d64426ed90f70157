//! Fills the status with numbers: requests from the processes' reports, resources from `/proc`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use groundcrew_core::metrics::Point;
use groundcrew_core::status::{
    ReleaseEntry, ReleaseRole, ReleasesDocument, StatusDocument, TierStatus,
};
use groundcrew_core::time::Wall;
use groundcrew_core::types::{Digest, Version};

use super::Agent;
use crate::clock;
use crate::errors::chain;
use crate::handoff::protocol::{Stats, StatusCounts};
use crate::metrics::{self, Answered, Format, NodeNumbers, Statsd};

/// How long a scrape is good for others.
const SCRAPE_FOR: Duration = Duration::from_secs(1);

/// What a report says was answered.
pub(super) fn answered(stats: &Stats) -> Answered {
    let StatusCounts { informational, success, redirect, client_error, server_error } =
        stats.status;
    Answered {
        by_class: [informational, success, redirect, client_error, server_error],
        latency: Arc::new(stats.latency.clone()),
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
        status.backups = self.backup_statuses();
        status
    }

    /// Everything that is measured, now.
    pub(super) fn points(&mut self) -> Vec<Point> {
        let (status, ready) = (self.status(), self.controller.is_ready());
        let mut points = metrics::of_status(&status, ready);
        points.extend(metrics::of_requests(&self.totals));
        points.extend(self.node_points(&status));
        points.extend(self.measured_points(&status));
        points.extend(self.logs.shipped().map(|shipped| metrics::of_emf(shipped.emf_cut)));
        points.extend(self.statsd.iter().flat_map(Statsd::points));
        points.extend(self.rollouts.points());
        points.extend(self.notifications());
        points.extend(self.backup_points());
        points
    }

    /// What the Node of each process says of itself.
    fn node_points(&self, status: &StatusDocument) -> Vec<Point> {
        let mut points = metrics::of_collections(&self.totals);
        for tier in &status.tiers {
            for process in &tier.processes {
                let Some(stats) = self.board.latest(&process.id) else { continue };
                let numbers = NodeNumbers {
                    heap_total_bytes: stats.heap_total_bytes,
                    heap_limit_bytes: stats.heap_limit_bytes,
                    external_bytes: stats.external_bytes,
                    utilization_ppm: stats.utilization_ppm,
                };
                points.extend(metrics::of_node(tier.name.as_str(), &process.id, numbers));
            }
        }
        points
    }

    /// The same as text; `None`: it could not be written, which is told. Made once for all who ask
    /// within [`SCRAPE_FOR`]: strangers may ask as often as they like.
    pub(super) fn metrics(&mut self, format: Format) -> Option<Bytes> {
        let now = clock::at();
        if let Some((made, text)) = self.measured.scraped.get(&format)
            && now.since(*made) < SCRAPE_FOR
        {
            return Some(text.clone());
        }
        match metrics::exposition(self.points(), format) {
            Ok(text) => {
                let text = Bytes::from(text);
                self.measured.scraped.insert(format, (now, text.clone()));
                Some(text)
            }
            Err(error) => {
                tracing::error!("the metrics could not be written: {error}");
                None
            }
        }
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
            summary.sums.latency.quantile(990).map(|p99| {
                u64::try_from(Duration::from_secs_f64(p99).as_micros()).unwrap_or(u64::MAX)
            });
        tier.errors_per_minute = summary.sums.status.server_error;
        for process in &mut tier.processes {
            if let Some(stats) = self.board.latest(&process.id) {
                process.loop_lag_us = Some(stats.lag_p99_us);
                process.connections = u64::from(stats.connections);
                process.in_flight = stats.in_flight;
            }
            // A process that just ended has no numbers, and the next status says that it ended.
            let Some(pid) = process.pid else { continue };
            let Some(used) = self.usage.look(&process.id, pid) else { continue };
            process.rss_bytes = Some(used.usage.rss_bytes);
            process.cpu_percent = used.cpu_percent;
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
