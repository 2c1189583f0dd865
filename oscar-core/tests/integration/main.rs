//! Models, operations on them, weights in files, and what texts become.
//!
//! One executable, as every further one would compile models and backends again.

mod caption_loss;
mod checkpoint;
mod checkpoint_errors;
mod checkpoint_files;
mod checkpoint_import;
mod checkpoint_pytorch;
mod checkpoint_support;
mod config;
mod decode;
mod dropout;
mod input_answers;
mod input_batch;
mod input_config;
mod input_pollution;
mod input_pretrain;
mod input_sequence;
mod input_support;
mod input_tokenizer;
mod model;
mod recompute;
