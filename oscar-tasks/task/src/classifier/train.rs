//! Training a classifier: one step of training and one of validation, as Burn's learner calls them.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn_train::{InferenceStep, TrainOutput, TrainStep};
use oscar_core::checkpoint::Checkpointed;
use oscar_core::config::{ConfigError, ModelConfig};
use oscar_core::input::OscarInput;
use oscar_core::model::{ClassTargets, OscarClassifier};
use oscar_core::ops::{self, OscarBackend, TrainBackend};
use oscar_train::{BeforeEpoch, Epoch, LOSS, StepOutput, TrainConfig, Weighted, train_output};

use super::predict::new_network;
use super::{ClassBatch, ClassData, Classify, Decided, FinetuneSource, Training};
use crate::train::{CACHE, FinetuneError, Job, Learn, Parts, Trained};

/// Module of every classifier that start weights may lack, and that is then initialised randomly.
const HEAD: &str = "classifier";

/// An [`OscarClassifier`] that is trained for the task `T`.
#[derive(Module, Debug)]
pub struct FinetuneModel<B: Backend, T: Classify> {
    model: OscarClassifier<B>,
    #[module(skip)]
    task: T,
}

impl<B: OscarBackend, T: Classify> FinetuneModel<B, T> {
    /// A model with fresh weights.
    pub fn new(config: &ModelConfig, task: T, device: &B::Device) -> Self {
        Self {
            model: new_network(config, task.is_pair(), device),
            task,
        }
    }

    /// Logits of a batch, whose rows are whole decisions.
    fn logits(&self, input: OscarInput<B>) -> Tensor<B, 2> {
        let logits = self.model.forward(input);
        logits.unwrap_or_else(|incomplete| panic!("{incomplete}"))
    }

    /// The loss of a batch with these logits, `[1]`: the model's own, or a weighted sum of cross entropies,
    /// averaged over the examples.
    fn loss(&self, logits: Tensor<B, 2>, batch: &ClassBatch<B>) -> Tensor<B, 1> {
        match (&batch.weights, &batch.targets) {
            (Some(weights), ClassTargets::Class(classes)) => {
                let losses = ops::cross_entropy_rows(logits, classes.clone());
                (losses * weights.clone()).sum() / batch.num_examples as f64
            }
            (_, targets) => self.model.loss(logits, targets.clone()),
        }
    }
}

impl<B: Backend, T: Classify> Checkpointed<B> for FinetuneModel<B, T> {}

/// Loss and statistics of a batch.
fn output<B: Backend>(
    task: &impl Classify,
    decided: Decided<B>,
    loss: Tensor<B, 1>,
    tokens: usize,
) -> StepOutput<B> {
    let [rows, _] = decided.logits.dims();
    let weight = decided.weight(rows);
    let mut statistics = vec![(LOSS, loss * weight.clone(), weight)];
    statistics.extend(task.statistics(&decided));
    StepOutput::new(statistics, decided.examples, tokens)
}

impl<B: TrainBackend, T: Classify> TrainStep for FinetuneModel<B, T> {
    type Input = Weighted<ClassBatch<B>>;
    type Output = StepOutput<B::InnerBackend>;

    fn step(&self, input: Self::Input) -> TrainOutput<Self::Output> {
        let Weighted { batch, loss_weight } = input;
        let logits = self.logits(batch.input.clone());
        let loss = self.loss(logits.clone(), &batch);
        let decided = Decided {
            logits: logits.inner(),
            targets: match batch.targets {
                ClassTargets::Class(classes) => ClassTargets::Class(classes.inner()),
                ClassTargets::Soft(scores) => ClassTargets::Soft(scores.inner()),
                ClassTargets::Shares(shares) => ClassTargets::Shares(shares.inner()),
            },
            examples: batch.num_examples,
        };
        let item = output(&self.task, decided, loss.clone().inner(), batch.num_tokens);
        train_output(self, loss, loss_weight, item)
    }
}

impl<B: OscarBackend, T: Classify> InferenceStep for FinetuneModel<B, T> {
    type Input = Weighted<ClassBatch<B>>;
    type Output = StepOutput<B>;

    fn step(&self, input: Self::Input) -> Self::Output {
        let batch = input.batch;
        let logits = self.logits(batch.input.clone());
        let loss = self.loss(logits.clone(), &batch);
        let decided = Decided {
            logits,
            targets: batch.targets,
            examples: batch.num_examples,
        };
        output(&self.task, decided, loss, batch.num_tokens)
    }
}

impl<T: Classify> Learn for T {
    fn validate_training(&self, train: &TrainConfig) -> Result<(), ConfigError> {
        Classify::validate_training(self, train)
    }

    fn train<B: TrainBackend>(job: Job<B, Self>) -> Result<Trained, FinetuneError> {
        let config = &job.config;
        let source = |data: &Arc<Self::Data>, redraw| {
            Arc::new(FinetuneSource::new(
                data.clone(),
                job.checkpoint.encoder.clone(),
                config.model.num_labels,
                config.train.seed,
                redraw,
            ))
        };
        let metrics = config.task.metrics();
        let parts = Parts {
            model: FinetuneModel::<B, T>::new(&config.model, config.task.clone(), &job.device),
            train: source(&job.train, true),
            validation: source(&job.validation, false),
            head: Some(HEAD),
            metrics: metrics.iter().map(|name| (*name, true)).collect(),
            validation_metrics: Vec::new(),
            selection_metric: metrics.last().copied().unwrap_or(LOSS),
        };
        let micro_batch = config.train.batch_size / config.train.accumulation;
        let training = Training {
            data: &job.train,
            cache: &job.options.run.path().join(CACHE),
            batch_size: micro_batch * job.train.rows_per_example(),
            seed: config.train.seed,
        };
        let before_epoch = config.task.before_epoch::<B::InnerBackend>(&training);
        let before_epoch = before_epoch.map(|before| -> BeforeEpoch<_> {
            Arc::new(
                move |epoch: Epoch, model: &FinetuneModel<B::InnerBackend, T>| {
                    before(epoch, &model.model)
                },
            )
        });
        job.fit_with(parts, before_epoch)
    }
}
