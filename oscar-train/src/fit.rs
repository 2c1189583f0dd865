//! One call that trains a model: Burn's learner set up for Oscar.

use std::io::{IsTerminal, Write};
use std::marker::PhantomData;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use burn::data::dataloader::DataLoader;
use burn::module::Module;
use burn_train::metric::LearningRateMetric;
use oscar_core::ops::TrainBackend;
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use burn_train::{InferenceStep, Interrupter, Learner, SupervisedTraining, TrainStep, TrainingStrategy};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::metrics_log::MetricsLog;
use crate::loader::{BatchSource, Corpus, Failure, Order, StepLoader, Weighted, lock};
use crate::optim::{AdamW, AdamWConfig};
use crate::renderer::LineRenderer;
use crate::run::{FixedSettings, RunDir};
use crate::schedule::{LinearSchedule, ScheduleOrder};
use crate::stats::{LOSS, StatMetric, StepOutput, ThroughputMetric};
use crate::strategy::{ClipAt, Components, Describe, Outcome, Pace, Session, StepStrategy, Trainable};

/// `[optimizer]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up; then the rate decays linearly to 0 at the last step.
    pub warmup_steps: usize,
    /// Whether a step uses the schedule before or after it advances.
    pub schedule_order: ScheduleOrder,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the uncorrected root of the second moment.
    pub epsilon: f64,
    /// Weight decay; biases and LayerNorms are exempt.
    pub weight_decay: f64,
    /// Highest joint L2 norm of the gradients; 0 does not clip.
    pub max_grad_norm: f64,
    /// Whether to clip once per step or after every batch.
    pub clip_at: ClipAt,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = AdamWConfig::default();
        Self {
            learning_rate: 5e-5,
            warmup_steps: 0,
            schedule_order: ScheduleOrder::default(),
            beta1,
            beta2,
            epsilon,
            weight_decay,
            max_grad_norm: 0.0,
            clip_at: ClipAt::default(),
        }
    }
}

/// `[train]` of a recipe: how long, how much at once, how often to look and to save.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// Examples per optimiser step (of each corpus), whatever the number of devices.
    pub batch_size: usize,
    /// Parts that each step's batch is computed in, to save memory; divides `batch_size`.
    pub accumulation: usize,
    /// Steps between two validations.
    pub validate_every: usize,
    /// Steps between two checkpoints.
    pub save_every: usize,
    /// Checkpoints to keep.
    pub keep_checkpoints: usize,
    /// Steps between two lines of progress where there is no terminal.
    pub log_every: usize,
    /// Threads that prepare batches.
    pub workers: usize,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            batch_size: 768,
            accumulation: 1,
            validate_every: 10_000,
            save_every: 10_000,
            keep_checkpoints: 2,
            log_every: 100,
            workers: 2,
            seed: 42,
        }
    }
}

impl TrainConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), TrainError> {
        let positive = [
            ("train.steps", self.steps),
            ("train.batch_size", self.batch_size),
            ("train.accumulation", self.accumulation),
            ("train.validate_every", self.validate_every),
            ("train.save_every", self.save_every),
            ("train.keep_checkpoints", self.keep_checkpoints),
            ("train.log_every", self.log_every),
            ("train.workers", self.workers),
        ];
        for (key, value) in positive {
            require(value > 0, key, value, "must be at least 1")?;
        }
        require(
            self.batch_size.is_multiple_of(self.accumulation),
            "train.accumulation",
            self.accumulation,
            &format!("must divide train.batch_size = {}", self.batch_size),
        )
    }
}

impl OptimizerConfig {
    /// Checks every value; `steps` is the length of the run.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self, steps: usize) -> Result<(), TrainError> {
        let not_negative = [
            ("optimizer.learning_rate", self.learning_rate),
            ("optimizer.epsilon", self.epsilon),
            ("optimizer.weight_decay", self.weight_decay),
            ("optimizer.max_grad_norm", self.max_grad_norm),
        ];
        for (key, value) in not_negative {
            require(value >= 0.0 && value.is_finite(), key, value, "must be at least 0")?;
        }
        for (key, value) in [("optimizer.beta1", self.beta1), ("optimizer.beta2", self.beta2)] {
            require((0.0..1.0).contains(&value), key, value, "must be at least 0 and below 1")?;
        }
        require(
            self.warmup_steps <= steps,
            "optimizer.warmup_steps",
            self.warmup_steps,
            &format!("must be at most train.steps = {steps}"),
        )
    }

    fn adamw(&self) -> AdamWConfig {
        AdamWConfig {
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
        }
    }
}

fn require(
    holds: bool,
    key: &'static str,
    found: impl std::fmt::Display,
    expected: &str,
) -> Result<(), TrainError> {
    match holds {
        true => Ok(()),
        false => Err(TrainError::Value { key, found: found.to_string(), expected: expected.into() }),
    }
}

/// What to train, on what, and where to.
pub struct Fit<B: TrainBackend, M, T, V> {
    /// The model, with its start weights.
    pub model: M,
    /// The device it is on.
    pub device: B::Device,
    /// What to learn from: one corpus, or several whose weights add up to 1.
    pub corpora: Vec<Corpus<B, T>>,
    /// What to validate on.
    pub validation: Arc<dyn BatchSource<B::InnerBackend, Batch = V>>,
    /// `[train]`.
    pub train: TrainConfig,
    /// `[optimizer]`.
    pub optimizer: OptimizerConfig,
    /// The run directory, locked.
    pub run: RunDir,
    /// Whether to go on from the newest checkpoint.
    pub resume: bool,
    /// Task statistics to show beside the loss: name, and whether higher is better.
    pub metrics: Vec<(&'static str, bool)>,
    /// Writes what describes the model beside its weights.
    pub describe: Describe,
    /// Stops the run, after a checkpoint.
    pub interrupter: Interrupter,
    /// Where lines of progress go if standard output is no terminal.
    pub progress: Box<dyn Write + Send + Sync>,
}

/// Trains to the last step, or until interrupted. Returns the model for evaluation.
///
/// # Errors
///
/// If data cannot be read, a checkpoint cannot be read or written, or the loss is not finite.
/// Checkpoints written before stay.
pub fn fit<B, M, T, V>(fit: Fit<B, M, T, V>) -> Result<(M::InnerModule, Outcome), TrainError>
where
    B: TrainBackend,
    T: Send + 'static,
    V: Send + 'static,
    M: Trainable<B> + TrainStep<Input = Weighted<T>>,
    M::InnerModule: InferenceStep<Input = Weighted<V>, Output = StepOutput<B::InnerBackend>>,
{
    fit.train.validate()?;
    fit.optimizer.validate(fit.train.steps)?;
    let settings = FixedSettings {
        seed: fit.train.seed,
        steps: fit.train.steps,
        batch_size: fit.train.batch_size,
        accumulation: fit.train.accumulation,
        examples: fit.corpora.iter().map(|corpus| corpus.source.len()).collect(),
    };
    B::seed(&fit.device, fit.train.seed);
    let model = initialize::<B, M>(fit.model);
    let optimizer = AdamW::new(fit.optimizer.adamw(), &model);
    let (model, optimizer, state) = match fit.resume {
        true => fit.run.restore(&settings, model, optimizer, &fit.device)?,
        false => (model, optimizer, None),
    };
    let start = state.map_or((0, None), |state| (state.step, state.best));
    if fit.resume {
        announce_resume(start.0, fit.train.steps);
    }

    let failure = Failure::default();
    let order = Order {
        micro_batch: fit.train.batch_size / fit.train.accumulation,
        accumulation: fit.train.accumulation,
        first_step: start.0,
        end_step: fit.train.steps,
        shuffle: Some(fit.train.seed),
        workers: fit.train.workers,
    };
    let corpora = fit.corpora.len();
    let train_loader = StepLoader::new(fit.corpora, order, fit.device.clone(), failure.clone())?;
    let valid_loader = StepLoader::once(
        fit.validation,
        order.micro_batch,
        fit.train.workers,
        fit.device.clone(),
        failure.clone(),
    )?;
    let schedule = LinearSchedule::new(
        fit.optimizer.learning_rate,
        fit.optimizer.warmup_steps,
        fit.train.steps,
        fit.optimizer.schedule_order,
    );
    let diverged = Arc::new(AtomicBool::new(false));
    let directory = fit.run.path().to_path_buf();
    let metrics_path = directory.join("metrics.jsonl");
    let parts = order.accumulation * corpora;
    let session = Session {
        run: fit.run,
        pace: Pace {
            validate_every: fit.train.validate_every,
            save_every: fit.train.save_every,
            keep: fit.train.keep_checkpoints,
            max_grad_norm: fit.optimizer.max_grad_norm,
            clip_at: fit.optimizer.clip_at,
        },
        schedule: schedule.clone(),
        settings,
        corpora,
        start,
        optimizer: optimizer.clone(),
        device: fit.device,
        failure,
        describe: fit.describe,
        diverged: diverged.clone(),
    };
    let outcome = Arc::new(Mutex::new(None));
    let strategy = StepStrategy {
        session: Mutex::new(Some(session)),
        outcome: outcome.clone(),
        model: PhantomData,
    };

    let mut training = SupervisedTraining::<Components<B, M>>::new(
        directory,
        Arc::new(train_loader) as Arc<dyn DataLoader<B, Weighted<T>>>,
        Arc::new(valid_loader) as Arc<dyn DataLoader<B::InnerBackend, Weighted<V>>>,
    )
    .with_training_strategy(TrainingStrategy::Custom(Arc::new(strategy)))
    .with_interrupter(fit.interrupter.clone())
    // The program has its own tracing subscriber.
    .with_application_logger(None)
    .with_metric_logger(MetricsLog::open(&metrics_path, start.0, parts)?)
    .metric_train_numeric(StatMetric::new(LOSS, false).watching(diverged))
    .metric_valid_numeric(StatMetric::new(LOSS, false).cumulative())
    .metric_train_numeric(ThroughputMetric::samples())
    .metric_train_numeric(ThroughputMetric::tokens())
    .metric_train_numeric(LearningRateMetric::new());
    let order_of_metrics = std::iter::once(LOSS)
        .chain(fit.metrics.iter().map(|(name, _)| *name))
        .map(String::from)
        .collect();
    for (name, higher_is_better) in fit.metrics {
        let metric = StatMetric::new(name, higher_is_better);
        training = training
            .metric_train_numeric(metric.clone())
            .metric_valid_numeric(metric.cumulative());
    }
    training = match std::io::stdout().is_terminal() {
        true => training.renderer(TuiMetricsRendererWrapper::new(fit.interrupter, Some(start.0))),
        false => training.renderer(LineRenderer::new(
            fit.progress,
            fit.train.log_every,
            parts,
            fit.train.steps,
            order_of_metrics,
        )),
    };
    let result = training.launch(Learner::new(model, optimizer, schedule));
    let outcome = lock(&outcome).take().unwrap_or(Err(TrainError::Worker))?;
    Ok((result.model, outcome))
}

/// Draws all parameters, in the order of the fields. Burn draws a parameter when it is first used,
/// which is another order in another model.
fn initialize<B: TrainBackend, M: Module<B>>(model: M) -> M {
    struct Touch;
    impl<B: burn::tensor::backend::Backend> burn::module::ModuleVisitor<B> for Touch {
        fn visit_float<const D: usize>(
            &mut self,
            param: &burn::module::Param<burn::tensor::Tensor<B, D>>,
        ) {
            let _ = param.val();
        }
    }
    model.visit(&mut Touch);
    model
}

fn announce_resume(step: usize, steps: usize) {
    match step {
        0 => tracing::warn!("nothing to resume: no checkpoint yet; starting from step 0"),
        step => tracing::info!("resuming after step {step} of {steps}"),
    }
}
