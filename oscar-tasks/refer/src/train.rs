//! Training.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::config::ModelConfig;
use oscar_core::input::{EncodedSequence, RegionInput, SourceError};
use oscar_core::model::{OscarForReferring, ReferringLoss, ReferringTargets};
use oscar_core::ops::{OscarBackend, TrainBackend};
use oscar_task::{FinetuneError, Job, Learn, Parts, TaskData, Trained};
use oscar_train::{BatchSource, ExampleRef, LOSS, StepOutput, Weighted, train_output};

use crate::Refer;
use crate::boxes::{RIGHT, RowTargets};
use crate::data::{EncodedExpression, ReferData};

/// Share of expressions whose best region, before its box is corrected, overlaps the right box enough.
pub const REGION_ACCURACY: &str = "Region accuracy";
const RANK_LOSS: &str = "Rank loss";
const BOX_LOSS: &str = "Box loss";

/// Module that start weights may lack.
const HEAD: &str = "referring";

/// A batch of expressions.
#[derive(Clone, Debug)]
pub struct ReferBatch<B: Backend> {
    /// Text and regions.
    pub input: RegionInput<B>,
    /// The right answers.
    pub targets: ReferringTargets<B>,
    /// `[batch, regions]`: 1 for regions that overlap the right box enough.
    pub right: Tensor<B, 2>,
    /// Expressions.
    pub num_examples: usize,
    /// Text tokens and regions, padding aside.
    pub num_tokens: usize,
}

/// A split as the training engine reads it.
pub struct ReferSource(pub Arc<ReferData>);

impl<B: Backend> BatchSource<B> for ReferSource {
    type Batch = ReferBatch<B>;

    fn len(&self) -> usize {
        TaskData::len(&*self.0)
    }

    fn name(&self, pick: ExampleRef) -> String {
        self.0.rows().origin(pick.index as usize)
    }

    fn batch(
        &self,
        picks: &[ExampleRef],
        device: &B::Device,
    ) -> Result<ReferBatch<B>, SourceError> {
        let examples = picks.iter().map(|pick| self.0.example(pick.index as usize));
        let examples: Vec<EncodedExpression> = examples.collect::<Result<_, _>>()?;
        let sequences: Vec<EncodedSequence> =
            examples.iter().map(|row| row.sequence.clone()).collect();
        let input = self.0.encoder().batch_regions(&sequences, device)?;
        let [_, regions] = input.region_mask.dims();
        let (targets, right) = targets(&examples, regions, device)?;
        Ok(ReferBatch {
            input,
            targets,
            right,
            num_examples: picks.len(),
            num_tokens: sequences.iter().map(EncodedSequence::len).sum(),
        })
    }
}

/// The right answers of a batch whose rows are padded to `regions`, and which regions are right.
fn targets<B: Backend>(
    rows: &[EncodedExpression],
    regions: usize,
    device: &B::Device,
) -> Result<(ReferringTargets<B>, Tensor<B, 2>), SourceError> {
    let places = rows.len() * regions;
    let (mut rank, mut rank_weights) = (vec![0.0f32; places], vec![0.0f32; places]);
    let (mut deltas, mut right) = (vec![0.0f32; 4 * places], vec![0.0f32; places]);
    for (at, row) in rows.iter().enumerate() {
        let truth = row.truth.ok_or_else(|| {
            let origin = &row.sequence.origin;
            format!("{origin}: it has no box; training rows need one")
        })?;
        let RowTargets {
            rank: shares,
            overlaps,
            deltas: own,
        } = row.candidates.targets(truth);
        for region in 0..overlaps.len() {
            let place = at * regions + region;
            right[place] = f32::from(overlaps[region] >= RIGHT);
            // Empty if no region is right.
            if let Some(share) = shares.get(region) {
                rank[place] = *share as f32;
                rank_weights[place] = 1.0;
                for (value, delta) in deltas[4 * place..].iter_mut().zip(own[region]) {
                    *value = delta as f32;
                }
            }
        }
    }
    let shape = [rows.len(), regions];
    let matrix = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape), device);
    let deltas = TensorData::new(deltas, [rows.len(), regions, 4]);
    let right = matrix(right);
    Ok((
        ReferringTargets {
            rank: matrix(rank),
            rank_weights: matrix(rank_weights),
            deltas: Tensor::from_data(deltas, device),
            delta_weights: right.clone(),
        },
        right,
    ))
}

/// An [`OscarForReferring`] that is trained.
#[derive(Module, Debug)]
pub struct ReferModel<B: Backend> {
    model: OscarForReferring<B>,
    box_loss_weight: f64,
}

impl<B: OscarBackend> ReferModel<B> {
    /// A model with fresh weights.
    pub fn new(config: &ModelConfig, task: &Refer, device: &B::Device) -> Self {
        Self {
            model: OscarForReferring::new(config, device),
            box_loss_weight: task.box_loss_weight,
        }
    }

    /// The loss of a batch, its parts, and the number of expressions whose best region is right.
    fn run(&self, batch: ReferBatch<B>) -> (Tensor<B, 1>, ReferringLoss<B>, Tensor<B, 1>) {
        let output = self.model.forward(batch.input);
        let best = output.scores.clone().argmax(1);
        let right = batch.right.gather(1, best).sum();
        let parts = output.loss(batch.targets);
        let boxes = parts.boxes.clone().mul_scalar(self.box_loss_weight);
        (parts.rank.clone() + boxes, parts, right)
    }
}

impl<B: Backend> Checkpointed<B> for ReferModel<B> {}

/// Loss and statistics of a batch.
fn output<B: Backend>(
    loss: Tensor<B, 1>,
    parts: ReferringLoss<B>,
    right: Tensor<B, 1>,
    (examples, tokens): (usize, usize),
) -> StepOutput<B> {
    let weight = Tensor::full([1], examples as f32, &loss.device());
    let mean = |name, value: Tensor<B, 1>| (name, value * weight.clone(), weight.clone());
    let statistics = vec![
        mean(LOSS, loss),
        mean(RANK_LOSS, parts.rank),
        mean(BOX_LOSS, parts.boxes),
        (REGION_ACCURACY, right, weight.clone()),
    ];
    StepOutput::new(statistics, examples, tokens)
}

impl<B: TrainBackend> TrainStep for ReferModel<B> {
    type Input = Weighted<ReferBatch<B>>;
    type Output = StepOutput<B::InnerBackend>;

    fn step(&self, input: Self::Input) -> TrainOutput<Self::Output> {
        let Weighted { batch, loss_weight } = input;
        let counts = (batch.num_examples, batch.num_tokens);
        let (loss, parts, right) = self.run(batch);
        let parts = ReferringLoss {
            rank: parts.rank.inner(),
            boxes: parts.boxes.inner(),
        };
        let item = output(loss.clone().inner(), parts, right.inner(), counts);
        train_output(self, loss, loss_weight, item)
    }
}

impl<B: OscarBackend> InferenceStep for ReferModel<B> {
    type Input = Weighted<ReferBatch<B>>;
    type Output = StepOutput<B>;

    fn step(&self, input: Self::Input) -> Self::Output {
        let counts = (input.batch.num_examples, input.batch.num_tokens);
        let (loss, parts, right) = self.run(input.batch);
        output(loss, parts, right, counts)
    }
}

impl Learn for Refer {
    fn train<B: TrainBackend>(job: Job<B, Self>) -> Result<Trained, FinetuneError> {
        let config = &job.config;
        let parts = Parts {
            model: ReferModel::<B>::new(&config.model, &config.task, &job.device),
            train: Arc::new(ReferSource(job.train.clone())),
            validation: Arc::new(ReferSource(job.validation.clone())),
            head: Some(HEAD),
            metrics: vec![
                (RANK_LOSS, false),
                (BOX_LOSS, false),
                (REGION_ACCURACY, true),
            ],
            validation_metrics: Vec::new(),
            selection_metric: REGION_ACCURACY,
        };
        job.fit(parts)
    }
}
