//! The sample that ships with Oscar-rs, and the small data sets it is made of.
//!
//! - [`nlvr1`] turns NLVR v1 drawings into region stores and corpora;
//! - [`miniature`] makes a small version of every fine-tuning task on them;
//! - [`scenes`] draws scenes of everyday things, with all that is said of them;
//! - [`write_sample`] and [`write_weights`] made the files in `datasets/sample`, and
//!   [`build_sample`] expands them on the user's machine.

mod clip;
mod expand;
mod lines;
pub mod miniature;
pub mod nlvr1;
pub mod scenes;
mod weights;

pub use clip::{CLIP, build_clip};
pub use expand::{
    DEV_IMAGES, SampleCounts, SampleInfo, SampleSources, TRAIN_IMAGES, build_sample, write_sample,
};
pub use weights::write_weights;
