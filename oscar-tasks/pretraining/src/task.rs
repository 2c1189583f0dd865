//! The model as Burn's learner sees it: one step of training, one of validation.

use burn::module::Module;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::config::ModelConfig;
use oscar_core::input::{MaskedTargets, PretrainBatch};
use oscar_core::model::{OscarForPretraining, PretrainOutput, recompute};
use oscar_core::ops::{OscarBackend, TrainBackend};
use oscar_train::{LOSS, StepOutput, Weighted};

/// Cross entropy of masked tokens.
pub const MLM_LOSS: &str = "MLM loss";
/// Cross entropy of the image-text relation.
pub const CONTRASTIVE_LOSS: &str = "Contrastive loss";
/// Share of masked tokens whose best guess is right.
pub const MLM_ACCURACY: &str = "Masked-token accuracy";
/// Share of pairs whose relation (matched, polluted) is told right.
pub const CONTRASTIVE_ACCURACY: &str = "Contrastive accuracy";

/// [`OscarForPretraining`], ready to be trained.
#[derive(Module, Debug)]
pub struct PretrainingTask<B: Backend> {
    model: OscarForPretraining<B>,
}

impl<B: OscarBackend> PretrainingTask<B> {
    /// A model with fresh weights.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        Self {
            model: OscarForPretraining::new(config, device),
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
        let output = self.model.forward(&input.batch);
        let statistics = statistics(detach(&output), &detach_batch(&input.batch));
        let loss = match input.loss_weight {
            1.0 => output.loss,
            weight => output.loss.mul_scalar(weight),
        };
        TrainOutput {
            grads: recompute::backward(loss, self),
            item: statistics,
        }
    }
}

impl<B: OscarBackend> InferenceStep for PretrainingTask<B> {
    type Input = Weighted<PretrainBatch<B>>;
    type Output = StepOutput<B>;

    fn step(&self, input: Self::Input) -> Self::Output {
        let output = self.model.forward(&input.batch);
        statistics(output, &Targets::of(&input.batch))
    }
}

/// What predictions are compared with.
struct Targets<B: Backend> {
    masked: MaskedTargets<B>,
    relation: Tensor<B, 1, Int>,
    examples: usize,
    tokens: usize,
}

impl<B: Backend> Targets<B> {
    fn of(batch: &PretrainBatch<B>) -> Self {
        Self {
            masked: batch.masked.clone(),
            relation: batch.relation.clone(),
            examples: batch.num_examples,
            tokens: batch.num_tokens,
        }
    }
}

fn detach_batch<B: AutodiffBackend>(batch: &PretrainBatch<B>) -> Targets<B::InnerBackend> {
    Targets {
        masked: batch.masked.clone().inner(),
        relation: batch.relation.clone().inner(),
        examples: batch.num_examples,
        tokens: batch.num_tokens,
    }
}

fn detach<B: AutodiffBackend>(output: &PretrainOutput<B>) -> PretrainOutput<B::InnerBackend> {
    PretrainOutput {
        loss: output.loss.clone().inner(),
        mlm_loss: output.mlm_loss.clone().inner(),
        contrastive_loss: output.contrastive_loss.clone().inner(),
        mlm_logits: output.mlm_logits.clone().inner(),
        contrastive_logits: output.contrastive_logits.clone().inner(),
    }
}

fn statistics<B: Backend>(output: PretrainOutput<B>, targets: &Targets<B>) -> StepOutput<B> {
    let device = output.loss.device();
    let examples = Tensor::<B, 1>::full([1], targets.examples as f32, &device);
    let masked = targets.masked.weights.clone().sum();
    let right_tokens = (hits(output.mlm_logits, targets.masked.labels.clone())
        * targets.masked.weights.clone())
    .sum();
    let right_relations = hits(output.contrastive_logits, targets.relation.clone()).sum();
    StepOutput::new(
        vec![
            (LOSS, output.loss * examples.clone(), examples.clone()),
            (MLM_LOSS, output.mlm_loss * masked.clone(), masked.clone()),
            (
                CONTRASTIVE_LOSS,
                output.contrastive_loss * examples.clone(),
                examples.clone(),
            ),
            (MLM_ACCURACY, right_tokens, masked),
            (CONTRASTIVE_ACCURACY, right_relations, examples),
        ],
        targets.examples,
        targets.tokens,
    )
}

/// 1 where the best class of `logits` `[rows, classes]` is the label, else 0: `[rows]`.
pub(crate) fn hits<B: Backend>(logits: Tensor<B, 2>, labels: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let [rows] = labels.dims();
    logits.argmax(1).reshape([rows]).equal(labels).float()
}
