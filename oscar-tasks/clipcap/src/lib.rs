//! ClipCap (Mokady et al., 2021): a picture's CLIP embedding becomes a prefix of GPT-2, which writes
//! the caption.
//!
//! No detector is needed: what a model reads of a picture is one vector. Pictures are embedded once,
//! into a region store of one region a picture, by the extractor `clip`; training then sees vectors and
//! captions alone.
//!
//! | a split opened for | has the examples |
//! |---|---|
//! | training | a caption |
//! | validation, scoring | a picture: a caption is written and scored |

mod config;
pub mod data;
pub mod decode;
mod family;
mod gpt2;
mod import;
mod inspect;
mod judge;
mod mapper;
mod model;
mod predict;
mod scores;
mod task;
#[cfg(feature = "train")]
mod train;
mod write;

pub use config::{ClipCapConfig, Gpt2Config, MappingType};
pub use data::{Caption, CaptionData, Image};
pub use family::{ClipCapFamily, EncoderConfig};
pub use gpt2::{
    ASSETS, Gpt2LmHead, Gpt2Steps, Gpt2Tokenizer, Inspection, TokenizerError, clean_up,
};
pub use import::{ImportOptions, import, is_clipcap};
pub use mapper::{Mapper, MlpMapper, TransformerMapper};
pub use model::{CaptionTargets, ClipCap, PADDING};
pub use scores::References;
pub use task::{Captioning, Generation, Method, Split};
#[cfg(feature = "train")]
pub use train::{CaptionBatch, CaptionSource, ClipCapModel};
