//! `[train]` and `[optimizer]` of a recipe.

use burn::tensor::backend::Backend;
use oscar_core::config::{ConfigError, require};
use oscar_core::ops::Precision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formula::Formula;
use crate::loader::{BatchOrder, Corpus, Shard};
use crate::non_finite::NonFinite;
use crate::optim::AdamWConfig;
use crate::parallel::{AllReduce, divide_among_workers};
use crate::run::FixedSettings;
use crate::schedule::{Decay, LinearSchedule, ScheduleOrder, Warmup};
use crate::shuffle::Shuffle;

/// When gradients are clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClipAt {
    /// Once per optimiser step: official pre-training.
    #[default]
    Step,
    /// After every batch of an accumulation: the official fine-tuning scripts.
    Batch,
}

/// `[optimizer]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Formula of a step: `adamw` (Oscar), `bert_adam` (ROSITA's pre-training) or `adam` (its
    /// fine-tuning).
    pub formula: Formula,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// The rate during the warm-up: `linear` rises evenly, `thirds` by quarters of the highest rate.
    pub warmup: Warmup,
    /// The rate after the warm-up: `linear` decays to 0 at the last step, `constant` stays, `steps` is
    /// multiplied by `decay_factor` after each of `decay_steps`.
    pub decay: Decay,
    /// Steps after which the rate is multiplied by `decay_factor`, if `decay` is `steps`.
    pub decay_steps: Vec<usize>,
    /// Factor of the rate at each of `decay_steps`.
    pub decay_factor: f64,
    /// Step at which a linear decay reaches 0; 0 for the last step of the run.
    pub schedule_steps: usize,
    /// Whether a step uses the schedule before or after it advances.
    pub schedule_order: ScheduleOrder,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the uncorrected root of the second moment.
    pub epsilon: f64,
    /// Weight decay; biases and LayerNorms are exempt with `adamw`, and `adam` has none.
    pub weight_decay: f64,
    /// Highest joint L2 norm of the gradients; 0 does not clip.
    pub max_grad_norm: f64,
    /// Whether to clip once per step or after every batch.
    pub clip_at: ClipAt,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        let AdamWConfig {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            formula,
        } = AdamWConfig::default();
        Self {
            formula,
            learning_rate: 5e-5,
            warmup_steps: 0,
            warmup: Warmup::default(),
            decay: Decay::default(),
            decay_steps: Vec::new(),
            decay_factor: 0.1,
            schedule_steps: 0,
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

/// `[train]` of a recipe: run length, batch size, validation and checkpoint intervals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// Examples per optimiser step (of each corpus), whatever the number of devices.
    pub batch_size: usize,
    /// Micro-batches that each step's batch is computed in, to save memory or by several devices;
    /// divides `batch_size`.
    pub accumulation: usize,
    /// Steps between two validations.
    pub validate_every: usize,
    /// Steps between two checkpoints.
    pub save_every: usize,
    /// Checkpoints to keep.
    pub keep_checkpoints: usize,
    /// Steps between two lines of progress without a terminal.
    pub log_every: usize,
    /// Threads that prepare batches, for each device.
    pub workers: usize,
    /// Seconds that one of several devices or processes may keep the others waiting within a step or a
    /// batch of validation before the run ends.
    pub peer_timeout_seconds: usize,
    /// Where several devices sum their gradients: `auto` among themselves where they can (NVIDIA GPUs
    /// of one process, with NCCL), else in main memory; `host` always there.
    pub all_reduce: AllReduce,
    /// Precision of matrix products, `f32` or `bf16`; weights, optimiser state, LayerNorms, softmaxes
    /// and losses are f32 in either.
    pub precision: Precision,
    /// What to do about a step whose loss or gradients are not finite: `stop` ends the run, `skip`
    /// skips the step, up to ten in a row. Either lists the examples in `non-finite.jsonl`.
    pub non_finite: NonFinite,
    /// Whether layers keep only their inputs and are computed again for their gradients: less memory
    /// for a third more work, and the same weights.
    pub gradient_checkpointing: bool,
    /// Examples that are shuffled together; 0 shuffles whole epochs. Set it where the regions are
    /// larger than memory, to the number of examples whose regions fit into memory: files are then
    /// read in long ranges, each once per epoch.
    pub shuffle_window: usize,
    /// Random seed.
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
            precision: Precision::default(),
            non_finite: NonFinite::default(),
            gradient_checkpointing: false,
            peer_timeout_seconds: 600,
            all_reduce: AllReduce::default(),
            shuffle_window: 0,
            seed: 42,
        }
    }
}

/// Most optimiser steps of a run.
const MOST_STEPS: usize = 1_000_000_000_000;

/// Most examples of a step.
const MOST_EXAMPLES: usize = 1 << 24;

/// Most threads that prepare batches.
const MOST_WORKERS: usize = 1024;

/// Most examples that are shuffled together.
const LARGEST_WINDOW: usize = 1 << 28;

/// A year.
const LONGEST_TIMEOUT: usize = 31_536_000;

impl TrainConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("train.steps", self.steps),
            ("train.batch_size", self.batch_size),
            ("train.accumulation", self.accumulation),
            ("train.validate_every", self.validate_every),
            ("train.save_every", self.save_every),
            ("train.keep_checkpoints", self.keep_checkpoints),
            ("train.log_every", self.log_every),
            ("train.workers", self.workers),
            ("train.peer_timeout_seconds", self.peer_timeout_seconds),
        ];
        for (key, value) in positive {
            require(value > 0, key, value, "must be at least 1")?;
        }
        // Far beyond what makes sense, and below what cannot be counted or had.
        for (key, value, most) in [
            ("train.steps", self.steps, MOST_STEPS),
            ("train.batch_size", self.batch_size, MOST_EXAMPLES),
            ("train.workers", self.workers, MOST_WORKERS),
            (
                "train.peer_timeout_seconds",
                self.peer_timeout_seconds,
                LONGEST_TIMEOUT,
            ),
            ("train.shuffle_window", self.shuffle_window, LARGEST_WINDOW),
        ] {
            require(
                value <= most,
                key,
                value,
                &format!("must be at most {most}"),
            )?;
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
    pub fn validate(&self, steps: usize) -> Result<(), ConfigError> {
        let not_negative = [
            ("optimizer.learning_rate", self.learning_rate),
            ("optimizer.epsilon", self.epsilon),
            ("optimizer.weight_decay", self.weight_decay),
            ("optimizer.max_grad_norm", self.max_grad_norm),
        ];
        for (key, value) in not_negative {
            require(
                value >= 0.0 && value.is_finite(),
                key,
                value,
                "must be finite and at least 0",
            )?;
        }
        for (key, value) in [
            ("optimizer.beta1", self.beta1),
            ("optimizer.beta2", self.beta2),
        ] {
            require(
                (0.0..1.0).contains(&value),
                key,
                value,
                "must be at least 0 and below 1",
            )?;
        }
        let factor = self.decay_factor;
        require(
            factor >= 0.0 && factor.is_finite(),
            "optimizer.decay_factor",
            factor,
            "must be finite and at least 0",
        )?;
        require(
            (self.decay == Decay::Steps) != self.decay_steps.is_empty(),
            "optimizer.decay_steps",
            format!("{:?}", self.decay_steps),
            "must name the steps of decay = \"steps\", and is only for it",
        )?;
        require(
            self.formula != Formula::Adam || self.weight_decay == 0.0,
            "optimizer.weight_decay",
            self.weight_decay,
            "must be 0: the formula adam has no weight decay",
        )?;
        require(
            self.schedule_steps == 0 || self.schedule_steps >= steps,
            "optimizer.schedule_steps",
            self.schedule_steps,
            &format!("must be 0, or at least train.steps = {steps}"),
        )?;
        require(
            self.warmup_steps <= steps,
            "optimizer.warmup_steps",
            self.warmup_steps,
            &format!("must be at most train.steps = {steps}"),
        )
    }

    pub(crate) fn adamw(&self) -> AdamWConfig {
        AdamWConfig {
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            formula: self.formula,
        }
    }

    /// The learning rate of each of `steps`.
    pub fn schedule(&self, steps: usize) -> LinearSchedule {
        let end = match self.schedule_steps {
            0 => steps,
            end => end,
        };
        let schedule = LinearSchedule::new(
            self.learning_rate,
            self.warmup_steps,
            end,
            self.schedule_order,
        )
        .with_warmup(self.warmup);
        match self.decay {
            Decay::Steps => schedule.with_decay_steps(self.decay_steps.clone(), self.decay_factor),
            decay => schedule.with_decay(decay),
        }
    }
}

/// The settings of a run that all its workers share.
#[derive(Clone)]
pub(crate) struct StepConfig {
    pub train: TrainConfig,
    pub optimizer: OptimizerConfig,
    pub schedule: LinearSchedule,
    /// Those of them that checkpoints record.
    pub settings: FixedSettings,
}

impl StepConfig {
    /// The settings of a run on `corpora`, divided among `world` workers.
    ///
    /// # Errors
    ///
    /// If a value is out of range, or the steps cannot be divided.
    pub fn new<B: Backend, T: Send + 'static>(
        mut train: TrainConfig,
        mut optimizer: OptimizerConfig,
        world: usize,
        corpora: &[Corpus<B, T>],
    ) -> Result<Self, ConfigError> {
        divide_among_workers(world, &mut train, &mut optimizer)?;
        train.validate()?;
        optimizer.validate(train.steps)?;
        let portions = corpora.iter().map(|corpus| corpus.source.portions());
        let settings = FixedSettings {
            seed: train.seed,
            steps: train.steps,
            batch_size: train.batch_size,
            accumulation: train.accumulation,
            examples: corpora.iter().map(|corpus| corpus.source.len()).collect(),
            shuffle_window: train.shuffle_window,
            mix: portions
                .filter(|portions| portions.len() > 1)
                .flatten()
                .collect(),
        };
        let schedule = optimizer.schedule(train.steps);
        Ok(Self {
            train,
            optimizer,
            schedule,
            settings,
        })
    }

    /// The batches of worker `index` of `count`, from `first_step` on.
    pub fn batch_order(&self, first_step: usize, index: usize, count: usize) -> BatchOrder {
        BatchOrder {
            micro_batch: self.train.batch_size / self.train.accumulation,
            accumulation: self.train.accumulation,
            first_step,
            end_step: self.train.steps,
            shuffle: Some(Shuffle {
                seed: self.train.seed,
                window: self.train.shuffle_window,
            }),
            workers: self.train.workers,
            shard: Shard { index, count },
        }
    }
}
