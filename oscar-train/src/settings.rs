//! `[train]` and `[optimizer]` of a recipe.

use oscar_core::config::{ConfigError, require};
use oscar_core::ops::Precision;
use serde::{Deserialize, Serialize};

use crate::non_finite::NonFinite;
use crate::optim::AdamWConfig;
use crate::schedule::{Decay, ScheduleOrder};
use crate::strategy::ClipAt;

/// `[optimizer]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// What the rate does then: `linear` goes down to 0 at the last step, `constant` stays.
    pub decay: Decay,
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
        let AdamWConfig {
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } = AdamWConfig::default();
        Self {
            learning_rate: 5e-5,
            warmup_steps: 0,
            decay: Decay::default(),
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
    /// Parts that each step's batch is computed in, to save memory or by several devices; divides
    /// `batch_size`.
    pub accumulation: usize,
    /// Steps between two validations.
    pub validate_every: usize,
    /// Steps between two checkpoints.
    pub save_every: usize,
    /// Checkpoints to keep.
    pub keep_checkpoints: usize,
    /// Steps between two lines of progress where there is no terminal.
    pub log_every: usize,
    /// Threads that prepare batches, for each device.
    pub workers: usize,
    /// Seconds that one of several devices or processes may keep the others waiting within a step
    /// before the run ends.
    pub peer_timeout_seconds: usize,
    /// What matrices are multiplied in, `f32` or `bf16`; weights, optimiser state, LayerNorms,
    /// softmaxes and losses are f32 in either.
    pub precision: Precision,
    /// What to do about a step whose loss or gradients are not finite: `stop` ends the run, `skip`
    /// leaves the step out, up to ten in a row. Either names the examples in `non-finite.jsonl`.
    pub non_finite: NonFinite,
    /// Whether layers keep their inputs alone and are computed again for their gradients: less
    /// memory for a third more work, and the same weights.
    pub gradient_checkpointing: bool,
    /// Examples that are shuffled together; 0 shuffles whole epochs. Set it where the regions are
    /// larger than memory, to as many examples as memory holds the regions of: files are then read
    /// in long stretches, each once per epoch.
    pub shuffle_window: usize,
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
            precision: Precision::default(),
            non_finite: NonFinite::default(),
            gradient_checkpointing: false,
            peer_timeout_seconds: 600,
            shuffle_window: 0,
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
                "must be at least 0",
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
        }
    }
}
