//! Each fault against a server that counts, and the next request without it.

use super::super::http_client::{Answer as Got, get, request};
use super::*;
use std::io::{Read, Write};
use std::time::Instant;

const BODY_BYTES: usize = 100_000;

/// A server that answers every request with the same body and counts them.
fn upstream() -> (String, Arc<Mutex<u64>>) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&count);
    // Ends with the test process: the thread owns nothing that outlives it.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = vec![0; 8192];
            if stream.read(&mut head).unwrap() == 0 {
                continue;
            }
            *counter.lock().unwrap() += 1;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
            drop(stream.write_all(&[head.as_bytes(), &vec![b'x'; BODY_BYTES]].concat()));
        }
    });
    (address, count)
}

fn check(fault: Option<Fault>, verify: impl Fn(std::io::Result<Got>, Duration, u64)) {
    let (upstream, count) = upstream();
    let proxy = FaultProxy::start(&upstream);
    if let Some(fault) = fault {
        proxy.inject_times(fault, 1);
    }
    let started = Instant::now();
    let answer = get(&proxy.address(), "/bucket/key?x=1");
    verify(answer, started.elapsed(), *count.lock().unwrap());
    // The next one goes well: the fault was for one request.
    assert_eq!(get(&proxy.address(), "/").unwrap().body.len(), BODY_BYTES);
    let seen = proxy.seen();
    assert_eq!((seen[0].path.as_str(), seen[0].fault), ("/bucket/key?x=1", fault));
    assert_eq!((proxy.requests(), seen[1].fault), (2, None));
}

#[test]
fn without_a_fault_the_answer_is_the_servers() {
    check(None, |answer, _, count| {
        assert_eq!(answer.unwrap().body, vec![b'x'; BODY_BYTES]);
        assert_eq!(count, 1);
    });
}

#[test]
fn a_cut_body_ends_early() {
    check(Some(Fault::CutAfter(1000)), |answer, _, _| assert!(answer.is_err()));
}

#[test]
fn a_lost_answer_was_an_accepted_request() {
    check(Some(Fault::AnswerLost), |answer, _, count| {
        assert!(answer.is_err());
        assert_eq!(count, 1);
    });
}

#[test]
fn a_corrupt_body_differs_in_one_byte() {
    check(Some(Fault::Corrupt { at: 70_000 }), |answer, _, _| {
        let body = answer.unwrap().body;
        let wrong: Vec<_> = (0..body.len()).filter(|at| body[*at] != b'x').collect();
        assert_eq!((body.len(), wrong), (BODY_BYTES, vec![70_000]));
    });
}

#[test]
fn slow_down_never_reaches_the_server() {
    check(Some(Fault::SlowDown), |answer, _, count| {
        let answer = answer.unwrap();
        assert_eq!((answer.status, count), (503, 0));
        assert!(answer.text().contains("<Code>SlowDown</Code>"));
    });
}

#[test]
fn delayed_and_throttled_answers_take_their_time() {
    check(Some(Fault::Delay(Duration::from_millis(200))), |answer, took, _| {
        assert!(answer.is_ok() && took >= Duration::from_millis(200), "{took:?}");
    });
    check(Some(Fault::Throttle { rate: 500_000 }), |answer, took, _| {
        assert_eq!(answer.unwrap().body.len(), BODY_BYTES);
        assert!(took >= Duration::from_millis(150), "{took:?}");
    });
}

#[test]
fn it_refuses_and_heals_on_the_same_port() {
    let (upstream, _) = upstream();
    let proxy = FaultProxy::start(&upstream);
    assert!(get(&proxy.address(), "/").is_ok());
    proxy.refuse();
    let error = get(&proxy.address(), "/").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    proxy.heal();
    assert!(get(&proxy.address(), "/").is_ok());
}

#[test]
fn rules_pick_their_requests() {
    let (upstream, _) = upstream();
    let proxy = FaultProxy::start(&upstream);
    proxy.inject_for("GET", "/artifacts/", Fault::SlowDown, None);
    assert_eq!(get(&proxy.address(), "/channels/production.json").unwrap().status, 200);
    assert_eq!(get(&proxy.address(), "/artifacts/1").unwrap().status, 503);
    let head = request(&proxy.address(), "POST", "/artifacts/1", &[], b"x").unwrap();
    assert_eq!(head.status, 200);
}

#[test]
fn hanging_ends_with_the_proxy() {
    let (upstream, _) = upstream();
    let proxy = FaultProxy::start(&upstream);
    proxy.inject(Fault::Hang);
    let mut stream = std::net::TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    super::super::wait_until(Duration::from_secs(5), "the request is seen", || {
        if proxy.requests() == 1 { Ok(()) } else { Err(proxy.requests()) }
    });
    drop(proxy);
    let ended = stream.read(&mut [0; 16]);
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

/// What an SDK does to S3: an upload in parts, HEAD, ranges, a conditional write; and what a lost
/// answer makes of that one: the object is there, and the retry is refused.
const SDK_SCRIPT: &str = r#"
import io, sys, boto3, botocore.config, botocore.exceptions
s3 = boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1",
    aws_access_key_id="test", aws_secret_access_key="test",
    config=botocore.config.Config(s3={"addressing_style": "path"}))
body = bytes(range(256)) * 40_000
s3.upload_fileobj(io.BytesIO(body), "bucket", "artifact")
assert s3.head_object(Bucket="bucket", Key="artifact")["ContentLength"] == len(body)
part = s3.get_object(Bucket="bucket", Key="artifact", Range="bytes=5000000-5000999")
assert part["Body"].read() == body[5000000:5001000]
assert s3.get_object(Bucket="bucket", Key="artifact")["Body"].read() == body
try:
    s3.put_object(Bucket="bucket", Key="lost", Body=b"x" * 3_000_000, IfNoneMatch="*")
    sys.exit("the second try was not refused")
except botocore.exceptions.ClientError as error:
    assert error.response["Error"]["Code"] == "PreconditionFailed", error
assert s3.head_object(Bucket="bucket", Key="lost")["ContentLength"] == 3_000_000
"#;

#[test]
fn an_sdk_works_with_s3_through_the_proxy() {
    use super::super::emulator::{Emulator, Services};
    let emulator = Emulator::start(Services::S3);
    emulator.create_bucket("bucket");
    let proxy = FaultProxy::start(emulator.address());
    proxy.inject_for("PUT", "/bucket/lost", Fault::AnswerLost, Some(1));
    let output = std::process::Command::new(Emulator::python())
        .args(["-c", SDK_SCRIPT, &proxy.endpoint()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen = proxy.seen();
    assert_eq!(seen.iter().filter(|seen| seen.path.starts_with("/bucket/lost")).count(), 3);
    assert!(seen.iter().any(|seen| seen.range.as_deref() == Some("bytes=5000000-5000999")));
}
