//! The official feature files: trained from as they are, or imported.
//!
//! | file | a row |
//! |---|---|
//! | `features.tsv`, of pre-training, retrieval and VQA | `key, num_boxes, …, base64` |
//! | `*.feature.tsv`, of captioning | `key, {"num_boxes": n, "features": base64}` |
//! | `predictions.tsv`, `predictions_gt.tsv`, `*.label.tsv` | `key, objects as JSON` |
//! | `hw.tsv`, `*.hw.tsv` | `key, [{"height": h, "width": w}]` |
//!
//! The base64 text is a row-major `[num_boxes, 2054]` of 32-bit floats, 2048 appearance values
//! then six of the box; 16-bit floats, and rows of the 2048 values alone, are told apart by their
//! length. [`OfficialImages`] opens them all as an [`ImageSource`](crate::ImageSource); what
//! parses bytes is public by itself, and never panics.

mod blob;
mod files;
mod images;
mod key_index;
mod key_map;
mod labels;
mod part;
mod row;
mod sizes;
mod training;

pub use blob::{BlobLayout, decode_blob};
pub use images::{OfficialImages, OfficialOptions};
pub use key_map::parse_key_map;
pub use labels::{LabelRow, TagChoice, parse_classes, parse_labels};
pub use row::FeatureRow;
pub use sizes::parse_size;

pub(crate) use blob::{check_finite, decode_bytes};
pub(crate) use files::{FEATURES_FILE, OfficialFiles, PartFiles};
pub(crate) use key_index::KeyIndex;
pub(crate) use labels::{LabelFile, index_keys, parse_detections, pixels};
pub(crate) use row::unquoted;
pub(crate) use sizes::SizeTable;

/// Appearance values per region of the published features; six box values follow them.
pub const FEATURE_DIM: usize = 2048;

/// Values that say where a region is: x1/W, y1/H, x2/W, y2/H, w/W, h/H.
pub(crate) const BOX_VALUES: usize = 6;
