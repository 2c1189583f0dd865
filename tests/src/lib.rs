//! Parity with the official PyTorch classes of Oscar.
//!
//! A *set* is a folder with the weights, inputs and outputs of an official class (see
//! `fixtures/README.md`). [`run`] computes the same with this project's models, losses, optimiser,
//! loader and tokenizer, and compares every tensor. Sizes, options and numbers of steps are read
//! from the set; nothing is known about particular sets.

mod backbone;
mod captioning;
mod captions;
mod check;
mod classification;
mod clipcap;
mod decoders;
mod detector;
mod detector_ops;
mod fault;
mod files;
pub mod fuzz;
mod host;
mod model;
mod pictures;
mod pretraining;
mod retrieval;
mod rosita;
mod sampling;
mod set;
mod steps;
mod suite;
mod vqa;
mod weights;

pub use check::{Check, Report};
pub use decoders::{StaleSteps, UncachedSteps};
pub use fault::Fault;
pub use set::{Kind, Set};
pub use suite::{Outcome, Summary, run, run_set};
pub use weights::{TorchWeights, compare_weights};
