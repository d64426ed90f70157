//! What a person sees, and what the keys change.

use std::collections::BTreeMap;

use groundcrew_core::status::{HostColumns, Mark};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use serde_json::json;

use super::super::view::Does;
use super::*;

const NOW: Wall = Wall(1_787_311_447_000);

fn status() -> StatusDocument {
    let before = |seconds: i64| NOW.0 - seconds * 1000;
    let digest = |of: char| of.to_string().repeat(64);
    let process = |id: &str, state: &str, rss: u64, cpu: u32, reason: Option<&str>| {
        json!({
            "id": id, "pid": 7, "state": state, "probe": null, "restarts": 0, "rss_bytes": rss,
            "cpu_percent": cpu, "loop_lag_us": 2000, "connections": 4, "in_flight": 3,
            "since": before(4000), "reason": reason
        })
    };
    serde_json::from_value(json!({
        "state": "serving", "since": before(94_200), "now": NOW.0,
        "host": {"instance_id": "i-0a1b2c3d4e5f67890", "name": "web-1"},
        "environment": "production", "source": "s3://acme-releases/shop",
        "release": {"version": "v42", "digest": digest('a'), "since": before(4000)},
        "previous": null, "desired": null, "rejected": null, "rollout": null, "reason": null,
        "next": null, "disk": {"releases_bytes": 0, "logs_bytes": 0},
        "tiers": [{
            "name": "web", "release": "v42", "generation": 17, "port": 3000, "ready": 2,
            "wanted": 2, "in_flight": 14, "connections": 4, "websockets": 0,
            "requests_per_second": 312, "p99_us": 41_000, "errors_per_minute": 3, "restarts": 1,
            "last_restart": null, "since": before(4000), "state": "serving", "reason": null,
            "processes": [
                process("web.17.1", "accepting", 118 << 20, 9, None),
                process("web.17.2", "backoff", 90 << 20, 31, Some("exited\u{1b}[2J with code 1"))
            ]
        }],
        "source_status": {"last_ok": null, "error": null},
        "events": [
            {"at": before(60), "level": "warning", "text": "web.17.2 exited with code 1"},
            {"at": before(4000), "level": "normal", "text": "v42 settled"}
        ]
    }))
    .unwrap()
}

/// An hour with a gap of ten minutes half an hour ago, and a peak at its end.
fn history() -> HistoryDocument {
    let at = Moment(10_000_000);
    let rows = 0..360_u64;
    let gap = |row: &u64| (120..180).contains(row);
    let value = |row: u64| if row > 330 { 400.0 } else { 100.0 };
    let column = |factor: f32| -> Values {
        rows.clone().map(|row| (!gap(&row)).then(|| value(row) * factor)).collect()
    };
    let tier = TierColumns {
        requests: column(1.0),
        errors: column(0.0),
        p50: column(0.0001),
        p99: column(0.0004),
        in_flight: column(0.01),
        delay: column(0.00002),
        memory: column(1_000_000.0),
    };
    let mark = Mark {
        at: Moment(at.0 - 600_000),
        kind: MarkKind::Current,
        version: "v42".parse().unwrap(),
        tier: Some("web".parse().unwrap()),
    };
    HistoryDocument {
        agent: Moment(1),
        at,
        now: NOW,
        every_ms: 10_000,
        last: 360,
        times: rows.map(|row| Moment(at.0 - (359 - row) * 10_000)).collect(),
        host: HostColumns::default(),
        tiers: BTreeMap::from([("web".parse().unwrap(), tier)]),
        marks: vec![mark],
        rollout: None,
        tiers_left_out: 0,
    }
}

fn view() -> View {
    let mut view = View::default();
    view.take(Shown { status: status(), history: history(), now: NOW, live: true });
    view
}

fn drawn(view: &View, width: u16, height: u16, colour: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view, colour)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width);
    let lines = rows.map(|row| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

#[test]
fn the_whole_picture() {
    insta::assert_snapshot!(text(&drawn(&view(), 96, 32, false)), @r"
    ● serving for 1d2h
      i-0a1b2c3d4e5f67890  production  v42 for 1h6m
      v42 took over web 10m ago

    REQ/S 400  most 400              P99 160ms  most 160ms           5XX/S 0  most 0
                ···             ███             ····            ███              ···
    ▄▄▄▄▄▄▄▄▄▄▄▄···▄▄▄▄▄▄▄▄▄▄▄▄▄███  ▄▄▄▄▄▄▄▄▄▄▄····▄▄▄▄▄▄▄▄▄▄▄▄███              ···

    LOOP DELAY P99 8ms  most 8ms     MEMORY 381 MiB  most 381 MiB    IN FLIGHT 4  most 4
                ···             ███             ····            ███              ···             ███
    ▄▄▄▄▄▄▄▄▄▄▄▄···▄▄▄▄▄▄▄▄▄▄▄▄▄███  ▄▄▄▄▄▄▄▄▄▄▄····▄▄▄▄▄▄▄▄▄▄▄▄███  ▄▄▄▄▄▄▄▄▄▄▄▄···▄▄▄▄▄▄▄▄▄▄▄▄▄███

    TIER  RELEASE  READY  IN-FLIGHT  REQ/S   P99  5XX/MIN  RESTARTS   AGE
    web   v42        2/2         14    312  41ms        3         1  1h6m

    PROCESS▾  STATE          RSS  CPU  LOOP LAG  CONNS   AGE  REASON
    web.17.1  accepting  118 MiB   9%       2ms      4  1h6m
    web.17.2  backoff     90 MiB  31%       2ms      4  1h6m  exited\u{1b}[2J with code 1

    EVENTS
      1m ago     warning  web.17.2 exited with code 1
      1h6m ago   normal   v42 settled









    q quit  p pause  tab sort  r reverse  up/down scroll
    ");
}

#[test]
fn a_small_terminal_has_the_most_important_and_a_tiny_one_does_not_fail() {
    insta::assert_snapshot!(text(&drawn(&view(), 70, 20, false)), @r"
    ● serving for 1d2h
      i-0a1b2c3d4e5f67890  production  v42 for 1h6m
      v42 took over web 10m ago

    REQ/S 400  most 400     P99 160ms  most 160ms   5XX/S 0  most 0
             ··         ██           ··         ██           ··
    ▄▄▄▄▄▄▄▄▄··▄▄▄▄▄▄▄▄▄██  ▄▄▄▄▄▄▄▄▄··▄▄▄▄▄▄▄▄▄██           ··

    TIER  RELEASE  READY  IN-FLIGHT  REQ/S   P99  5XX/MIN  RESTARTS   AGE
    web   v42        2/2         14    312  41ms        3         1  1h6m

    PROCESS▾  STATE          RSS  CPU  LOOP LAG  CONNS   AGE  REASON
    web.17.1  accepting  118 MiB   9%       2ms      4  1h6m
    web.17.2  backoff     90 MiB  31%       2ms      4  1h6m  exited\u{1b}

    EVENTS
      1m ago     warning  web.17.2 exited with code 1
      1h6m ago   normal   v42 settled

    q quit  p pause  tab sort  r reverse  up/down scroll
    ");
    for (width, height) in [(1, 1), (10, 3), (300, 2), (2, 60), (500, 120)] {
        drawn(&view(), width, height, true);
    }
    drawn(&View::default(), 80, 24, true);
}

#[test]
fn keys_sort_reverse_scroll_pause_and_leave() {
    let order = |keys: &[KeyCode]| {
        let mut view = view();
        for key in keys {
            assert_eq!(view.press(*key, KeyModifiers::NONE), Does::Stay);
        }
        let ordinal = |process: &&groundcrew_core::status::ProcessStatus| process.id.ordinal;
        view.processes().iter().map(ordinal).collect::<Vec<_>>()
    };
    use KeyCode::{BackTab, Char, Down, Left, Right, Tab, Up};
    assert_eq!(order(&[]), [1, 2]);
    assert_eq!(order(&[Char('r')]), [2, 1]);
    assert_eq!(order(&[Tab, Tab]), [1, 2], "more memory first");
    assert_eq!(order(&[Right, Right, Right]), [2, 1], "more CPU first");
    assert_eq!(order(&[Left, BackTab, Char('x'), Up]), [1, 2], "as many connections");
    let mut view = view();
    for _ in 0..10 {
        view.press(Down, KeyModifiers::NONE);
    }
    assert_eq!(view.scrolled, 1);
    assert!(!text(&drawn(&view, 96, 32, false)).contains("web.17.1 "));
    view.press(Char('p'), KeyModifiers::NONE);
    let mut status = status();
    status.tiers.clear();
    let shown = Shown { status, history: history(), now: NOW, live: false };
    view.take(shown.clone());
    assert_eq!(view.processes().len(), 2, "nothing new while it is paused");
    view.press(Char('p'), KeyModifiers::NONE);
    view.take(shown);
    assert_eq!((view.processes().len(), view.scrolled), (0, 0));
    assert!(text(&drawn(&view, 96, 32, false)).contains("disconnected; as of 0s ago"));
    assert_eq!(view.press(Char('c'), KeyModifiers::NONE), Does::Stay);
    assert_eq!(view.press(Char('c'), KeyModifiers::CONTROL), Does::Leave);
    assert_eq!(view.press(Char('q'), KeyModifiers::NONE), Does::Leave);
}

#[test]
fn colours_repeat_what_words_say_and_can_be_left_out() {
    let colours = |colour: bool| {
        let buffer = drawn(&view(), 96, 32, colour);
        let styled = |cell: &&ratatui::buffer::Cell| {
            cell.fg != Color::Reset || cell.bg != Color::Reset || !cell.modifier.is_empty()
        };
        buffer.content.iter().filter(styled).count()
    };
    assert_eq!(colours(false), 0);
    assert!(colours(true) > 100);
    assert_eq!(text(&drawn(&view(), 96, 32, true)), text(&drawn(&view(), 96, 32, false)));
}
