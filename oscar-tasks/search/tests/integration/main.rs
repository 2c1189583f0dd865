//! Splits, index and search.
//!
//! One executable, as every further one would compile models and backends again.

mod common;
mod index;
mod search;
