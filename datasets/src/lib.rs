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
//! - [`rows`]: what the annotations of all tasks have in common; [`captions`], [`questions`],
//!   [`nlvr2`], [`matching`], [`referring`]: one reader for each kind, whatever form its files have; [`answers`]:
//!   the vocabularies that answers are chosen from; [`captioned`]: images and their captions, to be found
//!   by each other.
//! - [`check`]: reads whole files with the same readers and lists what is wrong with them.
//! - [`pictures`]: the pictures of images; [`draw`]: boxes and names on them.
//!
//! Directories appear under their final name only once they are complete, so an interrupted build
//! never looks like a finished one.

// Stores are mapped, not parsed, and safetensors files are little-endian.
#[cfg(target_endian = "big")]
compile_error!("region stores are memory-mapped little-endian files: this host is big-endian");

pub mod answers;
mod boxes;
pub mod captioned;
pub mod captions;
pub mod check;
pub mod corpus;
mod data_set;
pub mod draw;
mod error;
mod findings;
pub mod images;
pub mod import;
pub mod keys;
#[doc(hidden)]
pub mod mapped;
pub mod matching;
pub mod nlvr2;
pub mod official;
pub mod pictures;
pub mod questions;
mod records;
pub mod referring;
pub mod rows;
pub mod store;
mod tabular;
pub mod text;
pub mod tsv;
pub mod view;
pub mod yaml;

pub use corpus::{
    JoinedCorpus, JsonlCorpus, OfficialCorpus, OfficialCorpusOptions, OpenedCorpus, RositaCorpus,
    open_corpus,
};
pub use data_set::{DATASET_FILE, find_image, recorded_pictures};
pub use error::{DatasetError, Result, excerpt};
pub use findings::{Defect, Problem};
pub use images::{ImageSource, ImagesAt, SharedImages, look_up, open_images};
pub use rows::{Row, RowSet};
pub use store::{Boxes, ImageRegions, RegionStore, StoreDtype, StoreOptions, StoreWriter, Tag};
