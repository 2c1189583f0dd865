//! The training engine: one loop on Burn's learner.
//!
//! [`fit`] takes a model, its data and its settings and trains to the last step. The loop is in
//! `trainer`: it counts optimiser steps, validates and saves by steps, and resumes exactly. Burn's
//! `SupervisedTraining` runs around it (`learner`) and provides dashboard, metrics and event store.
//!
//! | module | holds |
//! |---|---|
//! | `trainer` | the loop: one training step, validation, checkpoints |
//! | `fit`, `learner` | what is set up around it |
//! | `loader`, `order`, `shuffle` | which example comes when, and batches of them |
//! | `optim`, `schedule`, `non_finite` | the update |
//! | `run`, `metrics_log`, `events` | the run directory, its log, TensorBoard's file |
//! | `parallel` | groups of workers and their exchanges |

mod dashboard;
mod error;
mod events;
mod fit;
mod format;
mod formula;
mod gradients;
mod learner;
mod loader;
mod memory;
mod metrics_log;
mod non_finite;
mod optim;
mod order;
mod parallel;
mod renderer;
mod run;
mod save;
mod schedule;
mod settings;
mod shuffle;
mod start;
mod stats;
mod sync;
mod terminal;
mod trainable;
mod trainer;

pub use burn_train::Interrupter;
pub use error::{TrainError, WorkerLost};
pub use fit::{Fit, RunOptions, fit};
pub use format::{bytes, duration};
pub use formula::Formula;
pub use gradients::{clip_grad_norm, grad_norm};
pub use loader::{BatchOrder, BatchSource, Corpus, Shard, StepIterator, StepLoader, Weighted};
pub use memory::peak_memory;
pub use metrics_log::{MetricsLog, Written};
pub use non_finite::{MAX_CONSECUTIVE_SKIPPED, NON_FINITE_FILE, NonFinite, Skipped};
pub use optim::{AdamW, AdamWConfig};
pub use order::{ExampleRef, Portion, Sequence};
#[cfg(feature = "mpi")]
pub use parallel::Processes;
pub use parallel::{AllReduce, Group, Workers, divide_among_workers};
pub use run::{Best, FixedSettings, METRICS_FILE, MODEL_FILE, RunDir, TrainState, checkpoints};
pub use save::SaveRequest;
pub use schedule::{Decay, LinearSchedule, ScheduleOrder, Warmup};
pub use settings::{ClipAt, OptimizerConfig, TrainConfig};
pub use shuffle::Shuffle;
pub use start::{InitConfig, start_weights};
pub use stats::{LOSS, StepOutput, StepStats, train_output};
pub use terminal::release_terminal;
pub use trainable::Trainable;
pub use trainer::{BeforeEpoch, Epoch};
pub use trainer::{Describe, Outcome, SelectionMetric};
