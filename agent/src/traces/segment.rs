//! A noted request as a segment of X-Ray. Pure; the ids that a request lacks are made of numbers
//! that come in. Nothing of a request is in it but what X-Ray has a field for: no query, no
//! cookies.

use groundcrew_core::traces::Note;
use groundcrew_core::traces::header::{SegmentId, TraceId};
use groundcrew_core::traces::queue::Document;
use groundcrew_core::types::{ProcessId, Version};
use serde::Serialize;

/// What is X-Ray's name for an instance, as the origin of a segment.
const ORIGIN: &str = "AWS::EC2::Instance";

/// Who answered.
#[derive(Debug, Clone)]
pub struct Answerer<'a> {
    /// The process; its tier is the segment's name.
    pub process: &'a ProcessId,
    /// Its release.
    pub release: &'a Version,
    /// Of the host.
    pub environment: &'a str,
    /// `None` off EC2.
    pub instance: Option<&'a str>,
}

/// Random numbers for the ids of one segment.
#[derive(Debug, Clone, Copy)]
pub struct Random {
    /// For a trace that begins here.
    pub trace: u128,
    /// For the segment.
    pub segment: u64,
}

/// The fields of X-Ray's segment documents (developer guide, "segment documents").
#[derive(Serialize)]
struct Segment<'a> {
    name: &'a str,
    id: &'a str,
    trace_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    start_time: f64,
    end_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aws: Option<Aws<'a>>,
    service: Service<'a>,
    http: Http<'a>,
    annotations: Annotations<'a>,
    #[serde(skip_serializing_if = "is_false")]
    error: bool,
    #[serde(skip_serializing_if = "is_false")]
    throttle: bool,
    #[serde(skip_serializing_if = "is_false")]
    fault: bool,
}

#[derive(Serialize)]
struct Aws<'a> {
    ec2: Ec2<'a>,
}

#[derive(Serialize)]
struct Ec2<'a> {
    instance_id: &'a str,
}

#[derive(Serialize)]
struct Service<'a> {
    version: &'a str,
}

#[derive(Serialize)]
struct Http<'a> {
    request: Request<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response>,
}

#[derive(Serialize)]
struct Request<'a> {
    method: &'a str,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    x_forwarded_for: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

#[derive(Serialize)]
struct Response {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_length: Option<u64>,
}

/// What traces are searched by.
#[derive(Serialize)]
struct Annotations<'a> {
    release: &'a str,
    process: &'a str,
    environment: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(is: &bool) -> bool {
    !is
}

/// The segment of a request.
pub fn document(
    note: &Note,
    answerer: &Answerer<'_>,
    random: Random,
) -> Result<Document, serde_json::Error> {
    let id = SegmentId(random.segment).to_string();
    let end_time = note.ended.0 as f64 / 1000.0;
    let trace = note.header.root.unwrap_or_else(|| TraceId::new(note.ended, random.trace));
    let status = note.status;
    let process = answerer.process.to_string();
    let segment = Segment {
        name: answerer.process.tier.as_str(),
        id: &id,
        trace_id: trace.to_string(),
        parent_id: note.header.parent.map(|parent| parent.to_string()),
        start_time: end_time - note.took_us as f64 / 1e6,
        end_time,
        origin: answerer.instance.map(|_| ORIGIN),
        aws: answerer.instance.map(|instance_id| Aws { ec2: Ec2 { instance_id } }),
        service: Service { version: answerer.release.as_str() },
        http: Http {
            request: Request {
                method: &note.method,
                url: url(note),
                client_ip: note.client.as_deref(),
                // X-Ray's mark for an address that the client may have made up.
                x_forwarded_for: note.client.is_some(),
                user_agent: note.agent.as_deref(),
            },
            response: status.map(|status| Response { status, content_length: note.bytes }),
        },
        annotations: Annotations {
            release: answerer.release.as_str(),
            process: &process,
            environment: answerer.environment,
        },
        // A client that did not wait for the answer counts as its own mistake, as with 499.
        error: status.is_none_or(|status| (400..500).contains(&status)),
        throttle: status == Some(429),
        fault: status.is_some_and(|status| status >= 500),
    };
    let text = serde_json::to_string(&segment)?;
    Ok(Document { id, text })
}

fn url(note: &Note) -> String {
    // Requests to proxies name the whole URL themselves, and `*` is no path.
    match &note.host {
        Some(host) if note.path.starts_with('/') => {
            let scheme = if note.https { "https" } else { "http" };
            format!("{scheme}://{host}{}", note.path)
        }
        _ => note.path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use groundcrew_core::time::Wall;
    use groundcrew_core::traces::header::Header;
    use groundcrew_core::traces::queue::DOCUMENT_BYTES_MAX;
    use serde_json::{Value, json};

    use super::*;

    fn note() -> Note {
        Note {
            header: Header::parse(
                "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
            ),
            method: "GET".to_owned(),
            path: "/cart".to_owned(),
            host: Some("shop.example.com".to_owned()),
            https: true,
            client: Some("203.0.113.9".to_owned()),
            agent: Some("curl/8.5.0".to_owned()),
            status: Some(200),
            bytes: Some(12),
            ended: Wall(1_700_000_000_500),
            took_us: 250_000,
        }
    }

    fn segment(note: &Note, instance: Option<&str>) -> Value {
        let answerer = Answerer {
            process: &"web.17.1".parse().unwrap(),
            release: &"v42".parse().unwrap(),
            environment: "production",
            instance,
        };
        let random = Random { trace: 7, segment: 0xabc };
        let document = document(note, &answerer, random).unwrap();
        assert_eq!(document.id, "0000000000000abc");
        assert!(document.text.len() < DOCUMENT_BYTES_MAX);
        serde_json::from_str(&document.text).unwrap()
    }

    #[test]
    fn a_request_as_x_ray_shows_it() {
        let expected = json!({
            "name": "web", "id": "0000000000000abc",
            "trace_id": "1-5759e988-bd862e3fe1be46a994272793", "parent_id": "53995c3f42cd8ad8",
            "start_time": 1_700_000_000.25, "end_time": 1_700_000_000.5,
            "origin": "AWS::EC2::Instance", "aws": {"ec2": {"instance_id": "i-0a1b2c3d4e5f67890"}},
            "service": {"version": "v42"},
            "http": {
                "request": {
                    "method": "GET", "url": "https://shop.example.com/cart",
                    "client_ip": "203.0.113.9", "x_forwarded_for": true, "user_agent": "curl/8.5.0",
                },
                "response": {"status": 200, "content_length": 12},
            },
            "annotations": {
                "release": "v42", "process": "web.17.1", "environment": "production",
            },
        });
        assert_eq!(segment(&note(), Some("i-0a1b2c3d4e5f67890")), expected);
    }

    #[test]
    fn a_request_without_anything_begins_a_trace() {
        let bare = Note {
            header: Header::default(),
            host: None,
            client: None,
            agent: None,
            bytes: None,
            ..note()
        };
        let segment = segment(&bare, None);
        assert_eq!(segment["trace_id"], "1-6553f100-000000000000000000000007");
        assert_eq!(segment["http"]["request"], json!({"method": "GET", "url": "/cart"}));
        assert!(segment.get("parent_id").is_none() && segment.get("origin").is_none());
    }

    #[test]
    fn how_it_ended_is_marked() {
        let check = |status, marks: &[&str]| {
            let segment = segment(&Note { status, ..note() }, None);
            let set = ["error", "throttle", "fault"].into_iter();
            let set: Vec<_> = set.filter(|mark| segment.get(mark).is_some()).collect();
            assert_eq!(set, marks, "{status:?}");
        };
        check(Some(302), &[]);
        check(Some(404), &["error"]);
        check(Some(429), &["error", "throttle"]);
        check(Some(503), &["fault"]);
        check(None, &["error"]);
    }
}
