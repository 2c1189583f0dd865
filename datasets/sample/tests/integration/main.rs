//! The sample, scenes and miniatures that are made of it.
//!
//! One executable, as every further one would compile models and backends again.

mod common;
mod extract;
mod miniature;
mod nlvr1;
mod nlvr1_faults;
mod sample;
mod scene_tasks;
mod scenes;
