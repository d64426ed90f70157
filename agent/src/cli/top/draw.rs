//! The picture. Pure: what is shown in, cells out. Words and units are those of `groundcrew
//! status`, and a colour only repeats them.

use groundcrew_core::status::{
    Column as Values, EventLevel, HistoryDocument, MarkKind, StatusDocument, TierColumns,
};
use groundcrew_core::time::{Moment, Wall};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::view::{Column, Shown, View};
use crate::cli::render::human::{age, ago, clean, micros, size};
use crate::cli::render::status::{process_tone, state_tone};
use crate::cli::render::{Tone, backups};

/// Lines of a sparkline and of what is above and below it.
const PANEL_LINES: u16 = 4;
const PANELS_ACROSS: usize = 3;
/// How much of the past is shown.
const HOUR_MS: u64 = 3_600_000;
const KEYS: &str = "q quit  p pause  tab sort  r reverse  up/down scroll";
/// Finer than any terminal.
const SPARK_MAX: f32 = 100_000.0;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, colour: bool) {
    let Some(shown) = &view.shown else { return };
    let paint = Paint { colour };
    let area = frame.area();
    // A small terminal has half of the plots.
    let panels = if area.height < 30 { PANELS_ACROSS } else { 2 * PANELS_ACROSS };
    let panel_lines = PANEL_LINES * u16::try_from(panels / PANELS_ACROSS).unwrap_or(1);
    let tiers = tier_table(&shown.status, shown.now, paint);
    let processes = process_table(view, shown.now, paint);
    let tier_lines = u16::try_from(tiers.len() + 1).unwrap_or(u16::MAX);
    let process_lines = u16::try_from(processes.len() + 1).unwrap_or(u16::MAX);
    let jobs = job_table(&shown.status, shown.now, paint);
    let job_lines = if jobs.is_empty() { 0 } else { u16::try_from(jobs.len() + 1).unwrap_or(0) };
    let [head, plots, tier_area, process_area, job_area, event_area, foot] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(panel_lines),
        Constraint::Length(tier_lines),
        Constraint::Max(process_lines),
        Constraint::Max(job_lines),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(head_lines(shown, view.paused, paint)), head);
    draw_panels(frame, plots, &shown.history, panels, paint);
    frame.render_widget(Paragraph::new(tiers), tier_area);
    let visible = scrolled(processes, view.scrolled);
    frame.render_widget(Paragraph::new(visible), process_area);
    frame.render_widget(Paragraph::new(jobs), job_area);
    frame.render_widget(Paragraph::new(events(&shown.status, shown.now, paint)), event_area);
    frame.render_widget(Paragraph::new(Line::styled(KEYS, paint.style(Some(Tone::Faint)))), foot);
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn style(self, tone: Option<Tone>) -> Style {
        let plain = Style::default();
        match tone {
            _ if !self.colour => plain,
            Some(Tone::Good) => plain.fg(Color::Green),
            Some(Tone::Caution) => plain.fg(Color::Yellow),
            Some(Tone::Bad) => plain.fg(Color::Red),
            Some(Tone::Faint) => plain.add_modifier(Modifier::DIM),
            None => plain,
        }
    }

    fn span(self, text: impl Into<String>, tone: Option<Tone>) -> Span<'static> {
        Span::styled(text.into(), self.style(tone))
    }
}

fn head_lines(shown: &Shown, paused: bool, paint: Paint) -> Vec<Line<'static>> {
    let (status, now) = (&shown.status, shown.now);
    let rejected = status.rejected.as_ref().filter(|_| status.is_rolled_back());
    let back = rejected.map(|rejected| format!(" ({} rolled back)", rejected.version));
    let words = format!("● {}{}", status.state.word(), back.unwrap_or_default());
    let tone = if rejected.is_some() { Some(Tone::Caution) } else { state_tone(status.state) };
    let mut first =
        vec![paint.span(words, tone), Span::raw(format!(" for {}", age(status.since, now)))];
    if !shown.live {
        let since = format!("  disconnected; as of {}", ago(status.now, now));
        first.push(paint.span(since, Some(Tone::Bad)));
    }
    if paused {
        first.push(paint.span("  paused", Some(Tone::Caution)));
    }
    let host = status.host.instance_id.as_deref().unwrap_or(&status.host.name);
    let runs = status.release.as_ref().map_or("no release".to_owned(), |release| {
        format!("{} for {}", release.version, age(release.since, now))
    });
    let second = format!("  {}  {}  {runs}", clean(host), status.environment);
    let third = match (&status.rollout, &status.reason) {
        (Some(rollout), _) => {
            let (version, stage) = (&rollout.version, rollout.stage.words());
            format!(
                "  {version} {stage} for {}  {}",
                age(rollout.since, now),
                clean(&rollout.detail)
            )
        }
        (None, Some(reason)) => format!("  {}", clean(reason)),
        (None, None) => marks(&shown.history),
    };
    vec![Line::from(first), Line::raw(second), Line::raw(third), Line::default()]
}

/// The newest things that happened to releases.
fn marks(history: &HistoryDocument) -> String {
    let said = history.marks.iter().rev().filter(|mark| mark.kind != MarkKind::Begun).take(3);
    let words = said.map(|mark| {
        let word = match mark.kind {
            MarkKind::Begun => "began",
            MarkKind::Current => "took over",
            MarkKind::Settled => "settled",
            MarkKind::Rejected => "was rejected",
        };
        let tier = mark.tier.as_ref().map_or_else(String::new, |tier| format!(" {tier}"));
        format!("  {} {word}{tier} {}", mark.version, ago(wall_of(mark.at, history), history.now))
    });
    words.collect()
}

fn wall_of(at: Moment, history: &HistoryDocument) -> Wall {
    let ago = i64::try_from(history.at.0.saturating_sub(at.0)).unwrap_or(i64::MAX);
    Wall(history.now.0.saturating_sub(ago))
}

/// How the values of tiers make one.
#[derive(Debug, Clone, Copy)]
enum Joined {
    Sum,
    Worst,
}

/// One sparkline.
struct Panel {
    title: &'static str,
    of: fn(&TierColumns) -> &Values,
    joined: Joined,
    text: fn(f32) -> String,
}

const PANELS: [Panel; 6] = [
    Panel { title: "REQ/S", of: |t| &t.requests, joined: Joined::Sum, text: count },
    Panel { title: "P99", of: |t| &t.p99, joined: Joined::Worst, text: seconds },
    Panel { title: "5XX/S", of: |t| &t.errors, joined: Joined::Sum, text: count },
    Panel { title: "LOOP DELAY P99", of: |t| &t.delay, joined: Joined::Worst, text: seconds },
    Panel { title: "MEMORY", of: |t| &t.memory, joined: Joined::Sum, text: bytes },
    Panel { title: "IN FLIGHT", of: |t| &t.in_flight, joined: Joined::Sum, text: count },
];

fn count(value: f32) -> String {
    if value < 9.95 && value.fract() > 0.05 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn seconds(value: f32) -> String {
    micros(whole(value * 1e6))
}

fn bytes(value: f32) -> String {
    size(whole(value))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and what is measured is not negative"
)]
fn whole(value: f32) -> u64 {
    value.round() as u64
}

fn draw_panels(
    frame: &mut Frame<'_>,
    area: Rect,
    history: &HistoryDocument,
    panels: usize,
    paint: Paint,
) {
    let rows = Layout::vertical(vec![Constraint::Length(PANEL_LINES); panels / PANELS_ACROSS]);
    for (row, panels) in rows.split(area).iter().zip(PANELS.chunks(PANELS_ACROSS)) {
        let across = Layout::horizontal([Constraint::Fill(1); PANELS_ACROSS]).spacing(2);
        for (area, panel) in across.split(*row).iter().zip(panels) {
            draw_panel(frame, *area, history, panel, paint);
        }
    }
}

fn draw_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    history: &HistoryDocument,
    panel: &Panel,
    paint: Paint,
) {
    let values = joined(history, panel);
    let newest = values.last().copied().flatten();
    let most = values.iter().flatten().copied().fold(0.0, f32::max);
    let title = Line::from(vec![
        paint.span(format!("{} ", panel.title), Some(Tone::Faint)),
        Span::raw(newest.map_or("-".to_owned(), panel.text)),
        paint.span(format!("  most {}", (panel.text)(most)), Some(Tone::Faint)),
    ]);
    let [above, below, _] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(2), Constraint::Fill(1)])
            .areas(area);
    frame.render_widget(Paragraph::new(title), above);
    let scale = if most > 0.0 { SPARK_MAX / most } else { 0.0 };
    let bars = bars(history, &values, usize::from(area.width));
    let bars: Vec<_> = bars.iter().map(|bar| bar.map(|value| whole(value * scale))).collect();
    let line = Sparkline::default()
        .data(bars)
        .max(whole(SPARK_MAX))
        .absent_value_symbol("·")
        .absent_value_style(paint.style(Some(Tone::Faint)));
    frame.render_widget(line, below);
}

/// What all tiers make together, row by row.
fn joined(history: &HistoryDocument, panel: &Panel) -> Values {
    let of_row = |row: usize| {
        let tiers = history.tiers.values().filter_map(|tier| *(panel.of)(tier).get(row)?);
        tiers.reduce(|one, other| match panel.joined {
            Joined::Sum => one + other,
            Joined::Worst => one.max(other),
        })
    };
    (0..history.times.len()).map(of_row).collect()
}

/// The hour in `width` bars, each with the largest of its values; a gap is none.
fn bars(history: &HistoryDocument, values: &[Option<f32>], width: usize) -> Values {
    let mut bars = vec![None; width];
    for (time, value) in history.times.iter().zip(values) {
        let ago_ms = history.at.0.saturating_sub(time.0);
        let Some(from_left_ms) = HOUR_MS.checked_sub(ago_ms + 1) else { continue };
        let at = usize::try_from(from_left_ms * width as u64 / HOUR_MS).unwrap_or(0);
        if let (Some(bar), Some(value)) = (bars.get_mut(at), value) {
            *bar = Some(bar.map_or(*value, |most: f32| most.max(*value)));
        }
    }
    // A bar of a wide terminal is shorter than the time between two rows.
    let reach = width.div_ceil(360);
    let last_known = |at: usize| (at.saturating_sub(reach)..=at).rev().find_map(|at| bars[at]);
    (0..width).map(last_known).collect()
}

type Cells = Vec<(String, Option<Tone>)>;

/// Lines of a table; a header is said with whether its column is of numbers.
fn table(headers: &[(&str, bool)], rows: &[Cells], paint: Paint) -> Vec<Line<'static>> {
    let len = |text: &str| text.chars().count();
    let widths: Vec<usize> = (headers.iter().enumerate())
        .map(|(at, (header, _))| {
            rows.iter().map(|row| len(&row[at].0)).fold(len(header), usize::max)
        })
        .collect();
    let line = |cells: &[(String, Option<Tone>)]| {
        let spans = cells.iter().zip(headers).zip(&widths).map(|(((text, tone), head), width)| {
            let padding = " ".repeat(width - len(text));
            let text =
                if head.1 { format!("{padding}{text}  ") } else { format!("{text}{padding}  ") };
            paint.span(text, *tone)
        });
        Line::from(spans.collect::<Vec<_>>())
    };
    let head: Cells =
        headers.iter().map(|(header, _)| ((*header).to_owned(), Some(Tone::Faint))).collect();
    std::iter::once(line(&head)).chain(rows.iter().map(|row| line(row))).collect()
}

fn tier_table(status: &StatusDocument, now: Wall, paint: Paint) -> Vec<Line<'static>> {
    let headers = [
        ("TIER", false),
        ("RELEASE", false),
        ("READY", true),
        ("IN-FLIGHT", true),
        ("REQ/S", true),
        ("P99", true),
        ("5XX/MIN", true),
        ("RESTARTS", true),
        ("AGE", true),
    ];
    let rows: Vec<Cells> = (status.tiers.iter())
        .map(|tier| {
            let asked = |count: u64| {
                if tier.port.is_some() { count.to_string() } else { "-".to_owned() }
            };
            let short = (tier.ready < tier.wanted).then_some(Tone::Caution);
            vec![
                (tier.name.to_string(), state_tone(tier.state)),
                (tier.release.as_ref().map_or("-".to_owned(), ToString::to_string), None),
                (format!("{}/{}", tier.ready, tier.wanted), short),
                (asked(tier.in_flight), None),
                (asked(tier.requests_per_second), None),
                (tier.p99_us.map_or("-".to_owned(), micros), None),
                (asked(tier.errors_per_minute), None),
                (tier.restarts.to_string(), None),
                (age(tier.since, now), None),
            ]
        })
        .collect();
    table(&headers, &rows, paint)
}

fn process_table(view: &View, now: Wall, paint: Paint) -> Vec<Line<'static>> {
    let columns = [
        ("PROCESS", false, Column::Process),
        ("STATE", false, Column::State),
        ("RSS", true, Column::Memory),
        ("CPU", true, Column::Cpu),
        ("LOOP LAG", true, Column::Delay),
        ("CONNS", true, Column::Connections),
        ("AGE", true, Column::Age),
    ];
    let arrow = if view.reversed { '▴' } else { '▾' };
    let titles = columns.map(|(title, _, column)| {
        if column == view.sort() { format!("{title}{arrow}") } else { title.to_owned() }
    });
    let mut headers: Vec<(&str, bool)> =
        titles.iter().zip(columns).map(|(title, (_, right, _))| (title.as_str(), right)).collect();
    headers.push(("REASON", false));
    let dash = || "-".to_owned();
    let rows: Vec<Cells> = (view.processes().into_iter())
        .map(|process| {
            vec![
                (process.id.to_string(), None),
                (process.state.word().to_owned(), process_tone(process.state)),
                (process.rss_bytes.map_or_else(dash, size), None),
                (process.cpu_percent.map_or_else(dash, |percent| format!("{percent}%")), None),
                (process.loop_lag_us.map_or_else(dash, micros), None),
                (process.connections.to_string(), None),
                (age(process.since, now), None),
                (clean(process.reason.as_deref().unwrap_or_default()), None),
            ]
        })
        .collect();
    table(&headers, &rows, paint)
}

/// The jobs of backups, those that fail first; empty: there are none.
fn job_table(status: &StatusDocument, now: Wall, paint: Paint) -> Vec<Line<'static>> {
    if status.backups.is_empty() {
        return Vec::new();
    }
    let headers = [
        ("JOB", false),
        ("STATE", false),
        ("LAST GOOD", false),
        ("PROVED", false),
        ("REASON", false),
    ];
    let mut jobs: Vec<_> = status.backups.iter().collect();
    jobs.sort_by_key(|job| !job.is_failing());
    let dash = || "-".to_owned();
    let rows: Vec<Cells> = (jobs.into_iter())
        .map(|job| {
            let good = job.last_good.as_ref();
            let level = good.and_then(|good| good.level);
            vec![
                (clean(&job.name), None),
                (job.state.word().to_owned(), backups::state_tone(job.state)),
                (good.map_or_else(dash, |good| ago(good.slot, now)), None),
                (level.map_or_else(dash, |level| level.to_string()), None),
                (clean(job.reason.as_deref().unwrap_or_default()), None),
            ]
        })
        .collect();
    table(&headers, &rows, paint)
}

/// The header stays.
fn scrolled(mut lines: Vec<Line<'static>>, by: usize) -> Vec<Line<'static>> {
    let last = (1 + by).min(lines.len());
    lines.drain(1.min(lines.len())..last);
    lines
}

fn events(status: &StatusDocument, now: Wall, paint: Paint) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(paint.span("EVENTS", Some(Tone::Faint)))];
    lines.extend(status.events.iter().map(|event| {
        let tone = match event.level {
            EventLevel::Normal => None,
            EventLevel::Warning => Some(Tone::Caution),
            EventLevel::Error => Some(Tone::Bad),
        };
        Line::from(vec![
            Span::raw(format!("  {:<11}", ago(event.at, now))),
            paint.span(format!("{:<9}", event.level.word()), tone),
            Span::raw(clean(&event.text)),
        ])
    }));
    lines
}

#[cfg(test)]
mod tests;
