//! ClipCap learns, and what it refuses.
//!
//! One executable, as every further one would compile models and backends again.

mod bad_input;
mod common;
mod learn;
