//! Follows a refresh to its end. Looks only: whoever stops following stops nothing.

use std::time::Duration;

use groundcrew_core::backups::call::CallErrorKind;
use groundcrew_core::fleet::Refresh;
use groundcrew_core::fleet::refresh::{
    FOLLOW_WITHIN, Outcome, SILENCE_MAX, ended, follow_within, look_again, pause, reason,
};
use groundcrew_core::time::Moment;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::super::render;
use super::super::render::human::clean;
use super::super::terminal::Output;
use super::super::{EXIT_FAILING, EXIT_OK};
use super::{EXIT_CANCELLED, EXIT_INTERRUPTED, EXIT_ROLLED_BACK, Fleet, cause};
use crate::clock;

/// What is seen of it, as JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    group: &'a str,
    refresh: &'a Refresh,
    outcome: Option<Outcome>,
}

/// How a refresh is shown that goes on.
struct Screen<'a> {
    out: &'a mut Output,
    json: bool,
    bar: ProgressBar,
    shown: Option<Refresh>,
    spoke: Moment,
}

/// Until the refresh has ended. `wanted` is the end that was asked for: any other is not all right.
pub(super) async fn follow(
    fleet: &Fleet,
    id: &str,
    wanted: Outcome,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let mut screen = Screen::new(json, out);
    let since = clock::at();
    let mut within = FOLLOW_WITHIN;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let (mut looks, mut failures) = (0, 0);
    while clock::at() < since.plus(within) {
        let seen = tokio::select! {
            biased;
            interrupt = &mut interrupted => {
                interrupt?;
                return Ok(screen.interrupted(fleet, id));
            }
            seen = fleet.groups.refresh(&fleet.name, Some(id)) => seen,
        };
        match seen {
            Ok(Some(refresh)) => {
                failures = 0;
                within = follow_within(&refresh);
                let outcome = ended(&refresh.status);
                screen.show(fleet, &refresh, outcome)?;
                if let Some(outcome) = outcome {
                    screen.bar.finish_and_clear();
                    return Ok(exit_code(outcome, wanted));
                }
            }
            Ok(None) => {
                failures += 1;
                // What has just been started may not be shown yet.
                if !look_again(CallErrorKind::Unclear, false, failures) {
                    anyhow::bail!("group {} does not show refresh {id}", clean(&fleet.name));
                }
            }
            Err(failure) => {
                failures += 1;
                if !look_again(failure.kind, failure.passing, failures) {
                    let context = format!("refresh {id} goes on, and cannot be followed");
                    return Err(cause(failure).context(context));
                }
            }
        }
        looks += 1;
        tokio::select! {
            biased;
            interrupt = &mut interrupted => {
                interrupt?;
                return Ok(screen.interrupted(fleet, id));
            }
            () = tokio::time::sleep(pause(looks)) => {}
        }
    }
    let hours = within.as_secs() / 3600;
    anyhow::bail!("refresh {id} has not ended after {hours} h; it goes on")
}

fn exit_code(outcome: Outcome, wanted: Outcome) -> u8 {
    match outcome {
        _ if outcome == wanted => EXIT_OK,
        Outcome::Updated | Outcome::Failed => EXIT_FAILING,
        Outcome::RolledBack => EXIT_ROLLED_BACK,
        Outcome::Cancelled => EXIT_CANCELLED,
    }
}

impl<'a> Screen<'a> {
    fn new(json: bool, out: &'a mut Output) -> Self {
        let bar = ProgressBar::new(100);
        bar.set_draw_target(if json || !out.is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        });
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent}% {msg}") {
            bar.set_style(style);
        }
        Self { out, json, bar, shown: None, spoke: clock::at() }
    }

    /// A line when something has changed, and now and then when nothing has. On a terminal the bar
    /// shows what only grows.
    fn show(
        &mut self,
        fleet: &Fleet,
        refresh: &Refresh,
        outcome: Option<Outcome>,
    ) -> anyhow::Result<()> {
        self.bar.set_position(u64::from(refresh.percent));
        self.bar.set_message(format!("{} to update", refresh.to_update));
        let silent: Duration = clock::at().since(self.spoke);
        let plain = self.json || self.bar.is_hidden();
        let news = self.shown.as_ref().is_none_or(|shown| {
            let same = shown.status == refresh.status && reason(shown) == reason(refresh);
            !same || (plain && shown != refresh)
        });
        let speaks = news || outcome.is_some() || (plain && silent >= SILENCE_MAX);
        if !speaks {
            return Ok(());
        }
        let text = if self.json {
            format!("{}\n", serde_json::to_string(&Line { group: &fleet.name, refresh, outcome })?)
        } else {
            render::fleet::progress(&fleet.name, refresh, outcome, self.out.style())
        };
        let out = &mut *self.out;
        self.bar.suspend(|| out.print(&text))?;
        self.shown = Some(refresh.clone());
        self.spoke = clock::at();
        Ok(())
    }

    fn interrupted(&self, fleet: &Fleet, id: &str) -> u8 {
        self.bar.finish_and_clear();
        let name = clean(&fleet.name);
        eprintln!(
            "groundcrew: refresh {} of group {name} goes on; `groundcrew fleet status --group \
             {name}` shows it, `groundcrew fleet refresh --group {name} --cancel` ends it",
            clean(id)
        );
        EXIT_INTERRUPTED
    }
}
