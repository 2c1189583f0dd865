//! The model as Burn's learner sees it: one step of training, one of validation.

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, backend::AutodiffBackend};
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::config::ModelConfig;
use oscar_core::input::PretrainBatch;
use oscar_core::model::OscarForPretraining;
use oscar_core::ops::{OscarBackend, TrainBackend};
use oscar_train::{LOSS, StepOutput, Weighted, train_output};

use crate::objective::{Objective, ObjectiveOutput, Objectives};

/// [`OscarForPretraining`] with the objectives that it is trained on.
#[derive(Module, Debug)]
pub struct PretrainingTask<B: Backend> {
    model: OscarForPretraining<B>,
    #[module(skip)]
    objectives: Objectives,
}

impl<B: OscarBackend> PretrainingTask<B> {
    /// A model with fresh weights.
    pub fn new(config: &ModelConfig, objectives: Objectives, device: &B::Device) -> Self {
        Self {
            model: OscarForPretraining::new(config, device),
            objectives,
        }
    }

    /// The model itself.
    pub fn model(&self) -> &OscarForPretraining<B> {
        &self.model
    }
}

impl<B: OscarBackend> Checkpointed<B> for PretrainingTask<B> {
    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        self.model.aliases()
    }
}

impl<B: TrainBackend> TrainStep for PretrainingTask<B> {
    type Input = Weighted<PretrainBatch<B>>;
    type Output = StepOutput<B::InnerBackend>;

    fn step(&self, input: Self::Input) -> TrainOutput<Self::Output> {
        let (loss, outputs) = self.objectives.score(&self.model, &input.batch);
        let sizes = Sizes::of(&input.batch);
        let item = statistics(loss.clone().inner(), inner(outputs), sizes);
        train_output(self, loss, input.loss_weight, item)
    }
}

impl<B: OscarBackend> InferenceStep for PretrainingTask<B> {
    type Input = Weighted<PretrainBatch<B>>;
    type Output = StepOutput<B>;

    fn step(&self, input: Self::Input) -> Self::Output {
        let (loss, outputs) = self.objectives.score(&self.model, &input.batch);
        statistics(loss, outputs, Sizes::of(&input.batch))
    }
}

/// What the objectives of a step make of its batch.
type Outputs<B> = Vec<(Objective, ObjectiveOutput<B>)>;

fn inner<B: AutodiffBackend>(outputs: Outputs<B>) -> Outputs<B::InnerBackend> {
    let outputs = outputs.into_iter();
    outputs
        .map(|(objective, output)| (objective, output.inner()))
        .collect()
}

/// How much a batch holds.
#[derive(Clone, Copy)]
struct Sizes {
    examples: usize,
    tokens: usize,
}

impl Sizes {
    fn of<B: Backend>(batch: &PretrainBatch<B>) -> Self {
        Self {
            examples: batch.num_examples,
            tokens: batch.num_tokens,
        }
    }
}

/// Sums and weights of the total loss, of each objective's loss, and of its accuracy.
fn statistics<B: Backend>(loss: Tensor<B, 1>, outputs: Outputs<B>, sizes: Sizes) -> StepOutput<B> {
    let examples = Tensor::<B, 1>::full([1], sizes.examples as f32, &loss.device());
    let mut entries = vec![(LOSS, loss * examples.clone(), examples)];
    let mut accuracies = Vec::with_capacity(outputs.len());
    for (objective, output) in outputs {
        let (loss, accuracy) = objective.metrics();
        let predictions = output.predictions;
        let sum = output.loss * predictions.clone();
        entries.push((loss, sum, predictions.clone()));
        if let Some((accuracy, right)) = accuracy.zip(output.right) {
            accuracies.push((accuracy, right, predictions));
        }
    }
    entries.extend(accuracies);
    StepOutput::new(entries, sizes.examples, sizes.tokens)
}
