//! Packets of StatsD, from any bytes.
#![no_main]

use groundcrew_core::metrics::Value;
use groundcrew_core::metrics::statsd::{KEY_BYTES_MAX, Registry};
use groundcrew_core::time::Moment;

libfuzzer_sys::fuzz_target!(|packet: &[u8]| {
    let mut registry = Registry::new(3);
    for at in [0, 70_000, 200_000] {
        registry.turn(Moment(at));
        registry.packet(packet, at == 70_000, Moment(at));
    }
    assert!(registry.len() <= 3);
    for point in registry.points() {
        let bytes: usize = point.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes + point.about.name().len() <= KEY_BYTES_MAX);
        match &point.value {
            Value::Number(number) => assert!(number.is_finite()),
            Value::Histogram(counted) => assert!(counted.sum().is_finite()),
        }
    }
});
