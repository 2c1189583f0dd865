//! A bar for checks that take long.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shorter checks show no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// A bar on standard error: only if that is a terminal, and only once a check has taken a while.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    wanted: bool,
}

impl Progress {
    /// A bar that is not shown yet, and never if it is not wanted.
    pub fn new(wanted: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self {
            bar,
            started: Instant::now(),
            wanted,
        }
    }

    /// Begins a part of `length` steps.
    pub fn start(&self, what: &str, length: usize) {
        self.bar.reset();
        self.bar.set_length(length as u64);
        self.bar.set_message(what.to_string());
    }

    /// Takes `n` steps.
    pub fn advance(&self, n: usize) {
        if self.wanted && self.bar.is_hidden() && self.started.elapsed() > PATIENCE {
            // Stays hidden where standard error is not a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(n as u64);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
