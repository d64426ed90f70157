//! How far long work on one dump is, for people at a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget};

use super::super::terminal::Output;

/// A bar below which the result is printed; nothing, where nobody looks.
pub(super) fn bar(quiet: bool, out: &Output) -> ProgressBar {
    let bar = ProgressBar::no_length();
    bar.set_draw_target(if quiet || !out.is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    });
    bar
}

/// So many of so many bytes have come.
pub(super) fn told(bar: &ProgressBar, done: u64, all: u64) {
    bar.set_length(all);
    bar.set_position(done);
}
