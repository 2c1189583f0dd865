//! Pictures and what a model reads of them.
//!
//! - [`picture`] decodes pictures within limits;
//! - [`RegionExtractor`] turns pictures into regions: boxes, features, classes, attributes, scores;
//! - [`detector`] is Faster R-CNN with an attribute head: bottom-up attention and VinVL;
//! - [`clip`] is CLIP: an extractor whose one region is the whole picture, and the tower of texts;
//! - [`drawings`] is the extractor of the shipped sample, exact and without a network;
//! - [`scenes`] is the extractor of scenes of everyday things on a plain background.
//!
//! A crate that stores regions or asks a model about a picture uses the trait alone, so that a
//! detector can take the place of the drawing reader.

pub mod clip;
mod conv;
pub mod detector;
pub mod drawings;
mod error;
mod extractor;
pub mod picture;
pub mod resample;
pub mod resize;
pub mod scenes;

pub use error::VisionError;
pub use extractor::{Attribute, ExtractorIdentity, Region, RegionExtractor, Regions, relative_box};
pub use picture::{Picture, PictureLimits};
