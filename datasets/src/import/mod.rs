//! Imports regions into a region store: published features, or pictures read by an extractor.
//!
//! [`Source::open`] detects the format of published features; [`ExtractedRegions::open`] reads
//! pictures by a [`RegionExtractor`](oscar_vision::RegionExtractor). Both are a
//! [`FeatureSource`]: images that any thread can read by row. [`import`] reads them on all cores,
//! fits their boxes into their images, and writes a store; it may be killed at any moment and
//! resumes after the last complete shard.
//!
//! | format | what it is |
//! |---|---|
//! | `official` | `features.tsv` and its like, see [`official`](crate::official); a YAML file that names them |
//! | `vinvl` | `predictions.tsv` with features in its objects; label tables, with `tags_only` |
//! | `lxmert` | tables of LXMERT (ten columns) or of bottom-up attention (six), see [`parse_lxmert`] |
//! | `npz` | a folder of `KEY.npz` or `KEY.jpg.npz`, see [`parse_npz`] |
//! | `npy` | a folder of `KEY.npy` and `KEY_bbox.npy` |
//! | `safetensors` | a folder of `KEY.safetensors`, see [`parse_safetensors`] |
//! | `pt` | a dictionary of key to tensor, saved by PyTorch |
//!
//! The functions that parse bytes are public by themselves, and never panic.

mod archive;
mod clean;
mod detect;
mod extracted;
mod folder;
mod info;
mod journal;
mod lines;
mod lxmert;
mod matrix;
mod npy;
mod npz;
mod official;
mod open;
mod options;
mod ordered;
mod per_image;
mod pictures;
mod pipeline;
mod pt;
mod source;
mod table;
mod verify;
mod vinvl;
mod vocabulary;

pub use clean::Counts;
pub use extracted::{ExtractedImage, extract};
pub use lxmert::parse_lxmert;
pub use matrix::Matrix;
pub use npy::{NpyHeader, parse_npy};
pub use npz::parse_npz;
pub use open::Source;
pub use options::{Format, SourceOptions};
pub use per_image::parse_safetensors;
pub use pictures::ExtractedRegions;
pub use pipeline::{ImportOptions, OnBad, Skipped, Summary, import};
pub use source::{FeatureSource, Provenance, SourceBoxes, SourceImage};
pub use verify::Verified;
pub use vinvl::parse_vinvl;
pub use vocabulary::Vocabularies;
