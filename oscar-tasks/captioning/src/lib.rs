//! Captioning: what does an image show?
//!
//! The model is taught to fill gaps in captions, each word reading only those before it; then it
//! writes captions by filling the gap that follows the last word, again and again. It may be taught
//! further by what its own captions are worth ([`scst`]).
//!
//! | a split opened for | has the examples |
//! |---|---|
//! | training | a caption with some tokens masked; an image, where captions are judged |
//! | validation | an image: a caption is generated and judged |
//! | scoring | an image: a caption is searched for, under constraints where they are asked for |

mod batch;
pub mod constraints;
mod data;
mod explain;
mod generate;
mod judge;
#[cfg(feature = "train")]
mod model;
mod neighbours;
mod output;
mod scores;
pub mod scst;
mod task;
#[cfg(feature = "train")]
mod train;

pub use batch::{Batch, Content, ImageBatch, ValidationBatch};
#[cfg(feature = "train")]
pub use batch::{CaptionSource, ValidationSource};
pub use data::{Caption, CaptionData, Image};
pub use generate::Captioner;
#[cfg(feature = "train")]
pub use model::CaptionModel;
pub use task::{Captioning, ConstraintSection, Split};
