//! Progress without a terminal: one readable line every few steps.

use std::collections::HashMap;
use std::io::Write;
use std::time::Instant;

use burn_train::metric::{MetricDefinition, MetricId};
use burn_train::renderer::{
    EvaluationName, EvaluationProgress, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining, ProgressType, TrainingProgress,
};

use crate::format::{bytes, duration, in_seconds, short};
use crate::memory::peak_memory;
use crate::stats::SKIPPED;

/// Writes `step 50/600  Loss 3.21  …  312 samples/s  ETA 2m10s` every few steps, and a line after
/// each validation.
pub(crate) struct LineRenderer {
    out: Box<dyn Write + Send + Sync>,
    /// Optimiser steps between two lines.
    every: usize,
    total_steps: usize,
    names: HashMap<MetricId, String>,
    train: Means,
    valid: Means,
    last: Option<(usize, Instant)>,
    /// Whether a line has been written.
    written: bool,
}

/// A run whose first line is not due by then writes one all the same: who waits for it wants to know how
/// long it takes.
const FIRST_LINE: std::time::Duration = std::time::Duration::from_secs(10);

/// Sums and numbers of the values since the last line, by metric, in the order they came in.
#[derive(Default)]
struct Means(Vec<(String, f64, usize)>);

/// A rate per second, whose mean over steps of one size is that of its inverse.
fn is_rate(name: &str) -> bool {
    name.ends_with("/s")
}

impl Means {
    fn entry(&mut self, name: &str) -> &mut (String, f64, usize) {
        let known = self.0.iter().position(|(known, ..)| known == name);
        let index = known.unwrap_or_else(|| {
            self.0.push((name.into(), 0.0, 0));
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    fn add(&mut self, name: &str, value: f64) {
        let (_, sum, count) = self.entry(name);
        // Skipped steps are excluded from the mean; without any other step it is NaN.
        if value.is_finite() {
            *sum += if is_rate(name) { value.recip() } else { value };
            *count += 1;
        }
    }

    fn set(&mut self, name: &str, value: f64) {
        *self.entry(name) = (name.into(), value, 1);
    }

    fn take(&mut self) -> String {
        let means = std::mem::take(&mut self.0).into_iter();
        let shown = means.map(|(name, sum, count)| {
            let mean = sum / count as f64;
            let mean = if is_rate(&name) { mean.recip() } else { mean };
            format!("{name} {}", short(mean))
        });
        shown.collect::<Vec<_>>().join("  ")
    }
}

impl LineRenderer {
    /// A renderer of a run of `total_steps` steps; `every` is the number of steps per line.
    pub fn new(out: Box<dyn Write + Send + Sync>, every: usize, total_steps: usize) -> Self {
        Self {
            out,
            every: every.max(1),
            total_steps,
            names: HashMap::new(),
            train: Means::default(),
            valid: Means::default(),
            last: None,
            written: false,
        }
    }

    fn record(&mut self, state: &MetricState, valid: bool) {
        let MetricState::Numeric(entry, value) = state else {
            return;
        };
        let Some(name) = self.names.get(&entry.metric_id) else {
            return;
        };
        match (valid, name.as_str()) {
            (true, _) => self.valid.set(name, value.current()),
            (_, SKIPPED) => self.train.set(name, value.current()),
            _ => self.train.add(name, value.current()),
        }
    }

    fn line(&mut self, text: String) {
        // Progress that cannot be shown must not end the run.
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }

    /// Time left at the speed since the last line.
    fn eta(&mut self, step: usize) -> String {
        let now = Instant::now();
        let (before, since) = self.last.replace((step, now)).unwrap_or((step, now));
        match step - before {
            0 => String::new(),
            done => {
                let left = (self.total_steps - step.min(self.total_steps)) as f64;
                let seconds = (now - since).as_secs_f64() / done as f64 * left;
                format!("  ETA {}", duration(in_seconds(seconds)))
            }
        }
    }
}

impl MetricsRendererTraining for LineRenderer {
    fn update_train(&mut self, state: MetricState) {
        self.record(&state, false);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.record(&state, true);
    }

    fn render_train(&mut self, item: TrainingProgress, _: Vec<ProgressType>) {
        let step = item.iteration.unwrap_or(0);
        // From the end of the first step: before it, memory is taken and files are read.
        let (_, since) = *self.last.get_or_insert((step, Instant::now()));
        let is_first = !self.written && since.elapsed() >= FIRST_LINE;
        if step.is_multiple_of(self.every) || step == self.total_steps || is_first {
            self.written = true;
            let metrics = self.train.take();
            let eta = self.eta(step);
            let memory = match peak_memory() {
                Some(peak) => format!("  peak {}", bytes(peak)),
                None => String::new(),
            };
            self.line(format!(
                "step {step}/{}  {metrics}{memory}{eta}",
                self.total_steps
            ));
        }
    }

    fn render_valid(&mut self, item: TrainingProgress, _: Vec<ProgressType>) {
        let finished = item
            .progress
            .as_ref()
            .is_none_or(|p| p.items_processed == p.items_total);
        if finished {
            let metrics = self.valid.take();
            self.line(format!("  validation  {metrics}"));
        }
    }
}

impl MetricsRendererEvaluation for LineRenderer {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}

    fn render_test(&mut self, _: EvaluationProgress, _: Vec<ProgressType>) {}
}

impl MetricsRenderer for LineRenderer {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_rate_is_that_of_the_whole_time() {
        let mut means = Means::default();
        // A batch of one in a second, another in half a second: two in one and a half.
        means.add("Samples/s", 1.0);
        means.add("Samples/s", 2.0);
        assert_eq!(means.take(), "Samples/s 1.333");
    }
}
