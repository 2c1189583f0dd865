//! Progress where there is no terminal: one readable line per period.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use burn_train::metric::{MetricDefinition, MetricId};
use burn_train::renderer::{
    EvaluationName, EvaluationProgress, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining, ProgressType, TrainingProgress,
};

use crate::memory::peak_memory;
use crate::non_finite::SKIPPED;

/// Writes `step 50/600  Loss 3.21  …  312 samples/s  ETA 2m10s` every few steps, and a line after
/// each validation.
pub struct LineRenderer {
    out: Box<dyn Write + Send + Sync>,
    /// Optimiser steps between two lines.
    every: usize,
    total_steps: usize,
    names: HashMap<MetricId, String>,
    order: Vec<String>,
    train: Means,
    valid: Means,
    last: Option<(usize, Instant)>,
}

/// Means of the values since the last line, by metric.
#[derive(Default)]
struct Means(HashMap<String, (f64, usize)>);

/// A rate per second, whose mean over steps of one size is that of its inverse.
fn is_rate(name: &str) -> bool {
    name.ends_with("/s")
}

impl Means {
    fn add(&mut self, name: &str, value: f64) {
        let (sum, count) = self.0.entry(name.into()).or_default();
        // A step that was left out spoils no mean; without any other the mean is NaN.
        if !value.is_finite() {
            return;
        }
        *sum += if is_rate(name) { value.recip() } else { value };
        *count += 1;
    }

    fn take(&mut self, order: &[String]) -> String {
        let means = std::mem::take(&mut self.0);
        let shown = order.iter().filter_map(|name| {
            let (sum, count) = means.get(name)?;
            let mean = sum / *count as f64;
            Some(format!(
                "{name} {}",
                short(if is_rate(name) { mean.recip() } else { mean })
            ))
        });
        shown.collect::<Vec<_>>().join("  ")
    }
}

/// Four significant digits, without zeros or exponents where they can be avoided.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.2e}"),
    }
}

impl LineRenderer {
    /// A renderer of a run of `total_steps` steps; `every` is the number of steps per line and
    /// `order` that of the metrics, since Burn registers them in any.
    pub fn new(
        out: Box<dyn Write + Send + Sync>,
        every: usize,
        total_steps: usize,
        order: Vec<String>,
    ) -> Self {
        Self {
            out,
            every: every.max(1),
            total_steps,
            names: HashMap::new(),
            order,
            train: Means::default(),
            valid: Means::default(),
            last: None,
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
            // A validation metric is the mean so far, and this one a number: the last one counts.
            (true, _) => drop(self.valid.0.insert(name.clone(), (value.current(), 1))),
            (_, SKIPPED) => drop(self.train.0.insert(name.clone(), (value.current(), 1))),
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
                format!("  ETA {}", duration(Duration::from_secs_f64(seconds)))
            }
        }
    }
}

/// `1h02m`, `3m05s` or `12s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

/// `1.25 GiB` or `310 MiB`.
pub fn bytes(count: u64) -> String {
    let mebibytes = count as f64 / f64::from(1 << 20);
    match mebibytes < 1000.0 {
        true => format!("{mebibytes:.0} MiB"),
        false => format!("{:.2} GiB", mebibytes / 1024.0),
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
        if self.last.is_none() {
            self.last = Some((step.saturating_sub(1), Instant::now()));
        }
        if step.is_multiple_of(self.every) || step == self.total_steps {
            let metrics = self.train.take(&self.order);
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
            let metrics = self.valid.take(&self.order);
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
        if !self.order.contains(&definition.name) {
            self.order.push(definition.name.clone());
        }
        self.names.insert(definition.metric_id, definition.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(short(0.0), "0");
        assert_eq!(short(1234.56), "1235");
        assert_eq!(short(0.98765), "0.988");
        assert_eq!(short(5e-5), "5.00e-5");
        assert_eq!(duration(Duration::from_secs(12)), "12s");
        assert_eq!(duration(Duration::from_secs(185)), "3m05s");
        assert_eq!(duration(Duration::from_secs(3720)), "1h02m");
        assert_eq!(bytes(310 << 20), "310 MiB");
        assert_eq!(bytes(5 << 28), "1.25 GiB");
    }

    #[test]
    fn a_mean_rate_is_that_of_the_whole_time() {
        let mut means = Means::default();
        // A batch of one in a second, another in half a second: two in one and a half.
        means.add("Samples/s", 1.0);
        means.add("Samples/s", 2.0);
        assert_eq!(means.take(&["Samples/s".into()]), "Samples/s 1.333");
    }
}
