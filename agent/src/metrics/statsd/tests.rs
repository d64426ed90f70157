//! Real sockets on this host.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use groundcrew_core::metrics::Value;

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn start(socket: Option<Utf8PathBuf>) -> Statsd {
    let listen = Some("127.0.0.1:0".parse().unwrap());
    Statsd::start(Settings { listen, socket, series_max: 100 }).unwrap()
}

/// The numbers of a metric, its labels aside.
fn number(statsd: &Statsd, name: &str) -> f64 {
    let points = statsd.points();
    let numbers = points.iter().filter(|point| point.about.name() == name);
    numbers.map(|point| if let Value::Number(number) = point.value { number } else { 0.0 }).sum()
}

#[track_caller]
fn wait_for(statsd: &Statsd, name: &str, expected: f64) {
    let until = clock::at().plus(SOON);
    while (number(statsd, name) - expected).abs() > 0.5 {
        assert!(clock::at() < until, "{name} is {}", number(statsd, name));
        thread::yield_now();
    }
}

#[test]
fn packets_over_both_sockets_are_counted_together() {
    let (_keep, directory) = crate::fsx::scratch();
    let path = directory.join("statsd.sock");
    let statsd = start(Some(path.clone()));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(statsd.address().unwrap()).unwrap();
    let unix = UnixDatagram::unbound().unwrap();
    unix.connect(&path).unwrap();
    for _ in 0..500 {
        udp.send(b"a:1|c\nb:5|g").unwrap();
        unix.send(b"a:2|c").unwrap();
    }
    wait_for(&statsd, "a", 1500.0);
    wait_for(&statsd, "groundcrew.statsd.packets", 1000.0);
    assert!((number(&statsd, "groundcrew.statsd.lines") - 1500.0).abs() < 0.5);
    statsd.shutdown();
    // The next agent takes the socket's place.
    let statsd = start(Some(path.clone()));
    assert_eq!(unix.send(b"a:1|c").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    unix.connect(&path).unwrap();
    unix.send(b"a:1|c").unwrap();
    wait_for(&statsd, "a", 1.0);
}

#[test]
fn the_longest_packets_are_whole_and_longer_ones_cut_off() {
    let (_keep, directory) = crate::fsx::scratch();
    let path = directory.join("statsd.sock");
    let statsd = start(Some(path.clone()));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    // 65,507 bytes are what IPv4 leaves of 65,535.
    let mut packet = "a:1|c\n".repeat(65_507 / 6).into_bytes();
    packet.resize(65_507, b'\n');
    udp.send_to(&packet, statsd.address().unwrap()).unwrap();
    wait_for(&statsd, "a", 10_917.0);
    let unix = UnixDatagram::unbound().unwrap();
    let packet = "b:1|c\n".repeat(15_000).into_bytes();
    unix.send_to(&packet, &path).unwrap();
    wait_for(&statsd, "b", 10_922.0);
    wait_for(&statsd, "groundcrew.statsd.dropped", 1.0);
}

#[test]
fn it_ends_at_once_also_under_a_flood() {
    let statsd = start(None);
    let address = statsd.address().unwrap();
    let go_on = std::sync::atomic::AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            while go_on.load(std::sync::atomic::Ordering::Relaxed) {
                // Refused once nobody listens.
                drop(udp.send_to(b"a:1|c", address));
            }
        });
        let until = clock::at().plus(SOON);
        while number(&statsd, "a") < 1000.0 && clock::at() < until {
            thread::yield_now();
        }
        let before = clock::at();
        statsd.shutdown();
        let took = clock::at().since(before);
        go_on.store(false, std::sync::atomic::Ordering::Relaxed);
        assert!(took < Duration::from_secs(2), "{took:?}");
    });
}

#[test]
fn an_address_that_is_taken_is_named_and_does_not_stop_the_agent() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().ok();
    let statsd = Statsd::start(Settings { listen, socket: None, series_max: 1 }).unwrap();
    let reason = statsd.reason().unwrap();
    let expected = format!("could not listen for StatsD on {}: ", listen.unwrap());
    assert!(reason.starts_with(&expected), "{reason}");
    assert_eq!((statsd.address(), number(&statsd, "a")), (None, 0.0));
    let before = clock::at();
    statsd.shutdown();
    assert!(clock::at().since(before) < AGAIN_AFTER / 2, "it does not wait for the next try");
}

#[test]
fn an_address_that_becomes_free_is_taken() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().ok();
    let settings = Settings { listen, socket: None, series_max: 1 };
    let statsd = Statsd::start_trying(settings, Duration::from_millis(20)).unwrap();
    assert!(statsd.reason().is_some());
    drop(taken);
    let until = clock::at().plus(SOON);
    while statsd.reason().is_some() {
        assert!(clock::at() < until, "{:?}", statsd.reason());
        thread::yield_now();
    }
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"a:1|c", listen.unwrap()).unwrap();
    wait_for(&statsd, "a", 1.0);
}
