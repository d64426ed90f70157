//! People are told elsewhere: each service in its own words, through failures, once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ring::hmac;
use toml::Value;

use crate::harness::agent::{Agent, World};
use crate::harness::app::Release;
use crate::harness::emulator::{Emulator, Services};
use crate::harness::hook_endpoint::{Fault, HookEndpoint, Posted, SECRET};
use crate::harness::{http_client, wait_until};

/// A `[[notify]]` table.
fn table(entries: &[(&str, &str)]) -> Value {
    let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value)));
    Value::Table(entries.collect())
}

/// A world whose agents trust the endpoint.
fn world(endpoint: &HookEndpoint) -> World {
    let mut world = World::new();
    world.set_environment("AWS_CA_BUNDLE", endpoint.certificate());
    world
}

fn webhook(endpoint: &HookEndpoint) -> Value {
    table(&[
        ("name", "hook"),
        ("kind", "webhook"),
        ("url", &endpoint.url("hook")),
        ("secret_file", &endpoint.file("secret", SECRET)),
    ])
}

/// All services at once.
fn everybody(endpoint: &HookEndpoint) -> Value {
    Value::Array(vec![
        webhook(endpoint),
        table(&[
            ("name", "chat"),
            ("kind", "slack"),
            ("url_file", &endpoint.file("slack", &endpoint.url("slack"))),
            ("title", "{{ level|upper }} {{ text }}"),
        ]),
        table(&[
            ("name", "pager"),
            ("kind", "pagerduty"),
            ("key_file", &endpoint.file("pagerduty", "pd-key")),
            ("url", &endpoint.url("pagerduty")),
        ]),
        table(&[
            ("name", "genie"),
            ("kind", "opsgenie"),
            ("key_file", &endpoint.file("opsgenie", "og-key")),
            ("url", &endpoint.url("opsgenie")),
        ]),
    ])
}

/// As a receiver does it.
#[track_caller]
fn assert_signed(posted: &Posted) {
    let (id, at) = (posted.header("webhook-id"), posted.header("webhook-timestamp"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, format!("{id}.{at}.{}", posted.body).as_bytes());
    let expected = format!("v1,{}", base64(tag.as_ref()));
    assert_eq!(posted.header("webhook-signature"), expected, "{posted:#?}");
}

/// With padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| usize::from(chunk.get(at).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for digit in 0..4 {
            let known = digit <= chunk.len();
            let digit = DIGITS[(bits >> (18 - 6 * digit)) & 63];
            text.push(if known { char::from(digit) } else { '=' });
        }
    }
    text
}

#[test]
fn a_bad_release_and_a_good_one_reach_every_service_in_its_own_words() {
    let endpoint = HookEndpoint::start();
    let world = world(&endpoint);
    world.release(&Release::web("v1", world.port));
    let dsn = endpoint.url("sentry/7").replacen("https://", "https://dsn-key@", 1);
    let agent = Agent::start_with(
        &world,
        &[("notify", everybody(&endpoint)), ("errors.dsn_file", endpoint.file("dsn", &dsn).into())],
    );
    agent.wait_for_settled("v1");
    let ended = world.cli(&["notify", "test"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.stdout.lines().count(), 4, "{ended:#?}");
    assert_eq!(world.cli(&["notify", "test", "nobody"]).code, Some(1));

    world.release(&Release::web("v2", world.port).app("BOOT", "throw"));
    agent.wait_for_rejected("v2");
    let hook = endpoint.wait_for("/hook", "deployment-rejected");
    assert_signed(&hook);
    let event = &hook.json()["data"]["event"];
    assert_eq!((&event["release"], &event["level"]), (&"v2".into(), &"error".into()));
    let slack = endpoint.wait_for("/slack", "ERROR v2 rejected");
    assert_eq!(slack.json().as_object().unwrap().len(), 1);
    let pager = endpoint.wait_for("/pagerduty/v2/enqueue", "v2 rejected").json();
    assert_eq!(
        (&pager["event_action"], &pager["routing_key"]),
        (&"trigger".into(), &"pd-key".into())
    );
    let key = "groundcrew/production/deployment-rejected/v2";
    assert_eq!(pager["dedup_key"].as_str().unwrap().split('/').count(), key.split('/').count());
    let genie = endpoint.wait_for("/opsgenie/v2/alerts", "v2 rejected");
    assert_eq!(genie.header("authorization"), "GenieKey og-key");
    let sentry = endpoint.wait_for("/sentry/api/7/envelope/", "thrown at boot");
    assert!(sentry.header("x-sentry-auth").contains("sentry_key=dsn-key"));
    let event: serde_json::Value =
        serde_json::from_str(sentry.body.lines().nth(2).expect("an event")).unwrap();
    assert_eq!((&event["release"], &event["tags"]["tier"]), (&"v2".into(), &"web".into()));

    world.release(&Release::web("v3", world.port));
    agent.wait_for_settled("v3");
    wait_until(Duration::from_secs(20), "the incident of v2 is resolved", || {
        let events = endpoint.posted("/pagerduty").into_iter().map(|posted| posted.json());
        let ends: Vec<_> = events.filter(|event| event["event_action"] == "resolve").collect();
        let found = ends.iter().any(|end| end["dedup_key"] == pager["dedup_key"]);
        if found { Ok(()) } else { Err(ends) }
    });
    endpoint.wait_for("/opsgenie/v2/alerts/", "v3 settled");
    endpoint.wait_for("/hook", "deployment-settled");
    let metrics = http_client::get(&agent.http_address(), "/metrics").unwrap().text();
    assert!(metrics.contains(r#"groundcrew_deployments_total{reason="rejected"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"groundcrew_deployments_total{reason="settled"} 1"#), "{metrics}");
}

#[test]
fn what_fails_comes_later_and_what_was_answered_once_comes_once() {
    let mut endpoint = HookEndpoint::start();
    let world = world(&endpoint);
    world.release(&Release::web("v1", world.port));
    let notify = Value::Array(vec![webhook(&endpoint)]);
    let mut agent = Agent::start_with(&world, &[("notify", notify)]);
    agent.wait_for_settled("v1");
    endpoint.wait_for("/hook", "v1 settled");

    endpoint.fail(&[Fault::Status(500), Fault::RetryAfter(2), Fault::ReplyLost]);
    world.release(&Release::web("v2", world.port));
    endpoint.wait_for("/hook", "v2 settled");
    let started: Vec<_> = endpoint.posted("/hook");
    let started = started.iter().filter(|posted| posted.body.contains("v2 is rolled out"));
    let tries: Vec<_> = started.map(|p| (p.status, p.header("webhook-id").to_owned())).collect();
    let statuses: Vec<_> = tries.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [500, 429, 0, 200]);
    assert_eq!(tries.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len(), 1, "{tries:?}");

    // An alarm that is decided while nobody can be told, just before the agent dies.
    endpoint.go_away();
    world.release(&Release::web("v3", world.port).app("BOOT", "throw"));
    agent.wait_for_rejected("v3");
    agent.kill();
    endpoint.come_back();
    agent.restart();
    endpoint.wait_for("/hook", "v3 rejected");
    let ids: Vec<_> = endpoint.posted("/hook");
    let ids: Vec<_> =
        ids.iter().filter(|p| p.status == 200).map(|p| p.header("webhook-id")).collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "told twice: {ids:?}");
}

#[test]
fn a_crash_loop_is_an_alarm_and_its_exception_an_error() {
    let endpoint = HookEndpoint::start();
    let world = world(&endpoint);
    world.release(&Release::web("v1", world.port).set("tier.web.processes", 1));
    let dsn = endpoint.url("sentry/7").replacen("https://", "https://dsn-key@", 1);
    let mut only = webhook(&endpoint);
    let topics = only.as_table_mut().unwrap();
    topics.insert("topics".to_owned(), vec!["crash-loop", "crash-loop-over"].into());
    let more = [
        ("notify", Value::Array(vec![only])),
        ("errors.dsn_file", endpoint.file("dsn", &dsn).into()),
    ];
    let agent = Agent::start_with(&world, &more);
    agent.wait_for_settled("v1");
    let address = format!("127.0.0.1:{}", world.port);
    let alarm = wait_until(Duration::from_mins(1), "a crash loop is told", || {
        // It has no time to answer.
        drop(http_client::get(&address, "/crash"));
        endpoint.posted("/hook").first().cloned().ok_or("nothing was told")
    });
    assert_signed(&alarm);
    let event = &alarm.json()["data"]["event"];
    assert_eq!((&event["topic"], &event["tier"]), (&"crash-loop".into(), &"web".into()));
    let error = endpoint.wait_for("/sentry/api/7/envelope/", "\"exception\"");
    let event: serde_json::Value =
        serde_json::from_str(error.body.lines().nth(2).expect("an event")).unwrap();
    assert_eq!(event["exception"]["values"][0]["type"], "Error", "{event:#}");
    assert_eq!((&event["release"], &event["environment"]), (&"v1".into(), &"test".into()));
    assert!(endpoint.posted("/sentry").len() < 3, "the same error is sent once");
}

#[test]
fn a_drain_is_told_before_the_agent_goes() {
    let endpoint = HookEndpoint::start();
    let world = world(&endpoint);
    world.release(&Release::web("v1", world.port));
    let notify = Value::Array(vec![webhook(&endpoint)]);
    let mut agent = Agent::start_with(&world, &[("notify", notify)]);
    agent.wait_for_settled("v1");
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(agent.wait(), Some(0));
    for topic in ["drain-begun", "drain-ended", "the agent goes"] {
        assert!(
            endpoint.posted("/hook").iter().any(|posted| posted.body.contains(topic)),
            "{topic}"
        );
    }
}

#[test]
fn an_agent_that_goes_waits_for_no_target_that_hangs() {
    let endpoint = HookEndpoint::start();
    let world = world(&endpoint);
    world.release(&Release::web("v1", world.port));
    let chat = endpoint.file("slack", &endpoint.url("slack"));
    let chat = table(&[("name", "chat"), ("kind", "slack"), ("url_file", &chat)]);
    let notify = Value::Array(vec![webhook(&endpoint), chat]);
    let mut agent = Agent::start_with(&world, &[("notify", notify)]);
    agent.wait_for_settled("v1");
    endpoint.wait_for("/hook", "v1 settled");
    endpoint.wait_for("/slack", "v1 settled");

    endpoint.fail_at("/hook", &[Fault::Hangs]);
    let began = Instant::now();
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(agent.wait(), Some(0));
    let took = began.elapsed();
    // An exchange that hangs takes 15 s by itself.
    assert!(took < Duration::from_secs(13), "it took {took:?}");
    assert!(!agent.log().contains("not everything ended"), "{}", agent.log());
    endpoint.wait_for("/slack", "the agent goes");
    // What nobody answered comes later, and what somebody answered does not come again.
    agent.restart();
    endpoint.wait_for("/hook", "the agent goes");
    let goes = endpoint.posted("/slack");
    assert_eq!(goes.iter().filter(|posted| posted.body.contains("the agent goes")).count(), 1);
}

#[test]
fn sns_is_asked_where_the_topic_is_and_again_when_it_throttles() {
    let endpoint = HookEndpoint::start();
    let mut world = world(&endpoint);
    let address = endpoint.url("sns");
    for (name, value) in [
        ("AWS_ENDPOINT_URL_SNS", address.as_str()),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ] {
        world.set_environment(name, value);
    }
    endpoint.fail(&[Fault::Sns("KMSThrottling")]);
    world.release(&Release::web("v1", world.port));
    let topic = "arn:aws:sns:us-west-2:123456789012:ops";
    let target = table(&[("name", "mail"), ("kind", "sns"), ("topic_arn", topic)]);
    let agent = Agent::start_with(&world, &[("notify", Value::Array(vec![target]))]);
    agent.wait_for_settled("v1");
    endpoint.wait_for("/sns", "settled");
    let posted = endpoint.posted("/sns");
    assert_eq!((posted[0].status, posted[1].status), (400, 200));
    // The SDK's order of attributes changes.
    let subject = |posted: &Posted| {
        let part = posted.body.split('&').find(|part| part.starts_with("Subject="));
        part.map(str::to_owned).ok_or(posted.body.clone())
    };
    assert_eq!(subject(&posted[0]).unwrap(), subject(&posted[1]).unwrap());
    for posted in posted {
        let signed = posted.header("authorization");
        assert!(signed.contains("/us-west-2/sns/aws4_request"), "{signed}");
    }
}

#[test]
fn sns_gets_subject_text_and_attributes() {
    let emulator = Emulator::start(Services::All);
    let call = |service: &str, body: &str| {
        let scope =
            format!("AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request");
        let form = "application/x-www-form-urlencoded";
        let headers = [("Authorization", scope.as_str()), ("Content-Type", form)];
        let answer =
            http_client::request(emulator.address(), "POST", "/", &headers, body.as_bytes());
        answer.expect("the emulator answers").text()
    };
    let arn = |service: &str| format!("arn:aws:{service}:us-east-1:123456789012:ops");
    call("sqs", "Action=CreateQueue&QueueName=ops&Version=2012-11-05");
    call("sns", "Action=CreateTopic&Name=ops&Version=2010-03-31");
    let (topic, queue) = (arn("sns"), arn("sqs"));
    call(
        "sns",
        &format!(
            "Action=Subscribe&TopicArn={topic}&Protocol=sqs&Endpoint={queue}&Version=2010-03-31"
        ),
    );
    let mut world = World::new();
    for (name, value) in [
        ("AWS_ENDPOINT_URL_SNS", emulator.endpoint.as_str()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ] {
        world.set_environment(name, value);
    }
    world.release(&Release::web("v1", world.port));
    let target = table(&[("name", "mail"), ("kind", "sns"), ("topic_arn", &topic)]);
    let agent = Agent::start_with(&world, &[("notify", Value::Array(vec![target]))]);
    agent.wait_for_settled("v1");
    let receive = "Action=ReceiveMessage&QueueUrl=http://localhost/123456789012/ops\
                   &MaxNumberOfMessages=10&VisibilityTimeout=0&Version=2012-11-05";
    let found = wait_until(Duration::from_secs(30), "the topic has the release", || {
        let text = call("sqs", receive);
        if text.contains("v1 settled") { Ok(text) } else { Err(text) }
    });
    for part in ["deployment-settled", "Subject", "MessageAttributes", "environment"] {
        assert!(found.contains(part), "{part}: {found}");
    }
}
