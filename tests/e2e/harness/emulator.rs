//! The AWS emulator, as a server of the test that needs it: it is ready in less than a second, and
//! tests of one process each could share one only with a lock file that somebody must clean up.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::{cache, fixture, http_client};

/// A running emulator. It ends when this is dropped or when the test dies: it reads a pipe that
/// the test holds.
pub struct Emulator {
    /// Such as `http://127.0.0.1:41234`.
    pub endpoint: String,
    child: Child,
    stdin: Option<ChildStdin>,
}

/// What of AWS is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Services {
    /// S3 alone: ready in half the time.
    S3,
    /// Everything.
    All,
}

/// Variables that point an AWS SDK at an endpoint, for a process under test.
pub fn sdk_environment(endpoint: &str) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

impl Emulator {
    /// The Python that has moto and boto3.
    pub fn python() -> PathBuf {
        std::env::var_os("GROUNDCREW_EMULATOR_PYTHON")
            .map_or_else(|| cache().join("emulator/bin/python"), PathBuf::from)
    }

    /// Starts one and waits until it listens.
    pub fn start(services: Services) -> Self {
        let python = Self::python();
        let mut command = Command::new(&python);
        command.args(["-m", "groundcrew_emulator", "--port", "0", "--until-stdin-closes"]);
        if services == Services::S3 {
            command.arg("--s3-only");
        }
        let mut child = command
            .current_dir(fixture("emulator"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("could not start {}: {error}; run scripts/setup", python.display())
            });
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the emulator said nothing");
        let endpoint = line.split_whitespace().last().unwrap_or_default().to_owned();
        assert!(endpoint.starts_with("http://"), "the emulator did not start: {line:?}");
        let stdin = child.stdin.take();
        Self { endpoint, child, stdin }
    }

    /// `127.0.0.1:41234`
    pub fn address(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }

    /// Makes an empty bucket.
    pub fn create_bucket(&self, name: &str) {
        let answer = self.s3("PUT", &format!("/{name}"), b"");
        assert_eq!(answer.status, 200, "create bucket {name}: {}", answer.text());
    }

    /// One plain S3 request, such as `GET /bucket/key`.
    pub fn s3(&self, method: &str, path: &str, body: &[u8]) -> http_client::Answer {
        // Moto checks no signature, it takes the service from the scope.
        let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request";
        http_client::request(self.address(), method, path, &[("Authorization", scope)], body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_keeps_objects_and_ends() {
        let emulator = Emulator::start(Services::S3);
        emulator.create_bucket("bucket");
        assert_eq!(emulator.s3("PUT", "/bucket/key", b"body").status, 200);
        assert_eq!(emulator.s3("GET", "/bucket/key", b"").text(), "body");
        let address = emulator.address().to_owned();
        drop(emulator);
        assert!(http_client::request(&address, "GET", "/", &[], b"").is_err());
    }
}
