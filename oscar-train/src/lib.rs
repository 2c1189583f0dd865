//! The engine: Burn's learner, set up to train Oscar.
//!
//! [`fit`] takes a model, its data and its settings and trains to the last step. It runs Burn's
//! `SupervisedTraining` (dashboard, metrics, event store, early stopping) with a strategy of its
//! own, which counts optimiser steps, validates and saves by steps, and resumes exactly.

mod dashboard;
mod error;
mod events;
mod fit;
mod loader;
mod memory;
mod metrics_log;
mod non_finite;
mod optim;
mod order;
mod parallel;
mod renderer;
mod run;
mod schedule;
mod settings;
mod shuffle;
mod start;
mod stats;
mod strategy;
mod terminal;

pub use burn_train::Interrupter;
pub use error::TrainError;
pub use fit::{Fit, RunOptions, fit};
pub use loader::{BatchOrder, BatchSource, Corpus, Failure, Shard, StepLoader, Weighted};
pub use memory::peak_memory;
pub use metrics_log::{MetricsLog, Written};
pub use non_finite::{MAX_CONSECUTIVE_SKIPPED, NON_FINITE_FILE, NonFinite, Skipped};
pub use optim::{AdamW, AdamWConfig, MomentsRecord, clip_grad_norm, grad_norm};
pub use order::{ExampleRef, Portion, Sequence, Shuffle};
#[cfg(feature = "mpi")]
pub use parallel::Processes;
pub use parallel::{Group, WorkerLost, Workers, divide_among_workers};
pub use renderer::{LineRenderer, bytes, duration};
pub use run::{Best, FixedSettings, METRICS_FILE, MODEL_FILE, RunDir, TrainState, checkpoints};
pub use schedule::{Decay, LinearSchedule, ScheduleOrder};
pub use settings::{OptimizerConfig, TrainConfig};
pub use start::{InitConfig, open_vocabulary, start_weights};
pub use stats::{
    LOSS, LearningRateMetric, StatMetric, Statistic, StepOutput, StepStats, ThroughputMetric,
};
pub use strategy::{ClipAt, Components, Describe, Outcome, SelectionMetric, Trainable};
pub use terminal::release_terminal;
