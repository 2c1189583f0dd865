//! What a step measured, and the Burn metric that shows it.
//!
//! A step yields named sums and weights, which stay on the device until the trainer reads those of
//! all its batches at once. One metric type serves every column, so a task adds a metric by adding a
//! name.

use std::sync::Arc;

use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
    NumericEntry, SerializedEntry,
};
use burn_train::{ItemLazy, TrainOutput};
use oscar_core::model::recompute;
use oscar_core::ops::Kernels;

use crate::error::TrainError;
use crate::format::short;

/// The name of the statistic that training minimises and by which the best model is chosen.
pub const LOSS: &str = "Loss";
/// The name under which the learning rate is shown.
pub(crate) const LEARNING_RATE: &str = "Learning rate";
/// The name under which examples per second are shown.
pub(crate) const SAMPLES_PER_SECOND: &str = "Samples/s";
/// The name under which tokens per second are shown.
pub(crate) const TOKENS_PER_SECOND: &str = "Tokens/s";
/// The name under which the number of skipped steps is shown.
pub(crate) const SKIPPED: &str = "Skipped steps";

/// Statistics of the batches of a step, on the device or read already.
#[derive(Clone, Debug)]
pub struct StepOutput<B: Backend> {
    on_device: Vec<BatchStats<B>>,
    read: StepStats,
}

#[derive(Clone, Debug)]
struct BatchStats<B: Backend> {
    names: Arc<[&'static str]>,
    /// All sums, then all weights, each `[1]`: `2 * names`.
    values: Vec<Tensor<B, 1>>,
    examples: usize,
    tokens: usize,
}

/// What a training step returns: the gradients of `loss` `[1]`, times `loss_weight`, by the parameters
/// of `model`, and what it measured.
pub fn train_output<B: AutodiffBackend, M: AutodiffModule<B>>(
    model: &M,
    loss: Tensor<B, 1>,
    loss_weight: f64,
    item: StepOutput<B::InnerBackend>,
) -> TrainOutput<StepOutput<B::InnerBackend>> {
    let loss = match loss_weight {
        1.0 => loss,
        weight => loss.mul_scalar(weight),
    };
    TrainOutput {
        grads: recompute::backward(loss, model),
        item,
    }
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
        let names: Arc<[_]> = statistics.iter().map(|(name, ..)| *name).collect();
        let (sums, weights): (Vec<_>, Vec<_>) = statistics
            .into_iter()
            .map(|(_, sum, weight)| (sum, weight))
            .unzip();
        Self {
            on_device: vec![BatchStats {
                names,
                values: sums.into_iter().chain(weights).collect(),
                examples,
                tokens,
            }],
            read: StepStats::default(),
        }
    }

    /// Adds those of another batch, without reading either.
    pub(crate) fn append(&mut self, other: Self) {
        self.on_device.extend(other.on_device);
        self.read.add(&other.read);
    }

    /// The sums of the losses, each `[1]`, of what is on the device.
    pub(crate) fn losses(&self) -> Vec<Tensor<B, 1>> {
        let batches = self.on_device.iter();
        let losses = batches.flat_map(|batch| {
            let values = batch.names.iter().zip(&batch.values);
            let losses = values.filter(|(name, _)| **name == LOSS);
            losses.map(|(_, sum)| sum.clone())
        });
        losses.collect()
    }

    /// Reads the statistics, and `more` values `[1]` with them, while waiting for the device once.
    ///
    /// # Errors
    ///
    /// If the device failed.
    pub(crate) fn read_with(
        self,
        more: Vec<Tensor<B, 1>>,
    ) -> Result<(StepStats, Vec<f64>), TrainError> {
        let mut read = read_joined(vec![(self, more)], |values| Tensor::cat(values, 0))?;
        Ok(read.remove(0))
    }

    fn values(&self) -> impl Iterator<Item = &Tensor<B, 1>> {
        self.on_device.iter().flat_map(|batch| &batch.values)
    }

    /// The statistics, whose values are the first of `rest`, which are taken out.
    fn with_values(&self, rest: &mut &[f64]) -> StepStats {
        let mut sum = self.read.clone();
        for batch in &self.on_device {
            let (own, others) = rest.split_at(2 * batch.names.len());
            sum.add(&batch.stats(own));
            *rest = others;
        }
        sum
    }
}

/// Reads the statistics of several steps, and values `[1]` with each, while waiting for the device
/// once.
///
/// # Errors
///
/// If the device failed.
pub(crate) fn read_all<B: Kernels>(
    steps: Vec<Unread<B>>,
) -> Result<Vec<(StepStats, Vec<f64>)>, TrainError> {
    read_joined(steps, B::collect)
}

/// Statistics of a step, and values `[1]` beside them.
pub(crate) type Unread<B> = (StepOutput<B>, Vec<Tensor<B, 1>>);

fn read_joined<B: Backend>(
    steps: Vec<Unread<B>>,
    join: impl FnOnce(Vec<Tensor<B, 1>>) -> Tensor<B, 1>,
) -> Result<Vec<(StepStats, Vec<f64>)>, TrainError> {
    let tensors = steps.iter();
    let tensors = tensors.flat_map(|(output, more)| output.values().chain(more).cloned());
    let tensors: Vec<_> = tensors.collect();
    let values: Vec<f64> = match tensors.is_empty() {
        true => Vec::new(),
        false => join(tensors).try_into_data()?.iter().collect(),
    };
    let mut rest = values.as_slice();
    let steps = steps.iter().map(|(output, more)| {
        let stats = output.with_values(&mut rest);
        let (own, others) = rest.split_at(more.len());
        rest = others;
        (stats, own.to_vec())
    });
    Ok(steps.collect())
}

impl<B: Backend> BatchStats<B> {
    fn stats(&self, values: &[f64]) -> StepStats {
        let (sums, weights) = values.split_at(self.names.len());
        let entries = self.names.iter().zip(sums.iter().zip(weights));
        StepStats {
            entries: entries
                .map(|(name, (sum, weight))| Statistic::new(name, *sum, *weight))
                .collect(),
            examples: self.examples,
            tokens: self.tokens,
        }
    }
}

impl<B: Backend> From<StepStats> for StepOutput<B> {
    fn from(read: StepStats) -> Self {
        Self {
            on_device: Vec::new(),
            read,
        }
    }
}

impl<B: Backend> ItemLazy for StepOutput<B> {
    type ItemSync = StepStats;

    /// Burn calls this on its event thread; by then the trainer has read the device.
    fn sync(self) -> StepStats {
        let read = self.read_with(Vec::new());
        read.map(|(stats, _)| stats).unwrap_or_else(|error| {
            tracing::error!("{error}");
            StepStats::default()
        })
    }
}

/// A weighted sum under a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Statistic {
    pub name: &'static str,
    /// Sum over the batch.
    pub sum: f64,
    /// What to divide the sum by.
    pub weight: f64,
}

impl Statistic {
    pub fn new(name: &'static str, sum: f64, weight: f64) -> Self {
        Self { name, sum, weight }
    }
}

/// Statistics of one batch, or of several added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepStats {
    pub(crate) entries: Vec<Statistic>,
    /// Number of examples.
    pub examples: usize,
    /// Number of tokens and regions, padding aside.
    pub tokens: usize,
}

impl StepStats {
    /// Adds another batch.
    pub(crate) fn add(&mut self, other: &StepStats) {
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

    /// All means, in the order they were reported.
    pub fn means(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.entries
            .iter()
            .filter(|entry| entry.weight > 0.0)
            .map(|entry| (entry.name, entry.sum / entry.weight))
    }

    /// Whether the loss, if it was measured, is a finite number.
    pub(crate) fn has_finite_loss(&self) -> bool {
        let mut losses = self.entries.iter().filter(|entry| entry.name == LOSS);
        losses.all(|entry| entry.weight <= 0.0 || entry.sum.is_finite())
    }
}

impl Adaptor<StepStats> for StepStats {
    fn adapt(&self) -> StepStats {
        self.clone()
    }
}

/// Which value of a metric is shown and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// That of the newest step.
    Newest,
    /// That of the newest step, and the mean since the last validation beside it.
    NewestAndMean,
    /// The mean since the last `clear`: over a validation.
    Mean,
}

/// Shows one statistic of [`StepStats`] by its name.
#[derive(Clone, Debug)]
pub(crate) struct StatMetric {
    name: &'static str,
    higher_is_better: bool,
    shown: Shown,
    newest: f64,
    /// Sum and weight since the last `clear`.
    sum: f64,
    weight: f64,
}

impl StatMetric {
    /// A metric of statistic `name`.
    pub fn new(name: &'static str, higher_is_better: bool, shown: Shown) -> Self {
        Self {
            name,
            higher_is_better,
            shown,
            newest: 0.0,
            sum: 0.0,
            weight: 0.0,
        }
    }

    fn mean(&self) -> f64 {
        match self.weight > 0.0 {
            true => self.sum / self.weight,
            false => 0.0,
        }
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
            self.newest = entry.sum / entry.weight;
            // Skipped steps are shown but excluded from the mean.
            if entry.sum.is_finite() {
                self.sum += entry.sum;
                self.weight += entry.weight;
            }
        }
        let (newest, mean) = (short(self.newest), short(self.mean()));
        let text = match self.shown {
            Shown::Newest => newest,
            Shown::NewestAndMean => format!("{newest} (mean {mean})"),
            Shown::Mean => mean,
        };
        SerializedEntry::new(text, self.value().current().to_string())
    }

    fn clear(&mut self) {
        *self = Self::new(self.name, self.higher_is_better, self.shown);
    }
}

impl Numeric for StatMetric {
    fn value(&self) -> NumericEntry {
        NumericEntry::Value(match self.shown {
            Shown::Mean => self.mean(),
            _ => self.newest,
        })
    }

    fn running_value(&self) -> NumericEntry {
        NumericEntry::Value(self.mean())
    }
}
