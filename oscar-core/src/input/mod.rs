//! From text, tags and regions to the tensors of a batch.
//!
//! A corpus reader hands over [`Example`]s; [`PretrainEncoder`] turns one into ids, targets and a
//! contrastive class; [`PretrainBatcher`] pads several and puts them on the device.

mod batch;
mod caption;
mod error;
mod example;
mod masking;
mod pair;
mod pollution;
mod pretrain;
mod pretrain_config;
mod probe;
mod sequence;
mod tokenizer;
mod vocabulary;

pub use batch::{
    AttentionMask, OscarInput, Packing, PaddingConfig, PretrainBatch, PretrainBatcher, packed_len,
};
pub use caption::{CaptionBatch, CaptionEncoder, CaptionMasking, EncodedCaption};
pub use error::InputError;
pub use example::{Example, ExampleSource, RegionHandle, RegionSource, SourceError, TextB};
pub use masking::{MaskedToken, TokenMasker};
pub use pair::{TokenPair, truncated_lengths};
pub use pretrain::{EncodedPair, ExampleSeed, PretrainEncoder};
pub use pretrain_config::{ContrastConfig, PretrainEncoderConfig, TextBSampleMode};
pub use probe::ProbeTargets;
pub use sequence::{
    AttentionRestriction, EncodedSequence, SequenceConfig, SequenceEncoder, Truncation,
};
pub use tokenizer::{SpecialIds, Tokenizer};
