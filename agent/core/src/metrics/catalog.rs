//! The one list of metrics: what scrapers, CloudWatch, dashboards, alarms and the documentation
//! show comes from here, and a test holds them together.

use super::{Kind, Label, Metric, Unit};

/// `NAME = kind "otel.name" unit [labels] cloudwatch [[labels]...] "help";`
macro_rules! metrics {
    ($($name:ident = $kind:ident $otel:literal $unit:ident [$($label:ident),*]
       cloudwatch [$([$($dimension:ident),*]),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $name: Metric = Metric {
                name: $otel,
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: &[$(Label::$label),*],
                cloudwatch: &[$(&[$(Label::$dimension),*]),*],
                help: $help,
            };
        )*
        /// All of them.
        pub static ALL: &[&Metric] = &[$(&$name),*];
    };
}

metrics! {
    // The host, as groundcrew sees it.
    READY = Gauge "groundcrew.ready" Count [] cloudwatch [[]]
        "Whether GET /ready says so.";
    STATE = Gauge "groundcrew.state" Count [State] cloudwatch []
        "1 for the state that the host is in.";
    RELEASE = Gauge "groundcrew.release" Count [Role, Release] cloudwatch []
        "1 for each release and what it is to the host.";
    DISK_USAGE = Gauge "groundcrew.disk.usage" Bytes [Kind] cloudwatch [[Kind]]
        "What is kept on disk.";

    // Requests, by tier and release.
    REQUESTS = Counter "http.server.requests" Count [Tier, Release, StatusClass]
        cloudwatch [[Tier, StatusClass]]
        "Requests that tiers answered.";
    REQUEST_DURATION = Histogram "http.server.request.duration" Seconds [Tier, Release]
        cloudwatch [[Tier], [Tier, Release]]
        "How long answers took.";
    ACTIVE_REQUESTS = Gauge "http.server.active_requests" Count [Tier] cloudwatch [[Tier]]
        "Requests being answered.";
    OPEN_CONNECTIONS = Gauge "http.server.open_connections" Count [Tier] cloudwatch [[Tier]]
        "Open connections.";
    WEBSOCKETS = Gauge "groundcrew.tier.websockets" Count [Tier] cloudwatch []
        "Open WebSocket connections.";
    PROCESSES_READY = Gauge "groundcrew.tier.processes.ready" Count [Tier] cloudwatch [[Tier]]
        "Processes that are ready.";
    PROCESSES_WANTED = Gauge "groundcrew.tier.processes.wanted" Count [Tier] cloudwatch []
        "Processes there should be.";
    TIER_RESTARTS = Gauge "groundcrew.tier.restarts" Count [Tier] cloudwatch [[Tier]]
        "Restarts since the generation began.";

    // Processes.
    PROCESS_MEMORY = Gauge "process.memory.usage" Bytes [Tier, Process] cloudwatch [[Tier]]
        "Resident memory.";
    PROCESS_CPU = Gauge "process.cpu.utilization" Ratio [Tier, Process] cloudwatch [[Tier]]
        "Share of one core.";
    EVENTLOOP_DELAY_P99 = Gauge "nodejs.eventloop.delay.p99" Seconds [Tier, Process]
        cloudwatch [[Tier]]
        "Delay of the event loop that 99 of 100 do not exceed.";
    PROCESS_RESTARTS = Gauge "groundcrew.process.restarts" Count [Tier, Process] cloudwatch []
        "Restarts of the process.";

    // Deployments and drains.
    DEPLOYMENTS = Counter "groundcrew.deployments" Count [Reason] cloudwatch [[Reason]]
        "Deployments that came so far: started, settled, rejected, rolled_back.";
    ROLLOUT_STAGE = Histogram "groundcrew.rollout.stage.duration" Seconds [Stage]
        cloudwatch [[Stage]]
        "How long the parts of rollouts took: fetch, ready, cutover, bleed, trial.";
    LEAD_TIME = Histogram "groundcrew.deployment.lead_time" Seconds [] cloudwatch [[]]
        "From the channel's wish to the end of the trial.";
    TIME_TO_RESTORE = Histogram "groundcrew.deployment.time_to_restore" Seconds []
        cloudwatch [[]]
        "From the first sign that a release is bad to the one before serving again.";
    DRAINS = Counter "groundcrew.drains" Count [Reason] cloudwatch [[Reason]]
        "Drains that ended: complete, or incomplete when requests were cut.";
    DRAIN_DURATION = Histogram "groundcrew.drain.duration" Seconds [] cloudwatch [[]]
        "How long drains took until the last process had ended.";

    // What people are told.
    NOTIFICATIONS = Counter "groundcrew.notifications" Count [Pipeline, Reason]
        cloudwatch [[Reason]]
        "Messages by target, and what became of them: sent, failed, suppressed, dropped.";

    // Ways out of the host.
    PIPELINE_SENT = Counter "groundcrew.pipeline.sent" Count [Pipeline] cloudwatch [[Pipeline]]
        "Events that were accepted.";
    PIPELINE_DROPPED = Counter "groundcrew.pipeline.dropped" Count [Pipeline]
        cloudwatch [[Pipeline]]
        "Events that were given up.";
    PIPELINE_REJECTED = Counter "groundcrew.pipeline.rejected" Count [Pipeline]
        cloudwatch [[Pipeline]]
        "Events that were refused.";
    PIPELINE_BACKLOG = Gauge "groundcrew.pipeline.backlog" Bytes [Pipeline] cloudwatch [[Pipeline]]
        "What waits to be accepted.";
    PIPELINE_OLDEST = Gauge "groundcrew.pipeline.oldest" Seconds [Pipeline] cloudwatch [[Pipeline]]
        "How long the oldest of it waits.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_dimensions_are_labels() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let usual = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
            assert!(metric.name.chars().all(usual), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            for set in metric.cloudwatch {
                assert!(set.iter().all(|label| metric.labels.contains(label)), "{}", metric.name);
            }
        }
    }
}
