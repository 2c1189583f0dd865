//! From text, tags and regions to the tensors of a batch.
//!
//! A corpus reader yields [`Example`]s; an encoder turns one into ids and targets, and pads several
//! into a batch on the device: [`PretrainEncoder`] for pre-training, [`CaptionEncoder`] for captions,
//! [`SequenceEncoder`] for every other task.

mod assets;
mod batch;
mod caption;
mod casing;
mod error;
mod example;
mod image;
mod knowledge;
mod masked_pair;
mod masking;
mod pair;
mod pollution;
mod pretrain;
mod pretrain_config;
mod probe;
mod regions;
mod scene_graph;
mod sequence;
mod structure;
mod tokenizer;
mod vocabulary;

pub use batch::{AttentionMask, OscarInput, Packing, PaddingConfig, RegionInput, packed_len};
pub(crate) use caption::fill_caption_mask;
pub use caption::{CaptionBatch, CaptionEncoder, CaptionMasking, EncodedCaption};
pub(crate) use casing::{do_lower_case, is_cased};
pub use error::InputError;
pub use example::{
    AnswerLabels, BOX_VALUES, Example, ExampleSource, RegionHandle, RegionSource, SourceError,
    TextB,
};
pub use knowledge::{MaskedSides, MaskingConfig, MaskingStrategy};
pub use masking::{MaskedTargets, MaskedToken};
pub use pretrain::{EncodedPair, ExampleSeed, PretrainBatch, PretrainEncoder, Purpose};
pub use pretrain_config::{ContrastConfig, PretrainEncoderConfig, TextBSampleMode};
pub use probe::ProbeTargets;
pub use regions::{AnswerTargets, MaskedRegion, RegionMask, RegionTargets};
pub use scene_graph::{LabelNames, RegionLabels, Relation, SceneGraph, SceneGraphError};
pub use sequence::{
    AttentionRestriction, EncodedSequence, SequenceConfig, SequenceEncoder, Truncation,
};
pub use structure::{ChosenWords, Draws, Priors, Similarities, VectorsError, WordVectors, overlap};
pub use tokenizer::{SpecialIds, Tokenizer};
