//! Captions as sequences, splits of them, and self-critical training.
//!
//! One executable, as every further one would compile models and backends again.

mod common;
mod scst;
mod splits;
