//! Where releases live: `s3://bucket/prefix` or `file:///path`.

use std::fmt;
use std::str::FromStr;

use camino::Utf8PathBuf;

/// The address of a source.
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

/// What was offered as the address of a source, and why it is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {why}; a source looks like s3://bucket/prefix or file:///path")]
pub struct SourceUrlError {
    text: String,
    why: &'static str,
}

/// Bytes of a prefix. S3 takes keys of 1,024 bytes; the longest name below a prefix needs less than 200.
const PREFIX_BYTES_MAX: usize = 800;

impl FromStr for SourceUrl {
    type Err = SourceUrlError;

    fn from_str(text: &str) -> Result<Self, SourceUrlError> {
        let refuse = |why| Err(SourceUrlError { text: text.chars().take(200).collect(), why });
        if text.chars().any(char::is_control) {
            return refuse("holds a control character");
        }
        if let Some(path) = text.strip_prefix("file://") {
            if !path.starts_with('/') {
                return refuse("names no absolute path");
            }
            if path.split('/').any(|component| component == "..") {
                return refuse("has a '..' component");
            }
            return Ok(Self::Directory { path: path.into() });
        }
        let Some(rest) = text.strip_prefix("s3://") else {
            return refuse("is not a source");
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // The naming rules of the S3 user guide, for buckets of today and of before 2018.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !(3..=255).contains(&bucket.len()) || !bucket.chars().all(allowed) {
            return refuse("names no valid bucket");
        }
        let prefix = prefix.trim_matches('/');
        if prefix.len() > PREFIX_BYTES_MAX {
            return refuse("has a prefix of more than 800 bytes");
        }
        if prefix.split('/').any(|c| matches!(c, "." | ".."))
            || (!prefix.is_empty() && prefix.split('/').any(str::is_empty))
        {
            return refuse("has an empty, '.' or '..' component");
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
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
    fn addresses_are_read_and_shown_again() {
        let check = |text: &str, shown: &str| {
            assert_eq!(text.parse::<SourceUrl>().unwrap().to_string(), shown);
        };
        check("s3://acme-releases/shop", "s3://acme-releases/shop");
        check("s3://acme-releases/shop/eu/", "s3://acme-releases/shop/eu");
        check("s3://acme-releases", "s3://acme-releases");
        check("s3://acme-releases/", "s3://acme-releases");
        check("file:///srv/releases", "file:///srv/releases");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason_and_an_example() {
        let check = |text: &str, why: &str| {
            let error = text.parse::<SourceUrl>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("s3://bucket/prefix"), "{error}");
        };
        check("", "is not a source");
        check("/srv/releases", "is not a source");
        check("https://acme.s3.amazonaws.com/", "is not a source");
        check("file://relative", "names no absolute path");
        check("file:///srv/../etc", "'..'");
        check("s3://", "bucket");
        check("s3:///prefix", "bucket");
        check("s3://b!cket/x", "bucket");
        check("s3://acme/a//b", "empty");
        check("s3://acme/../b", "'..'");
        check("s3://acme/a\nb", "control character");
    }
}
