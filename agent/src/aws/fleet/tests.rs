//! The SDK against a server on this machine that answers as AWS does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::{Credentials, credential_fn::provide_credentials_fn};
use bytes::Bytes;
use groundcrew_core::lifecycle::fleet::{HookResult, Transition};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::aws::autoscaling::Member;

/// By `Action` parameter: status and body.
type Answers = BTreeMap<&'static str, (u16, String)>;

struct FakeAws {
    url: String,
    /// Bodies of requests, as they came.
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl FakeAws {
    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::new(answers), Arc::clone(&asked)));
        Self { url, asked, _tasks: tasks }
    }

    fn clients(&self) -> FleetClients {
        FleetClients::with(&config(&self.url, SharedCredentialsProvider::new(credentials())))
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn credentials() -> Credentials {
    Credentials::new("AKIATEST", "secret", None, None, "test")
}

fn config(url: &str, credentials: SharedCredentialsProvider) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .endpoint_url(url)
        .credentials_provider(credentials)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}

async fn serve(listener: TcpListener, answers: Arc<Answers>, asked: Arc<Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
        connections.spawn(async move {
            let answer = service_fn(async |request: Request<Incoming>| {
                let body = request.into_body().collect().await?.to_bytes();
                let body = String::from_utf8(body.into()).unwrap();
                let action = body.strip_prefix("Action=").unwrap().split('&').next().unwrap();
                let (status, text) = answers[action].clone();
                asked.lock().unwrap().push(body);
                let mut response = Response::new(Full::new(Bytes::from(text)));
                *response.status_mut() = status.try_into().unwrap();
                Ok::<_, hyper::Error>(response)
            });
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
        });
    }
}

fn result(action: &str, inside: &str) -> (u16, String) {
    (200, format!("<{action}Response><{action}Result>{inside}</{action}Result></{action}Response>"))
}

fn failure(status: u16, code: &str, message: &str) -> (u16, String) {
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    (status, format!("<ErrorResponse>{error}</ErrorResponse>"))
}

#[tokio::test]
async fn a_membership_is_read() {
    let instance = "<AutoScalingInstances><member><InstanceId>i-1</InstanceId>\
        <AutoScalingGroupName>web</AutoScalingGroupName>\
        <LifecycleState>Terminating:Wait</LifecycleState></member></AutoScalingInstances>";
    let hooks = "<LifecycleHooks><member><LifecycleHookName>drain</LifecycleHookName>\
        <LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition>\
        <HeartbeatTimeout>300</HeartbeatTimeout><DefaultResult>CONTINUE</DefaultResult></member>\
        <member><LifecycleHookName>odd</LifecycleHookName>\
        <LifecycleTransition>autoscaling:SOMETHING_NEW</LifecycleTransition></member>\
        </LifecycleHooks>";
    let (old, new) = ("targetgroup/old/1", "targetgroup/new/2");
    let group = format!(
        "<AutoScalingGroups><member><AutoScalingGroupName>web</AutoScalingGroupName>\
        <TargetGroupARNs><member>arn:aws:elasticloadbalancing:eu-west-1:1:{old}</member>\
        </TargetGroupARNs><TrafficSources>\
        <member><Identifier>arn:aws:elasticloadbalancing:eu-west-1:1:{new}</Identifier></member>\
        <member><Identifier>arn:aws:elasticloadbalancing:eu-west-1:1:{old}</Identifier></member>\
        <member><Identifier>arn:aws:vpc-lattice:eu-west-1:1:targetgroup/tg-1</Identifier></member>\
        </TrafficSources></member></AutoScalingGroups>"
    );
    let fake = FakeAws::start(Answers::from([
        ("DescribeAutoScalingInstances", result("DescribeAutoScalingInstances", instance)),
        ("DescribeLifecycleHooks", result("DescribeLifecycleHooks", hooks)),
        ("DescribeAutoScalingGroups", result("DescribeAutoScalingGroups", &group)),
    ]))
    .await;
    let autoscaling = fake.clients().autoscaling;
    let member = Member { group: "web".into(), state: "Terminating:Wait".into() };
    assert_eq!(autoscaling.describe_instance("i-1").await, Ok(Some(member)));
    assert_eq!(autoscaling.describe_instance("i-2").await, Ok(None));
    let hooks = autoscaling.describe_lifecycle_hooks("web").await.unwrap();
    assert_eq!(hooks.len(), 1);
    assert_eq!((hooks[0].name.as_str(), hooks[0].transition), ("drain", Transition::Terminating));
    assert_eq!(hooks[0].heartbeat_timeout, Duration::from_mins(5));
    assert_eq!(hooks[0].global_timeout, Duration::from_mins(500));
    assert_eq!(hooks[0].default_result, HookResult::Continue);
    let arn = |name| format!("arn:aws:elasticloadbalancing:eu-west-1:1:{name}");
    assert_eq!(autoscaling.target_group_arns("web").await, Ok(vec![arn(new), arn(old)]));
}

#[tokio::test]
async fn what_is_said_is_what_the_api_asks_for() {
    let actions = [
        "RecordLifecycleActionHeartbeat",
        "CompleteLifecycleAction",
        "EnterStandby",
        "ExitStandby",
        "RegisterTargets",
    ];
    let fake = FakeAws::start(actions.map(|action| (action, result(action, ""))).into()).await;
    let FleetClients { autoscaling, balancing, .. } = fake.clients();
    autoscaling.record_heartbeat("web", "drain", "i-1").await.unwrap();
    autoscaling.complete_action("web", "drain", "i-1", HookResult::Abandon).await.unwrap();
    autoscaling.enter_standby("web", "i-1", true).await.unwrap();
    autoscaling.exit_standby("web", "i-1").await.unwrap();
    balancing.register(&["arn".to_owned()], "i-1").await.unwrap();
    let asked = fake.asked();
    for (asked, words) in asked.iter().zip([
        &["LifecycleHookName=drain", "AutoScalingGroupName=web", "InstanceId=i-1"][..],
        &["LifecycleHookName=drain", "LifecycleActionResult=ABANDON", "InstanceId=i-1"],
        &["InstanceIds.member.1=i-1", "ShouldDecrementDesiredCapacity=true"],
        &["InstanceIds.member.1=i-1", "AutoScalingGroupName=web"],
        &["TargetGroupArn=arn", "Targets.member.1.Id=i-1"],
    ]) {
        assert!(words.iter().all(|word| asked.contains(word)), "{asked}: {words:?}");
    }
    assert_eq!(asked.len(), 5);
}

#[tokio::test]
async fn failures_are_told_apart_by_what_follows_from_them() {
    for (answer, kind, text) in [
        (
            failure(400, "ValidationError", "No active Lifecycle Action found with instance ID i"),
            CallErrorKind::Gone,
            "No active Lifecycle Action found with instance ID i",
        ),
        (
            failure(400, "ValidationError", "AutoScalingGroup name not found"),
            CallErrorKind::Passing,
            "autoscaling:CompleteLifecycleAction failed with ValidationError: \
             AutoScalingGroup name not found",
        ),
        (
            failure(403, "AccessDenied", "no identity-based policy allows it"),
            CallErrorKind::Denied,
            "autoscaling:CompleteLifecycleAction is not allowed: \
             no identity-based policy allows it",
        ),
        (
            failure(403, "ExpiredToken", "the security token has expired"),
            CallErrorKind::Denied,
            "the credentials for autoscaling:CompleteLifecycleAction have expired: \
             the security token has expired",
        ),
        (
            failure(503, "ServiceUnavailable", "later"),
            CallErrorKind::Passing,
            "autoscaling:CompleteLifecycleAction failed with ServiceUnavailable: later",
        ),
        (
            (502, "<html>".to_owned()),
            CallErrorKind::Passing,
            "autoscaling:CompleteLifecycleAction failed with status 502",
        ),
    ] {
        let fake = FakeAws::start([("CompleteLifecycleAction", answer)].into()).await;
        let autoscaling = fake.clients().autoscaling;
        let outcome = autoscaling.complete_action("web", "drain", "i", HookResult::Continue).await;
        assert_eq!(outcome, Err(CallError { kind, text: text.to_owned() }));
        assert!(fake.asked().len() <= 2);
    }
}

#[tokio::test]
async fn all_target_groups_are_tried_and_one_that_is_gone_is_done() {
    let groups = ["arn:1/a/1".to_owned(), "arn:1/b/2".to_owned()];
    let gone = failure(400, "TargetGroupNotFound", "One or more target groups not found");
    let fake = FakeAws::start([("DeregisterTargets", gone)].into()).await;
    assert_eq!(fake.clients().balancing.deregister(&groups, "i-1").await, Ok(()));
    assert_eq!(fake.asked().len(), 2);
    let denied = failure(403, "AccessDenied", "no");
    let fake = FakeAws::start([("DeregisterTargets", denied)].into()).await;
    let error = fake.clients().balancing.deregister(&groups, "i-1").await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Denied);
    let expected = "target group a: elasticloadbalancing:DeregisterTargets is not allowed: no";
    assert_eq!(error.text, expected);
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn without_credentials_or_a_server_the_reason_is_named() {
    let none = SharedCredentialsProvider::new(provide_credentials_fn(async || {
        Err(CredentialsError::not_loaded("no role is attached"))
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let autoscaling = FleetClients::with(&config(&url, none)).autoscaling;
    let error = autoscaling.exit_standby("web", "i-1").await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Denied);
    assert!(error.text.starts_with("no credentials for autoscaling:ExitStandby"), "{error:?}");
    assert!(error.text.ends_with("no role is attached"), "{error:?}");

    let some = SharedCredentialsProvider::new(credentials());
    let autoscaling = FleetClients::with(&config(&url, some)).autoscaling;
    let error = autoscaling.exit_standby("web", "i-1").await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Passing);
    assert!(error.text.starts_with("autoscaling:ExitStandby could not be asked"), "{error:?}");
    assert!(error.text.contains("Connection refused"), "{error:?}");
}

#[tokio::test]
async fn settings_are_read_as_they_are() {
    let (arn, lb) =
        ("arn:aws:elasticloadbalancing:r:1:targetgroup/a/1", "arn:1:loadbalancer/app/b/2");
    let group = format!(
        "<AutoScalingGroups><member><AutoScalingGroupName>web</AutoScalingGroupName>\
        <HealthCheckType>ELB</HealthCheckType><HealthCheckGracePeriod>90</HealthCheckGracePeriod>\
        <TargetGroupARNs><member>{arn}</member></TargetGroupARNs><InstanceLifecyclePolicy>\
        <RetentionTriggers><TerminateHookAbandon>retain</TerminateHookAbandon></RetentionTriggers>\
        </InstanceLifecyclePolicy></member></AutoScalingGroups>"
    );
    let target_group = format!(
        "<TargetGroups><member><TargetGroupArn>{arn}</TargetGroupArn>\
        <TargetGroupName>a</TargetGroupName><Port>3000</Port>\
        <HealthCheckPort>9180</HealthCheckPort>\
        <HealthCheckIntervalSeconds>5</HealthCheckIntervalSeconds>\
        <UnhealthyThresholdCount>3</UnhealthyThresholdCount>\
        <HealthCheckPath>/ready</HealthCheckPath>\
        <LoadBalancerArns><member>{lb}</member></LoadBalancerArns></member></TargetGroups>"
    );
    let attribute = |key: &str, value: &str| {
        let member = format!("<member><Key>{key}</Key><Value>{value}</Value></member>");
        format!("<Attributes>{member}</Attributes>")
    };
    let delay = attribute("deregistration_delay.timeout_seconds", "17");
    let idle = attribute("idle_timeout.timeout_seconds", "61");
    let fake = FakeAws::start(Answers::from([
        ("DescribeAutoScalingGroups", result("DescribeAutoScalingGroups", &group)),
        ("DescribeTargetGroups", result("DescribeTargetGroups", &target_group)),
        ("DescribeTargetGroupAttributes", result("DescribeTargetGroupAttributes", &delay)),
        ("DescribeLoadBalancerAttributes", result("DescribeLoadBalancerAttributes", &idle)),
    ]))
    .await;
    let FleetClients { autoscaling, balancing, clock } = fake.clients();
    assert_eq!(clock.ahead_ms(), None);
    let member = Member { group: "web".into(), state: "InService".into() };
    let group = autoscaling.describe_group(&member).await.unwrap().unwrap();
    assert_eq!((group.health_check_type.as_str(), group.grace.as_secs()), ("ELB", 90));
    assert!(group.retains && group.target_groups == [arn], "{group:?}");
    let found = balancing.describe_target_groups(&group.target_groups).await.unwrap();
    let health = found[0].health.as_ref().unwrap();
    assert_eq!((health.port, health.path.as_deref()), (Some(9180), Some("/ready")));
    assert_eq!((health.interval.as_secs(), health.unhealthy), (5, 3));
    assert_eq!((found[0].port, found[0].balancers.as_slice()), (Some(3000), &[lb.to_owned()][..]));
    let attributes = balancing.target_group_attributes(arn).await.unwrap();
    assert_eq!(attributes.deregistration_delay, Some(Duration::from_secs(17)));
    assert_eq!(attributes.slow_start, None);
    assert_eq!(balancing.idle_timeout(lb).await, Ok(Some(Duration::from_secs(61))));
    // The server is this machine.
    assert_eq!(clock.ahead_ms(), Some(0));
}

#[tokio::test]
async fn what_does_not_exist_tells_what_is_allowed() {
    let fake = FakeAws::start(Answers::from([
        ("RecordLifecycleActionHeartbeat", failure(400, "ValidationError", "No active action")),
        ("CompleteLifecycleAction", failure(403, "AccessDenied", "no policy")),
        ("EnterStandby", failure(403, "SignatureDoesNotMatch", "Signature expired")),
        ("ExitStandby", failure(400, "ValidationError", "name not found")),
        ("DeregisterTargets", failure(400, "TargetGroupNotFound", "not found")),
        ("RegisterTargets", failure(403, "AccessDenied", "no policy")),
    ]))
    .await;
    let FleetClients { autoscaling, balancing, .. } = fake.clients();
    let tried = Box::pin(autoscaling.try_actions("web", "i-1")).await;
    let denied = Outcome::Denied("no policy".into());
    assert_eq!(tried[0].outcome, Outcome::Allowed);
    assert_eq!(tried[1], Action { name: "autoscaling:CompleteLifecycleAction", outcome: denied });
    assert!(matches!(&tried[2].outcome, Outcome::Unknown(why) if why.contains("expired")));
    assert_eq!(tried[3].outcome, Outcome::Allowed);
    let arn = "arn:aws:elasticloadbalancing:r:1:targetgroup/a/1";
    let tried = balancing.try_actions(arn, "i-1").await;
    assert_eq!(tried[0].outcome, Outcome::Allowed);
    assert!(matches!(tried[1].outcome, Outcome::Denied(_)));
    let asked = fake.asked();
    let changes = |asked: &&String| asked.contains("web") && !asked.contains("LifecycleAction");
    assert_eq!(asked.iter().find(changes), None, "{asked:#?}");
    assert!(!asked.iter().any(|asked| asked.contains("targetgroup%2Fa%2F1")), "{asked:#?}");
}
