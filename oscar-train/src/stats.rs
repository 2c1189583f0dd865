//! What a step measured, and Burn metrics that show it.
//!
//! A step yields named sums and weights, kept on the device and read back once, on the event
//! thread. One metric type serves every column, so a task adds a metric by adding a name.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Tensor, backend::Backend};
use burn_train::ItemLazy;
use burn_train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
    NumericEntry, SerializedEntry,
};

/// The name of the statistic that training minimises and by which the best model is chosen.
pub const LOSS: &str = "Loss";
/// The name under which the learning rate is shown.
pub(crate) const LEARNING_RATE: &str = "Learning rate";
/// The name under which examples per second are shown.
pub(crate) const SAMPLES_PER_SECOND: &str = "Samples/s";
/// The name under which tokens per second are shown.
pub(crate) const TOKENS_PER_SECOND: &str = "Tokens/s";

/// Statistics of a step: those of its batches, still on the device, or read already.
#[derive(Clone, Debug)]
pub struct StepOutput<B: Backend> {
    parts: Vec<Part<B>>,
}

#[derive(Clone, Debug)]
enum Part<B: Backend> {
    Device {
        names: Arc<[&'static str]>,
        /// All sums, then all weights: `[2 * names]`.
        values: Tensor<B, 1>,
        examples: usize,
        tokens: usize,
    },
    Host(StepStats),
}

impl<B: Backend> StepOutput<B> {
    /// Collects `(name, sum, weight)` triples of a batch; each tensor is `[1]`, a mean is
    /// `sum / weight`.
    ///
    /// `tokens` counts text tokens and regions that are not padding.
    pub fn new(
        statistics: Vec<(&'static str, Tensor<B, 1>, Tensor<B, 1>)>,
        examples: usize,
        tokens: usize,
    ) -> Self {
        let names = statistics.iter().map(|(name, ..)| *name).collect();
        let (sums, weights): (Vec<_>, Vec<_>) = statistics
            .into_iter()
            .map(|(_, sum, weight)| (sum, weight))
            .unzip();
        let values = Tensor::cat(sums.into_iter().chain(weights).collect(), 0);
        let part = Part::Device {
            names,
            values,
            examples,
            tokens,
        };
        Self { parts: vec![part] }
    }

    /// Adds those of another batch, without reading either.
    pub(crate) fn append(&mut self, other: Self) {
        self.parts.extend(other.parts);
    }
}

impl<B: Backend> From<StepStats> for StepOutput<B> {
    fn from(stats: StepStats) -> Self {
        Self {
            parts: vec![Part::Host(stats)],
        }
    }
}

impl<B: Backend> StepOutput<B> {
    /// Reads the statistics, and `more` values `[1]` with them, while waiting for the device once.
    pub(crate) fn read_with(self, more: Vec<Tensor<B, 1>>) -> (StepStats, Vec<f64>) {
        let on_device = self.parts.iter().filter_map(|part| match part {
            Part::Device { values, .. } => Some(values.clone()),
            Part::Host(_) => None,
        });
        let tensors: Vec<_> = on_device.chain(more).collect();
        let values: Vec<f64> = match tensors.is_empty() {
            true => Vec::new(),
            false => Tensor::cat(tensors, 0).into_data().iter().collect(),
        };
        let mut rest = values.as_slice();
        let mut sum = StepStats::default();
        for part in self.parts {
            sum.add(&part.stats(&mut rest));
        }
        (sum, rest.to_vec())
    }
}

impl<B: Backend> ItemLazy for StepOutput<B> {
    type ItemSync = StepStats;

    fn sync(self) -> StepStats {
        self.read_with(Vec::new()).0
    }
}

impl<B: Backend> Part<B> {
    /// Takes its values, if they were on the device, from the front of `values`.
    fn stats(self, values: &mut &[f64]) -> StepStats {
        let (names, examples, tokens) = match self {
            Self::Host(stats) => return stats,
            Self::Device {
                names,
                examples,
                tokens,
                ..
            } => (names, examples, tokens),
        };
        let (own, rest) = values.split_at(2 * names.len());
        *values = rest;
        let (sums, weights) = own.split_at(names.len());
        let entries = names
            .iter()
            .zip(sums.iter().zip(weights))
            .map(|(name, (sum, weight))| Statistic {
                name,
                sum: *sum,
                weight: *weight,
            })
            .collect();
        StepStats {
            entries,
            examples,
            tokens,
        }
    }
}

/// A weighted sum under a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistic {
    /// What it is.
    pub name: &'static str,
    /// Sum over the batch.
    pub sum: f64,
    /// What to divide the sum by.
    pub weight: f64,
}

/// Statistics of one batch, or of several added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepStats {
    pub(crate) entries: Vec<Statistic>,
    /// Examples seen.
    pub examples: usize,
    /// Tokens and regions seen, padding aside.
    pub tokens: usize,
}

impl StepStats {
    /// Adds another batch.
    pub fn add(&mut self, other: &StepStats) {
        for entry in &other.entries {
            match self
                .entries
                .iter_mut()
                .find(|known| known.name == entry.name)
            {
                Some(known) => {
                    known.sum += entry.sum;
                    known.weight += entry.weight;
                }
                None => self.entries.push(*entry),
            }
        }
        self.examples += other.examples;
        self.tokens += other.tokens;
    }

    /// The weighted mean of statistic `name`, if any weight was measured.
    pub fn mean(&self, name: &str) -> Option<f64> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        (entry.weight > 0.0).then(|| entry.sum / entry.weight)
    }

    /// Whether the loss, if it was measured, is a finite number.
    pub(crate) fn has_finite_loss(&self) -> bool {
        let mut losses = self.entries.iter().filter(|entry| entry.name == LOSS);
        losses.all(|entry| entry.weight <= 0.0 || entry.sum.is_finite())
    }

    /// All means, in the order they were reported.
    pub fn means(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.entries
            .iter()
            .filter(|entry| entry.weight > 0.0)
            .map(|entry| (entry.name, entry.sum / entry.weight))
    }
}

impl Adaptor<StepStats> for StepStats {
    fn adapt(&self) -> StepStats {
        self.clone()
    }
}

/// Sums since the last `clear`, and the newest value.
#[derive(Clone, Debug, Default)]
struct Running {
    newest: f64,
    sum: f64,
    weight: f64,
}

impl Running {
    fn entry(&self) -> NumericEntry {
        NumericEntry::Value(self.newest)
    }

    fn running_entry(&self) -> NumericEntry {
        NumericEntry::Value(self.mean())
    }

    fn mean(&self) -> f64 {
        if self.weight > 0.0 {
            self.sum / self.weight
        } else {
            0.0
        }
    }

    /// Newest value and mean, with `digits` after the point.
    fn serialize(&self, digits: usize) -> SerializedEntry {
        let shown = format!("{:.digits$} (mean {:.digits$})", self.newest, self.mean());
        SerializedEntry::new(shown, self.newest.to_string())
    }
}

/// Shows one statistic of [`StepStats`] by its name.
#[derive(Clone, Debug)]
pub struct StatMetric {
    name: &'static str,
    higher_is_better: bool,
    state: Running,
    /// Whether the value shown is the mean so far, not the newest.
    cumulative: bool,
}

impl StatMetric {
    /// A metric of statistic `name`.
    pub fn new(name: &'static str, higher_is_better: bool) -> Self {
        Self {
            name,
            higher_is_better,
            state: Running::default(),
            cumulative: false,
        }
    }

    /// Shows the mean since the last `clear`: what a validation is asked for.
    pub fn cumulative(mut self) -> Self {
        self.cumulative = true;
        self
    }
}

impl Metric for StatMetric {
    type Input = StepStats;

    fn name(&self) -> MetricName {
        Arc::new(self.name.to_string())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: None,
            higher_is_better: self.higher_is_better,
        }
        .into()
    }

    fn update(&mut self, stats: &StepStats, _metadata: &MetricMetadata) -> SerializedEntry {
        if let Some(entry) = stats.entries.iter().find(|entry| entry.name == self.name)
            && entry.weight > 0.0
        {
            self.state.newest = entry.sum / entry.weight;
            // A step that was left out is shown, and spoils no mean.
            if entry.sum.is_finite() {
                self.state.sum += entry.sum;
                self.state.weight += entry.weight;
            }
        }
        match self.cumulative {
            true => SerializedEntry::new(
                format!("{:.3}", self.state.mean()),
                self.state.mean().to_string(),
            ),
            false => self.state.serialize(3),
        }
    }

    fn clear(&mut self) {
        self.state = Running::default();
    }
}

impl Numeric for StatMetric {
    fn value(&self) -> NumericEntry {
        match self.cumulative {
            true => self.state.running_entry(),
            false => self.state.entry(),
        }
    }

    fn running_value(&self) -> NumericEntry {
        self.state.running_entry()
    }
}

/// Shows examples or tokens per second since the last validation.
#[derive(Clone, Debug)]
pub struct ThroughputMetric {
    name: &'static str,
    count: fn(&StepStats) -> usize,
    /// End of the step before, or when the first one could begin.
    last: Instant,
    state: Running,
}

impl ThroughputMetric {
    /// Examples per second.
    pub fn samples() -> Self {
        Self::new(SAMPLES_PER_SECOND, |stats| stats.examples)
    }

    /// Text tokens and regions per second, padding aside.
    pub fn tokens() -> Self {
        Self::new(TOKENS_PER_SECOND, |stats| stats.tokens)
    }

    fn new(name: &'static str, count: fn(&StepStats) -> usize) -> Self {
        Self {
            name,
            count,
            last: Instant::now(),
            state: Running::default(),
        }
    }
}

impl Metric for ThroughputMetric {
    type Input = StepStats;

    fn name(&self) -> MetricName {
        Arc::new(self.name.to_string())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: None,
            higher_is_better: true,
        }
        .into()
    }

    fn update(&mut self, stats: &StepStats, _metadata: &MetricMetadata) -> SerializedEntry {
        let now = Instant::now();
        let seconds = (now - self.last).as_secs_f64().max(1e-9);
        let count = (self.count)(stats) as f64;
        self.last = now;
        self.state.newest = count / seconds;
        self.state.sum += count;
        self.state.weight += seconds;
        self.state.serialize(0)
    }

    fn clear(&mut self) {
        // After a validation: its time is not that of the next step.
        self.last = Instant::now();
        self.state = Running::default();
    }
}

impl Numeric for ThroughputMetric {
    fn value(&self) -> NumericEntry {
        self.state.entry()
    }

    fn running_value(&self) -> NumericEntry {
        self.state.running_entry()
    }
}

/// Shows the learning rate of the newest step.
#[derive(Clone, Debug, Default)]
pub struct LearningRateMetric {
    newest: f64,
}

impl Metric for LearningRateMetric {
    type Input = ();

    fn name(&self) -> MetricName {
        Arc::new(LEARNING_RATE.to_string())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: None,
            higher_is_better: false,
        }
        .into()
    }

    fn update(&mut self, _: &(), metadata: &MetricMetadata) -> SerializedEntry {
        self.newest = metadata.lr.unwrap_or(0.0);
        SerializedEntry::new(format!("{:.2e}", self.newest), self.newest.to_string())
    }

    fn clear(&mut self) {}
}

impl Numeric for LearningRateMetric {
    fn value(&self) -> NumericEntry {
        NumericEntry::Value(self.newest)
    }

    fn running_value(&self) -> NumericEntry {
        self.value()
    }
}
