//! Imports region features that people already have into a region store.
//!
//! [`Source::open`] finds out what lies at a path and opens it as a [`FeatureSource`]: images
//! that any thread can read by row. [`import`] reads them on all cores, fits their boxes into
//! their images, and writes a store; it may be killed at any moment and goes on after the last
//! complete shard.
//!
//! | format | what it is |
//! |---|---|
//! | `official` | `features.tsv` and its like, see [`official`](crate::official) |

mod clean;
mod journal;
mod official;
mod open;
mod ordered;
mod pipeline;
mod source;
mod verify;

pub use clean::Counts;
pub use open::{Format, Source, SourceOptions};
pub use pipeline::{ImportOptions, OnBad, Skipped, Summary, import};
pub use source::{FeatureSource, SourceBoxes, SourceImage};
pub use verify::Verified;
