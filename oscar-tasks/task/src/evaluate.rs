//! Logits of a whole split.

use std::path::Path;
use std::time::Instant;

use oscar_core::config::ModelConfig;
use oscar_core::input::{ExampleSeed, SequenceEncoder, SourceError};
use oscar_core::model::OscarClassifier;
use oscar_core::ops::OscarBackend;
use rayon::prelude::*;
use serde::Serialize;

use crate::{EncodedRow, TaskData};

/// Batches whose examples are sorted by length together.
const BATCHES_SORTED: usize = 32;

/// How to run a model over a split.
pub struct EvaluateOptions<'a> {
    /// Makes batches.
    pub encoder: &'a SequenceEncoder,
    /// Decisions per batch.
    pub batch_size: usize,
    /// Told how many of how many examples are done.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
    /// The model's configuration.
    pub model: &'a ModelConfig,
    /// Directory, made where needed, in which a task whose scoring takes hours may keep what is
    /// done, so that a killed one goes on.
    pub cache: Option<&'a Path>,
}

/// One row of logits per example.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    labels: usize,
    values: Vec<f32>,
}

impl Logits {
    /// Rows of `labels` logits each, one after the other.
    pub fn new(labels: usize, values: Vec<f32>) -> Self {
        Self { labels, values }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.labels.max(1)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.labels.max(1))
    }

    /// The best class of each row; of equal ones the first.
    pub fn best(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.rows().map(argmax)
    }
}

/// Where the largest value stands; of equal ones the first.
pub(crate) fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// How fast a split was run through.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Throughput {
    /// Decisions.
    pub examples: usize,
    /// Text positions and regions, padding aside.
    pub tokens: usize,
    /// Time from first to last batch, encoding included.
    pub seconds: f64,
}

/// Runs `model` over `data`, whose examples are one decision each.
///
/// Examples are encoded on all cores, and batched by length, since padding costs as much as text.
///
/// # Errors
///
/// If an example cannot be read.
pub fn predict_logits<B: OscarBackend, D: TaskData>(
    model: &OscarClassifier<B>,
    data: &D,
    options: &EvaluateOptions<'_>,
    device: &B::Device,
) -> Result<(Logits, Throughput), SourceError> {
    let started = Instant::now();
    let total = data.len();
    let mut done = Throughput {
        examples: total,
        ..Throughput::default()
    };
    let mut logits: Vec<Vec<f32>> = vec![Vec::new(); total];
    let chunk = options.batch_size * BATCHES_SORTED;
    for start in (0..total).step_by(chunk) {
        let end = (start + chunk).min(total);
        let mut rows = (start..end)
            .into_par_iter()
            .map(|index| Ok((index, decision(data, index)?)))
            .collect::<Result<Vec<_>, SourceError>>()?;
        rows.sort_by_key(|(_, row)| row.len());
        let mut finished = start;
        for batch in rows.chunks(options.batch_size) {
            let sequences: Vec<_> = batch
                .iter()
                .flat_map(|(_, row)| row.sequences.iter().cloned())
                .collect();
            done.tokens += sequences
                .iter()
                .map(|sequence| sequence.len())
                .sum::<usize>();
            let output = model.forward(options.encoder.batch(&sequences, device)?)?;
            let [_, labels] = output.dims();
            let values: Vec<f32> = output.into_data().iter::<f32>().collect();
            for ((index, _), row) in batch.iter().zip(values.chunks_exact(labels)) {
                logits[*index] = row.to_vec();
            }
            finished += batch.len();
            (options.progress)(finished, total);
        }
    }
    let labels = logits.first().map_or(0, Vec::len);
    done.seconds = started.elapsed().as_secs_f64();
    Ok((Logits::new(labels, logits.concat()), done))
}

fn decision<D: TaskData>(data: &D, index: usize) -> Result<EncodedRow, SourceError> {
    // Nothing is drawn at random where a model is judged.
    let seed = ExampleSeed { seed: 0, epoch: 0 };
    let mut rows = data.example(index, seed)?.into_iter();
    match (rows.next(), rows.next()) {
        (Some(row), None) => Ok(row),
        _ => Err(format!("example {index} is not one decision, but is to be judged as one").into()),
    }
}

impl EncodedRow {
    fn len(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.len()).sum()
    }
}
