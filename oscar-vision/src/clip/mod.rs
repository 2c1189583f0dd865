//! CLIP (Radford et al., 2021): one embedding of a picture, and one of a text, to be compared.
//!
//! - [`preprocess`] makes the pixels that an image tower reads, equal to Pillow's;
//! - [`ClipVision`] is the image tower, a [`VisionTransformer`] (ViT-B/32, B/16, L/14) or a
//!   [`ModifiedResNet`] (RN50x4 and its like), read from OpenAI's files or HuggingFace's;
//! - [`ClipExtractor`] puts both together: a [`RegionExtractor`](crate::RegionExtractor) whose one
//!   region is the whole picture;
//! - [`ClipText`] is the text tower, [`ClipTokenizer`] makes the tokens that it reads;
//! - [`ClipMatcher`] has both towers and says how well texts describe pictures.

mod block;
mod convert;
mod error;
mod extractor;
mod file;
mod matcher;
pub mod preprocess;
mod resnet;
mod resnet_file;
mod text;
mod tokenizer;
mod tower;
mod vit;

pub use convert::convert;
pub use error::ClipError;
pub use extractor::{ClipExtractor, ClipOptions};
pub use matcher::ClipMatcher;
pub use resnet::{ModifiedResNet, ResNetConfig, ResNetInspection};
pub use text::{ClipText, TextConfig};
pub use tokenizer::{ClipTokenizer, byte_characters};
pub use tower::{ClipVision, is_clip};
pub use vit::{Inspection, VisionConfig, VisionTransformer};
