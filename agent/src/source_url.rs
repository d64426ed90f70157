//! Where releases and channels live: `s3://bucket/prefix` or `file:///path`. Parsed once, for the
//! configuration and the command line alike.

use std::fmt;
use std::str::FromStr;

use camino::Utf8PathBuf;

/// The address of a source. Displays without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceUrl {
    /// Objects in a bucket.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// In front of every key, without slashes at its ends; may be empty.
        prefix: String,
    },
    /// Files in a directory.
    Directory {
        /// Absolute.
        path: Utf8PathBuf,
    },
}

/// A source that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url} {why}; write it like \"s3://bucket/prefix\" or \"file:///srv/releases\"")]
pub struct SourceUrlError {
    url: String,
    why: &'static str,
}

/// Bytes of a URL. S3 takes keys of 1,024 bytes; the longest name below a prefix needs less than
/// 200.
const URL_BYTES_MAX: usize = 800;

impl FromStr for SourceUrl {
    type Err = SourceUrlError;

    fn from_str(text: &str) -> Result<Self, SourceUrlError> {
        // Credentials in a URL are the one secret that can stand here: such a URL is not repeated.
        let shown: String = text.chars().take(80).collect();
        let url = if text.contains('@') { "this URL".to_owned() } else { format!("{shown:?}") };
        let refuse = |why| Err(SourceUrlError { url, why });
        if text.len() > URL_BYTES_MAX || text.chars().any(char::is_control) {
            return refuse("is too long or holds control characters");
        }
        let (parsed, path) = if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if !is_bucket(bucket) {
                return refuse("does not name a bucket");
            }
            let prefix = prefix.trim_end_matches('/');
            (Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() }, prefix)
        } else if let Some(path) = text.strip_prefix("file:///") {
            let path = path.trim_end_matches('/');
            if path.is_empty() {
                return refuse("names the root directory");
            }
            (Self::Directory { path: format!("/{path}").into() }, path)
        } else {
            return refuse("is not a source");
        };
        if !path.is_empty() && path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return refuse("has an empty part, \".\" or \"..\" in its path");
        }
        Ok(parsed)
    }
}

/// The rules of S3 for bucket names, as far as characters and length go.
fn is_bucket(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (3..=63).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with(['-', '.'])
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Directory { path } => write!(f, "file://{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_a_source_and_drops_the_last_slash() {
        let check = |text: &str, url: &str| {
            assert_eq!(text.parse::<SourceUrl>().unwrap().to_string(), url);
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
