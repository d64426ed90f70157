//! What the doctor prints.

use groundcrew_core::doctor::{Finding, Verdict};

use super::{PLAIN, Style};
use crate::cli::render::doctor::render;

fn finding(check: &'static str, verdict: Verdict, numbers: &str, fix: Option<&str>) -> Finding {
    Finding { check, verdict, numbers: numbers.to_owned(), fix: fix.map(str::to_owned) }
}

fn findings() -> Vec<Finding> {
    vec![
        finding("metadata", Verdict::Good, "IMDSv2 answers: i-0a1b2c3d4e5f67890", None),
        finding(
            "launch default result",
            Verdict::Bad,
            "join: CONTINUE; a host whose agent is gone is put into service, and serves nothing",
            Some("aws autoscaling put-lifecycle-hook --lifecycle-hook-name join"),
        ),
        finding("health check", Verdict::Caution, "shop: noticed after 90s", Some("shorten it")),
        finding("stop timeout", Verdict::Unknown, "systemd does not run \u{1b}[2Jhere", None),
    ]
}

#[test]
fn each_finding_is_a_line_and_what_to_do_is_below() {
    insta::assert_snapshot!(render(&findings(), PLAIN), @r"
    ● bad: 1 bad, 1 caution, 1 unknown, 1 good
      good     metadata               IMDSv2 answers: i-0a1b2c3d4e5f67890
      bad      launch default result  join: CONTINUE; a host whose agent is gone is put into service, and serves nothing
               fix: aws autoscaling put-lifecycle-hook --lifecycle-hook-name join
      caution  health check           shop: noticed after 90s
               fix: shorten it
      unknown  stop timeout           systemd does not run \u{1b}[2Jhere
    ");
}

#[test]
fn long_numbers_are_wrapped_and_fixes_are_not() {
    let narrow = Style { width: 72, colour: false };
    insta::assert_snapshot!(render(&findings(), narrow), @r"
    ● bad: 1 bad, 1 caution, 1 unknown, 1 good
      good     metadata               IMDSv2 answers: i-0a1b2c3d4e5f67890
      bad      launch default result  join: CONTINUE; a host whose agent is
                                      gone is put into service, and serves
                                      nothing
               fix: aws autoscaling put-lifecycle-hook --lifecycle-hook-name join
      caution  health check           shop: noticed after 90s
               fix: shorten it
      unknown  stop timeout           systemd does not run \u{1b}[2Jhere
    ");
}

#[test]
fn all_is_good_in_the_first_line() {
    let good = &findings()[..1];
    insta::assert_snapshot!(render(good, PLAIN), @r"
    ● good: 1 good
      good     metadata  IMDSv2 answers: i-0a1b2c3d4e5f67890
    ");
    let coloured = render(good, Style { colour: true, ..PLAIN });
    assert!(
        coloured.starts_with("\u{1b}[32m● good\u{1b}[0m: 1 good\n  \u{1b}[32mgood"),
        "{coloured:?}"
    );
}
