//! The commands, each with its arguments.

pub mod bench;
pub mod completions;
pub mod data;
pub mod dev;
pub mod devices;
pub mod evaluate;
pub mod finetune;
pub mod manual;
pub mod model;
pub mod pictures;
pub mod predict;
pub mod probe;
pub mod recipes;
pub mod report;
pub mod runs;
pub mod score;
pub mod search;
pub mod serve;
pub mod train;
