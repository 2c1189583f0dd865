//! Logits of a whole split.

use std::time::Instant;

use oscar_core::input::{ExampleSeed, SourceError};
use oscar_core::ops::OscarBackend;

use super::{Classify, EncodedRow, sequences};
use crate::batches::run_split;
use crate::{ClassData, EvaluateOptions, Opened, TaskData, Throughput};

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

/// The index of the largest value; of equal ones the first.
pub(super) fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// Runs the opened classifier over `data`, whose examples are one decision each.
///
/// # Errors
///
/// If an example cannot be read.
pub fn predict_logits<B: OscarBackend, T: Classify>(
    opened: &Opened<T, B>,
    data: &T::Data,
    options: &EvaluateOptions<'_>,
) -> Result<(Logits, Throughput), SourceError> {
    let started = Instant::now();
    let mut tokens = 0;
    let logits = run_split(
        0..data.len(),
        options.batch_size,
        |index| decision(data, index),
        EncodedRow::num_positions,
        |rows| {
            let sequences = sequences(rows);
            tokens += sequences.iter().map(|row| row.len()).sum::<usize>();
            let input = opened.encoder().batch(&sequences, &opened.device)?;
            let output = opened.model.network.forward(input)?;
            let [_, labels] = output.dims();
            let values: Vec<f32> = output.into_data().iter::<f32>().collect();
            Ok(values.chunks_exact(labels).map(<[f32]>::to_vec).collect())
        },
        options.progress,
    )?;
    let throughput = Throughput {
        examples: logits.len(),
        tokens,
        seconds: started.elapsed().as_secs_f64(),
    };
    let labels = logits.first().map_or(0, Vec::len);
    Ok((Logits::new(labels, logits.concat()), throughput))
}

fn decision(data: &impl ClassData, index: usize) -> Result<EncodedRow, SourceError> {
    // Nothing is random where a model is scored.
    let seed = ExampleSeed { seed: 0, epoch: 0 };
    let mut rows = data.example(index, seed)?.into_iter();
    match (rows.next(), rows.next()) {
        (Some(row), None) => Ok(row),
        _ => Err(format!(
            "example {index} has several candidates, but this metric expects one per example"
        )
        .into()),
    }
}
