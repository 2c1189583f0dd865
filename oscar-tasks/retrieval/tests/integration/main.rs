//! Splits and scores of retrieval.
//!
//! One executable, as every further one would compile models and backends again.

mod common;
mod extended;
mod hard;
mod score;
mod split;
