//! The client against a real server on this machine.

use tokio::net::TcpListener;

use super::testing::{FakeImds, Mood};
use super::*;

const STATE: &str = "autoscaling/target-lifecycle-state";

async fn get(client: &Imds) -> Result<Option<String>, String> {
    client.get(STATE).await.map_err(|error| crate::errors::chain(&error))
}

#[track_caller]
fn assert_in_service(answer: Result<Option<String>, String>) {
    assert_eq!(answer.as_ref().map(Option::as_deref), Ok(Some("InService")));
}

#[tokio::test]
async fn token_and_connection_are_kept() {
    let fake = FakeImds::start().await;
    fake.set(STATE, "InService");
    let client = fake.client();
    for _ in 0..3 {
        assert_in_service(get(&client).await);
        assert_eq!(client.get("spot/instance-action").await.unwrap(), None);
    }
    let inside = fake.inside();
    assert_eq!((inside.tokens_given, inside.connections), (1, 1));
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let fake = FakeImds::start().await;
    fake.set(STATE, "InService");
    let client = fake.client();
    assert_in_service(get(&client).await);
    fake.inside().tokens.clear();
    assert_in_service(get(&client).await);
    assert_eq!(fake.inside().tokens_given, 2);
    fake.feel(Mood::Status(401));
    assert!(matches!(client.get(STATE).await, Err(ImdsError::Unauthorized)));
    assert_eq!(fake.inside().tokens_given, 3);
    fake.feel(Mood::Serving);
    assert_in_service(get(&client).await);
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends() {
    let fake = FakeImds::start().await;
    fake.set(STATE, "InService");
    fake.inside().ttl_s = 0;
    let client = fake.client();
    for _ in 0..3 {
        assert_in_service(get(&client).await);
    }
    assert_eq!(fake.inside().tokens_given, 3);
}

#[tokio::test]
async fn troubles_are_told_apart_and_pass() {
    let fake = FakeImds::start().await;
    fake.set(STATE, "InService");
    let client = fake.client();
    let switched_off =
        "the instance metadata service refuses to answer (403): it may be switched off";
    for (mood, expected) in [
        (Mood::TokenStatus(403), switched_off),
        (Mood::TokenStatus(500), "the instance metadata service answers 500"),
        (
            Mood::TokenStatus(404),
            "the instance metadata service answers what is not understood: status 404",
        ),
        (Mood::Status(403), switched_off),
        (Mood::Status(429), "the instance metadata service answers 429"),
        (Mood::Status(503), "the instance metadata service answers 503"),
        (
            Mood::Closing,
            "the instance metadata service cannot be reached: the connection was closed",
        ),
        (
            Mood::Noise,
            "the instance metadata service answers what is not understood: the answer is not HTTP",
        ),
        (
            Mood::Silent,
            "the instance metadata service does not answer within 1 s; \
             in a container the token needs a hop limit of 2",
        ),
    ] {
        fake.feel(mood);
        // What was kept from before would hide how the service greets.
        let fresh = fake.client();
        assert_eq!(get(&fresh).await, Err(expected.to_owned()), "{mood:?}");
        fake.feel(Mood::Serving);
        assert_in_service(get(&fresh).await);
        assert_in_service(get(&client).await);
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_in_between_is_replaced() {
    let fake = FakeImds::start().await;
    fake.set(STATE, "InService");
    let client = fake.client();
    assert_in_service(get(&client).await);
    fake.feel(Mood::Closing);
    assert!(get(&client).await.is_err());
    fake.feel(Mood::Serving);
    assert_in_service(get(&client).await);
    assert_eq!(fake.inside().tokens_given, 1);
}

#[tokio::test]
async fn what_is_no_text_or_too_long_is_garbage() {
    let fake = FakeImds::start().await;
    let client = fake.client();
    for value in [vec![0xff, 0xfe], vec![b'x'; ANSWER_BYTES_MAX + 1]] {
        fake.inside().values.insert(STATE, value);
        assert!(matches!(client.get(STATE).await, Err(ImdsError::Garbage(_))));
    }
    fake.inside().values.insert(STATE, vec![b'x'; ANSWER_BYTES_MAX]);
    assert_eq!(client.get(STATE).await.unwrap().unwrap().len(), ANSWER_BYTES_MAX);
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let said = get(&Imds::at(&url)).await.unwrap_err();
    assert!(said.contains("cannot be reached: Connection refused"), "{said}");
    let said = get(&Imds::at("nonsense")).await.unwrap_err();
    assert!(said.contains("`nonsense`, which is no http:// address"), "{said}");
}

#[test]
fn addresses_are_taken_apart() {
    let check = |url: &str, host: &str, port: u16, prefix: &str| {
        let endpoint = Endpoint::parse(url).unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port));
        assert_eq!(endpoint.prefix, prefix);
    };
    check(IPV4, "169.254.169.254", 80, "");
    check(IPV6, "fd00:ec2::254", 80, "");
    check("http://localhost:1338/imds/", "localhost", 1338, "/imds");
    for url in ["", "169.254.169.254", "https://169.254.169.254", "http://"] {
        assert!(Endpoint::parse(url).is_err(), "{url}");
    }
}
