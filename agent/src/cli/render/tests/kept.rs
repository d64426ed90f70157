//! The releases on a host.

use super::*;
use crate::cli::render::releases;

#[test]
fn releases_of_a_host() {
    let entry = |version: &str, role| ReleaseEntry {
        version: version.parse().unwrap(),
        digest: digest(version),
        role,
        created: Some(before(96_000)),
        fetched: Some(before(94_300)),
        disk_bytes: Some(188 << 20),
        files: Some(46_509),
        commit: Some("b41d0c5".to_owned()),
        reason: None,
    };
    let failed = ReleaseEntry {
        reason: Some("not ready within 60s: /health answered 503".to_owned()),
        ..entry("v43", ReleaseRole::Rejected)
    };
    let next = ReleaseEntry {
        fetched: None,
        disk_bytes: None,
        files: None,
        ..entry("v44", ReleaseRole::Desired)
    };
    let kept = vec![entry("v42", ReleaseRole::Current), entry("v41", ReleaseRole::Previous)];
    let render = |releases: Vec<ReleaseEntry>| {
        releases::render(&ReleasesDocument { now: NOW, releases }, PLAIN)
    };
    insta::assert_snapshot!(render(kept.clone()), @r"
    VERSION  DIGEST   ROLE      PUBLISHED  FETCHED      DISK  FILES
    v42      3232323  current   1d2h ago   1d2h ago  188 MiB  46509
    v41      3131313  previous  1d2h ago   1d2h ago  188 MiB  46509
    ");
    insta::assert_snapshot!(render([vec![next, failed.clone()], kept].concat()), @r"
    VERSION  DIGEST   ROLE      PUBLISHED  FETCHED      DISK  FILES  REASON
    v44      3434343  desired   1d2h ago   -               -      -
    v43      3333333  rejected  1d2h ago   1d2h ago  188 MiB  46509  not ready within 60s: /health answered 503
    v42      3232323  current   1d2h ago   1d2h ago  188 MiB  46509
    v41      3131313  previous  1d2h ago   1d2h ago  188 MiB  46509
    ");
    insta::assert_snapshot!(render(Vec::new()), @"no releases on this host yet");
    insta::assert_snapshot!(releases::render_one(&failed, NOW, PLAIN), @r"
    v43 rejected
      Digest     3333333333333333333333333333333333333333333333333333333333333333
      Commit     b41d0c5
      Published  Thu 2026-08-20 08:44:07 UTC; 1d2h ago
      Fetched    Thu 2026-08-20 09:12:27 UTC; 1d2h ago
      Disk       188 MiB
      Files      46509
      Reason     not ready within 60s: /health answered 503
    ");
}
