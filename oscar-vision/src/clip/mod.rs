//! CLIP's image tower (Radford et al., 2021): one embedding of a picture.
//!
//! - [`preprocess`] makes the pixels that the tower reads, equal to Pillow's;
//! - [`ClipVision`] is the ViT tower (ViT-B/32, B/16, L/14), read from OpenAI's files or HuggingFace's;
//! - [`ClipExtractor`] puts both together: a [`RegionExtractor`](crate::RegionExtractor) whose one
//!   region is the whole picture.

mod error;
mod extractor;
pub mod preprocess;
mod vit;
mod weights;

pub use error::ClipError;
pub use extractor::{ClipExtractor, ClipOptions};
pub use vit::{ClipVision, Inspection, VisionConfig};
pub use weights::is_clip;
