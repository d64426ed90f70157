//! The status page as one file, made from `agent/page` by `agent/page/build.mjs` and kept beside
//! it, so that a build needs no npm.

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use libdeflater::{CompressionLvl, Compressor};

use super::answer::{self, Answer};

const HTML: &[u8] = include_bytes!("../../page/dist/index.html");
/// The page's own script and style by their digests, and nothing else.
const POLICY: &str = include_str!("../../page/dist/content-security-policy.txt");

/// Made when somebody looks: most agents are never looked at.
static COMPRESSED: LazyLock<Option<Bytes>> = LazyLock::new(|| {
    let mut compressor = Compressor::new(CompressionLvl::best());
    let mut bytes = vec![0; compressor.gzip_compress_bound(HTML.len())];
    let length = compressor.gzip_compress(HTML, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes.into())
});

/// The page, compressed for who can take it.
pub fn whole(headers: &HeaderMap) -> Answer {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let compressed = COMPRESSED.clone().filter(|_| takes_gzip(accepted.unwrap_or_default()));
    let packed = compressed.is_some();
    let body = compressed.unwrap_or(Bytes::from_static(HTML));
    let mut answer = answer::whole(StatusCode::OK, "text/html; charset=utf-8", body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY.trim_ascii()));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// Whether `gzip` is among the accepted codings, and not with a weight of nought.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        named && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for accepted in ["gzip", "gzip, deflate, br, zstd", "br;q=1.0, GZIP;q=0.8"] {
            assert!(takes_gzip(accepted), "{accepted}");
        }
        for accepted in ["", "identity", "gzip;q=0", "br, gzip; q=0.0", "x-gzip"] {
            assert!(!takes_gzip(accepted), "{accepted}");
        }
        let packed = COMPRESSED.clone().unwrap();
        let mut html = vec![0; HTML.len()];
        let length = libdeflater::Decompressor::new().gzip_decompress(&packed, &mut html).unwrap();
        assert!(length == HTML.len() && html == HTML);
    }

    #[test]
    fn the_page_is_as_small_as_promised_and_asks_nobody_else() {
        assert!(HTML.len() < 100_000, "{} bytes", HTML.len());
        let text = std::str::from_utf8(HTML).unwrap();
        for outside in ["src=\"http", "href=\"http", "url(http", "@import", "innerHTML"] {
            assert!(!text.contains(outside), "{outside}");
        }
        assert!(POLICY.starts_with("default-src 'none';") && !POLICY.contains("unsafe"));
    }
}
