//! Data sets of Oscar-rs: the region store, corpora of texts, and the corpora we can build.
//!
//! Layers, each usable alone:
//!
//! - [`store`]: region features, boxes and object tags of many images in one directory that is
//!   opened by memory map and never decoded.
//! - [`tsv`]: the container of the official files; [`official`]: their features and labels, to
//!   train from as they are.
//! - [`import`]: published forms of region features, read into a store.
//! - [`corpus`]: texts that name images, as JSON lines or in the official layout; every row is
//!   checked when the corpus is opened, so that training cannot stop on a bad row hours later.
//! - [`nlvr1`] and [`sample`]: builders that turn NLVR v1 images into a store and its corpora.
//!
//! Directories appear under their final name only once they are complete (written aside, synced,
//! renamed), so an interrupted build never looks like a finished one.

// Stores are mapped, not parsed, and safetensors files are little-endian.
#[cfg(target_endian = "big")]
compile_error!("region stores are memory-mapped little-endian files: this host is big-endian");

mod boxes;
pub mod corpus;
mod defect;
mod error;
pub mod images;
pub mod import;
mod mapped;
pub mod nlvr1;
pub mod official;
pub mod sample;
mod staging;
pub mod store;
pub mod tsv;

pub use corpus::{
    JoinedCorpus, JsonlCorpus, OfficialCorpus, OfficialCorpusOptions, OpenedCorpus, open_corpus,
};
pub use defect::Defect;
pub use error::{DatasetError, Result};
pub use images::{ImageSource, SharedImages, open_images};
pub use store::{Boxes, ImageRegions, RegionStore, StoreDtype, StoreOptions, StoreWriter, Tag};
