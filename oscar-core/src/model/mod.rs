//! The model: backbone, heads, and the models they make.

mod backbone;
mod caption_steps;
mod captioning;
mod classification;
mod heads;
mod init;
mod pretraining;
mod ready;
pub mod recompute;

pub use backbone::{Backbone, BackboneOutput, CaptionCache, ContextCache, Inspect};
pub use caption_steps::{CaptionSteps, Stepping};
pub use captioning::{CaptionLoss, OscarForCaptioning};
pub use classification::{
    ClassTargets, OscarClassifier, OscarForEachChoice, OscarForMultipleChoice,
    OscarForSequenceClassification,
};
pub use heads::{ClassifierHead, MlmHead};
pub use init::initialize;
pub use pretraining::{OscarForPretraining, PretrainOutput};
pub use ready::ready;

/// A tied output matrix: no parameter of its own, but a name in every official file.
const TIED_DECODER: &[(&str, &str)] = &[(
    "cls.predictions.decoder.weight",
    "bert.embeddings.word_embeddings.weight",
)];
