//! What the Node of each process says of itself, as points: heap, event loop, garbage collection.
//! Never decides what to measure: that is the preload's.

use std::sync::Arc;

use groundcrew_core::metrics::catalog;
use groundcrew_core::metrics::{Metric, Point, Value};
use groundcrew_core::types::ProcessId;

use super::totals::Totals;

/// What one process said last; `None`: it did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeNumbers {
    /// Heap that V8 has taken.
    pub heap_total_bytes: Option<u64>,
    /// Heap that V8 may take.
    pub heap_limit_bytes: Option<u64>,
    /// Memory beside the heap that objects in it hold.
    pub external_bytes: Option<u64>,
    /// Share of the time that the event loop was not waiting, in millionths.
    pub utilization_ppm: Option<u32>,
}

/// What one process said.
pub fn of_node(
    tier: &str,
    process: &ProcessId,
    numbers: NodeNumbers,
) -> impl Iterator<Item = Point> {
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    let gauges: [(&'static Metric, Option<f64>); 4] = [
        (&catalog::HEAP_TOTAL, bytes(numbers.heap_total_bytes)),
        (&catalog::HEAP_LIMIT, bytes(numbers.heap_limit_bytes)),
        (&catalog::MEMORY_EXTERNAL, bytes(numbers.external_bytes)),
        (
            &catalog::EVENTLOOP_UTILIZATION,
            numbers.utilization_ppm.map(|ppm| f64::from(ppm.min(1_000_000)) / 1e6),
        ),
    ];
    let (tier, id) = (tier.to_owned(), process.to_string());
    let known = gauges.into_iter().filter_map(|(metric, value)| Some((metric, value?)));
    known.map(move |(metric, value)| Point::new(metric, [tier.clone(), id.clone()], value))
}

/// How long collections took since the agent began.
#[must_use]
pub fn of_collections(totals: &Totals) -> Vec<Point> {
    let each = totals.collections().map(|(tier, kind, times)| {
        let labels = [tier.as_str(), kind];
        Point::with(&catalog::GC_DURATION, labels, Value::Histogram(Arc::clone(times)))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use groundcrew_core::metrics::histogram::Histogram;

    use super::*;

    #[test]
    fn what_was_said_is_shown_and_nothing_else() {
        let id: ProcessId = "web.1.1".parse().unwrap();
        let numbers = NodeNumbers {
            heap_limit_bytes: Some(3),
            utilization_ppm: Some(u32::MAX),
            ..NodeNumbers::default()
        };
        let points: Vec<_> = of_node("web", &id, numbers).collect();
        let names: Vec<_> = points.iter().map(|point| point.about.name()).collect();
        assert_eq!(names, ["v8js.memory.heap.limit", "nodejs.eventloop.utilization"]);
        assert!(matches!(points[1].value, Value::Number(share) if share >= 1.0));
    }

    #[test]
    fn collections_add_up_by_tier_and_kind() {
        let mut totals = Totals::default();
        let mut times = Histogram::default();
        times.record(0.002);
        for tier in ["web", "api", "web"] {
            totals.count_collections(&tier.parse().unwrap(), "minor", &times);
        }
        let points = of_collections(&totals);
        assert_eq!(points.len(), 2);
        assert!(matches!(&points[1].value, Value::Histogram(sum) if sum.count() == 2));
    }
}
