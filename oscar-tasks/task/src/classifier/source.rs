//! From the examples of a split to batches.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use oscar_core::input::{ExampleSeed, OscarInput, SequenceEncoder, SourceError};
use oscar_core::model::ClassTargets;

use oscar_train::{BatchSource, ExampleRef};

use super::{ClassData, EncodedRow, Target, sequences};

/// A batch of decisions to make.
#[derive(Clone, Debug)]
pub struct ClassBatch<B: Backend> {
    /// Text and regions; a pair's sequences follow one another.
    pub input: OscarInput<B>,
    /// The right classes.
    pub targets: ClassTargets<B>,
    /// Weight of each decision in the loss, `[decisions]`, if they differ.
    pub weights: Option<Tensor<B, 1>>,
    /// Examples, of which each may hold several decisions.
    pub num_examples: usize,
    /// Text tokens and regions, padding aside.
    pub num_tokens: usize,
}

/// A split of a task as the training engine reads it.
pub struct FinetuneSource<D> {
    data: Arc<D>,
    encoder: Arc<SequenceEncoder>,
    labels: usize,
    seed: u64,
    /// Whether what is random differs from epoch to epoch.
    redraw: bool,
}

impl<D: ClassData> FinetuneSource<D> {
    /// Batches of `data` with targets over `labels` classes; what is random follows `seed`, and the
    /// epoch if `redraw`.
    pub fn new(
        data: Arc<D>,
        encoder: Arc<SequenceEncoder>,
        labels: usize,
        seed: u64,
        redraw: bool,
    ) -> Self {
        Self {
            data,
            encoder,
            labels,
            seed,
            redraw,
        }
    }

    fn example(&self, pick: ExampleRef) -> Result<Vec<EncodedRow>, SourceError> {
        let seed = ExampleSeed {
            seed: self.seed,
            epoch: if self.redraw { pick.epoch } else { 0 },
        };
        self.data.example(pick.index as usize, seed)
    }
}

impl<B: Backend, D: ClassData> BatchSource<B> for FinetuneSource<D> {
    type Batch = ClassBatch<B>;

    fn len(&self) -> usize {
        self.data.len()
    }

    fn rows_per_example(&self) -> usize {
        self.data.rows_per_example()
    }

    fn name(&self, pick: ExampleRef) -> String {
        let rows = self.example(pick).unwrap_or_default();
        let mut names = rows.iter().flat_map(|row| &row.sequences);
        match names.next() {
            Some(sequence) if !sequence.origin.is_empty() => sequence.origin.clone(),
            _ => format!("row {}", pick.index + 1),
        }
    }

    fn batch(
        &self,
        picks: &[ExampleRef],
        device: &B::Device,
    ) -> Result<ClassBatch<B>, SourceError> {
        let mut rows = Vec::with_capacity(picks.len());
        for pick in picks {
            rows.extend(self.example(*pick)?);
        }
        let targets = targets(&rows, self.labels, device)?;
        let sequences = sequences(&rows);
        Ok(ClassBatch {
            input: self.encoder.batch(&sequences, device)?,
            targets,
            weights: self.data.row_weights().map(|weights| {
                let weights = weights.repeat(picks.len());
                let shape = [weights.len()];
                Tensor::from_data(TensorData::new(weights, shape), device)
            }),
            num_examples: picks.len(),
            num_tokens: sequences.iter().map(|sequence| sequence.len()).sum(),
        })
    }
}

/// Classes if every row has one, else scores or shares of all labels.
fn targets<B: Backend>(
    rows: &[EncodedRow],
    labels: usize,
    device: &B::Device,
) -> Result<ClassTargets<B>, SourceError> {
    let mut classes = Vec::with_capacity(rows.len());
    let (mut scores, mut shares) = (Vec::new(), 0);
    for row in rows {
        let origin = || row.sequences.first().map_or("a row", |s| s.origin.as_str());
        let in_range = |class: u32| match (class as usize) < labels.max(2) {
            true => Ok(class),
            false => Err(format!(
                "{}: class {class}, but the model has {labels} labels",
                origin()
            )),
        };
        match &row.target {
            None => {
                return Err(
                    format!("{}: it has no target; training rows need one", origin()).into(),
                );
            }
            Some(Target::Class(class)) => classes.push(in_range(*class)? as i32),
            Some(Target::Scores(own) | Target::Shares(own)) => {
                shares += usize::from(matches!(row.target, Some(Target::Shares(_))));
                let start = scores.len();
                scores.resize(start + labels, 0.0);
                for (class, score) in own {
                    scores[start + in_range(*class)? as usize] = *score;
                }
            }
        }
    }
    let mixed = !scores.is_empty() && !classes.is_empty();
    if mixed || (shares > 0 && shares < rows.len()) {
        let found = "some rows have one class, others scores or shares; give all rows the same";
        return Err(found.into());
    }
    Ok(match scores.is_empty() {
        true => {
            let shape = [classes.len()];
            ClassTargets::Class(Tensor::from_data(TensorData::new(classes, shape), device))
        }
        false => {
            let shape = [rows.len(), labels];
            let values = Tensor::from_data(TensorData::new(scores, shape), device);
            match shares {
                0 => ClassTargets::Soft(values),
                _ => ClassTargets::Shares(values),
            }
        }
    })
}
