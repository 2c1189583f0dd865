//! The model: backbone, heads, and the models they make.

mod backbone;
mod caption_steps;
mod captioning;
mod classification;
pub mod dual_encoder;
mod heads;
mod inference;
mod init;
mod kv_cache;
mod pretraining;
pub mod recompute;
mod referring;
mod region_head;
mod region_projection;
mod transport;

pub use backbone::{Backbone, BackboneOutput, Inspection};
pub use caption_steps::CaptionSteps;
pub use captioning::{CaptionLoss, OscarForCaptioning};
pub use classification::{ClassTargets, IncompleteDecision, OscarClassifier};
pub use dual_encoder::OscarDualEncoder;
use heads::{AnswerHead, ClassifierHead, MlmHead};
pub use inference::for_inference;
pub use init::initialize;
pub use kv_cache::{CaptionCache, ContextCache};
pub use pretraining::{OscarForPretraining, PretrainOutput};
pub use referring::{OscarForReferring, ReferringLoss, ReferringOutput, ReferringTargets};
pub use region_head::{RegionHead, RegionLosses, RegionPredictions};
pub use transport::{Transport, transport};

/// A tied output matrix: no parameter of its own, but a name in every official file.
const TIED_DECODER: &[(&str, &str)] = &[(
    "cls.predictions.decoder.weight",
    "bert.embeddings.word_embeddings.weight",
)];
