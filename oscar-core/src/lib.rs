//! The Oscar model and its input.
//!
//! Oscar (Li et al., ECCV 2020) feeds one BERT-style transformer a triple: words, **object tags**
//! detected in the image, and **region features**. This crate holds what that takes and nothing
//! else: the configuration, the tokenizer and input encoding, the backbone with its pre-training
//! heads, and checkpoints under the official names. It knows no training loop, and the only files
//! it reads are vocabularies, configurations and weights.

pub mod checkpoint;
pub mod config;
pub mod decode;
pub mod devices;
pub mod input;
pub mod model;
pub mod ops;
