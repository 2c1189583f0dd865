//! Imports region features that people already have into a region store.
//!
//! [`Source::open`] finds out what lies at a path and opens it as a [`FeatureSource`]: images
//! that any thread can read by row. [`import`] reads them on all cores, fits their boxes into
//! their images, and writes a store; it may be killed at any moment and goes on after the last
//! complete shard.
//!
//! | format | what it is |
//! |---|---|
//! | `official` | `features.tsv` and its like, see [`official`](crate::official); a YAML file that names them |
//! | `vinvl` | `predictions.tsv` with features in its objects; label tables, with `--tags-only` |
//! | `lxmert` | tables of LXMERT (ten columns) or of bottom-up attention (six), see [`parse_lxmert`] |
//! | `npz` | a folder of `KEY.npz` or `KEY.jpg.npz`, see [`parse_npz`] |
//! | `npy` | a folder of `KEY.npy` and `KEY_bbox.npy` |
//! | `safetensors` | a folder of `KEY.safetensors`, see [`parse_safetensors`] |
//! | `pt` | a dictionary of key to tensor, saved by PyTorch |
//!
//! What parses bytes is public by itself, and never panics.

mod clean;
mod detect;
mod folder;
mod journal;
mod lxmert;
mod matrix;
mod npy;
mod npz;
mod official;
mod open;
mod options;
mod ordered;
mod per_image;
mod pipeline;
mod pt;
mod python;
mod source;
mod subset;
mod verify;
mod vinvl;
mod vocabulary;

pub use clean::Counts;
pub use lxmert::parse_lxmert;
pub use matrix::Matrix;
pub use npy::{NpyHeader, parse_npy};
pub use npz::parse_npz;
pub use open::Source;
pub use options::{Format, SourceOptions};
pub use per_image::parse_safetensors;
pub use pipeline::{ImportOptions, OnBad, Skipped, Summary, import};
pub use source::{FeatureSource, SourceBoxes, SourceImage};
pub use verify::Verified;
pub use vinvl::parse_vinvl;
pub use vocabulary::Vocabularies;
