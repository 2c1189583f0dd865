//! The engine: batches, steps, checkpoints and workers.
//!
//! One executable, as every further one would compile models and backends again.

mod checkpoints;
mod fit;
mod loader;
mod non_finite;
mod order;
mod parallel;
mod support;
