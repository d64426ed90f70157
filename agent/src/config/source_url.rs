//! Where releases and channels live, as the configuration writes it.

use std::fmt;
use std::str::FromStr;

use super::problem::shown;

/// `s3://bucket`, `s3://bucket/prefix` or `file:///absolute/path`, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUrl(String);

/// A source that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url} {why}; write it like \"s3://bucket/prefix\" or \"file:///srv/releases\"")]
pub struct SourceUrlError {
    url: String,
    why: &'static str,
}

impl SourceUrl {
    /// The URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SourceUrl {
    type Err = SourceUrlError;

    fn from_str(text: &str) -> Result<Self, SourceUrlError> {
        // Credentials in a URL are the one secret that can stand here: such a URL is not repeated.
        let url = if text.contains('@') { "this URL".to_owned() } else { shown(text) };
        let refuse = |why| Err(SourceUrlError { url, why });
        let path = if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if !is_bucket(bucket) {
                return refuse("does not name a bucket");
            }
            prefix.trim_end_matches('/')
        } else if let Some(path) = text.strip_prefix("file:///") {
            path.trim_end_matches('/')
        } else {
            return refuse("is not a source");
        };
        if text.len() > 1024 || text.chars().any(char::is_control) {
            return refuse("is too long or holds control characters");
        }
        if !path.is_empty() && path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return refuse("has an empty part, \".\" or \"..\" in its path");
        }
        if path.is_empty() && text.starts_with("file:") {
            return refuse("names the root directory");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// The rules of S3 for bucket names, as far as characters and length go.
fn is_bucket(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (3..=63).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with(['-', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_a_source_and_drops_the_last_slash() {
        let check = |text: &str, url: &str| {
            assert_eq!(text.parse::<SourceUrl>().unwrap().as_str(), url);
        };
        check("s3://acme-releases/shop", "s3://acme-releases/shop");
        check("s3://acme-releases/shop/", "s3://acme-releases/shop");
        check("s3://acme-releases", "s3://acme-releases");
        check("file:///srv/releases", "file:///srv/releases");
    }

    #[test]
    fn refuses_what_is_not_and_repeats_no_credentials() {
        for text in [
            "",
            "s3://",
            "s3://A",
            "s3://ab//c",
            "s3://abc/../d",
            "file://host/x",
            "file:///",
            "https://x",
            "file:///a/../b",
            "s3:///x",
        ] {
            assert!(text.parse::<SourceUrl>().is_err(), "{text}");
        }
        let error = "s3://AKIA:secret@bucket/x".parse::<SourceUrl>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
