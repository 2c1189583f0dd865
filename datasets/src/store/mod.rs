//! The region store: what every image of a data set shows, opened by memory map.
//!
//! A store is a directory of plain files that any safetensors reader understands:
//!
//! | file | holds |
//! |---|---|
//! | `regions-00000.safetensors`, … | `offsets` I64 `[images + 1]`: first region of each image of this shard; `boxes` F32 `[regions, 6]`: x1/W, y1/H, x2/W, y2/H, w/W, h/H; `features` F16 or F32 `[regions, D]`; where a detector gave them, `objects` U16, `object_scores` F16, `attributes` U16, `attribute_scores` F16, all `[regions]`: classes by number (65535 for none) and confidences |
//! | `classes.json` | names of these classes, if they are known: `{"objects": […], "attributes": […]}` |
//! | `index.safetensors` | `keys` U8: all keys, UTF-8, one after the other; `key_offsets` U64 `[n + 1]`; `sorted` U32 `[n]`: images by ascending key bytes; `shard`, `row` U32 `[n]`: where an image's regions are; `image_size` U32 `[n, 2]`: width, height; `tag_offsets` U64 `[n + 1]`: byte ranges in `tags.jsonl` |
//! | `tags.jsonl` | one line per image: `[{"class": "black square", "score": 1.0, "box": [x1, y1, x2, y2]}, …]`, boxes in pixels; objects need not be the regions |
//!
//! Nothing is parsed when a store is opened, apart from the headers: the index is as usable on
//! disk as in memory. [`StoreWriter`] writes a store, [`RegionStore`] reads one.

mod check;
mod encoded;
mod labels;
mod part;
mod reader;
mod shard_writer;
mod writer;

use serde::{Deserialize, Serialize};

pub(crate) use check::{feature_findings, more, tag_findings};
pub use encoded::EncodedImage;
pub(crate) use part::ShardPart;
pub use reader::{Rects, RegionStore};
pub use writer::{Boxes, ImageRegions, StoreOptions, StoreWriter};

/// Version of the files described above; a reader accepts no other.
pub const FORMAT_VERSION: u32 = 1;

/// The file that makes a directory a region store.
pub const INDEX_FILE: &str = "index.safetensors";
pub(crate) const TAGS_FILE: &str = "tags.jsonl";

/// The name of shard `number`.
pub(crate) fn shard_file(number: usize) -> String {
    format!("regions-{number:05}.safetensors")
}

/// One object found in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    /// Its class, one or more words: `yellow triangle`.
    pub class: String,
    /// The detector's confidence, 0 to 1.
    #[serde(default = "certain")]
    pub score: f32,
    /// Where it is, in pixels: x1, y1, x2, y2; some sources name objects without saying where.
    #[serde(rename = "box", default, skip_serializing_if = "Option::is_none")]
    pub box_px: Option<[f32; 4]>,
    /// Attributes, if the detector names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
}

fn certain() -> f32 {
    1.0
}

/// How features are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreDtype {
    /// Half precision: half the size, and three decimal digits, which is more than detectors have.
    #[default]
    F16,
    /// Single precision.
    F32,
}

impl StoreDtype {
    /// Bytes per value.
    pub fn size(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::F32 => "F32",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::F16, Self::F32]
            .into_iter()
            .find(|dtype| dtype.name() == name)
    }

    pub(crate) fn safetensors(self) -> safetensors::Dtype {
        match self {
            Self::F16 => safetensors::Dtype::F16,
            Self::F32 => safetensors::Dtype::F32,
        }
    }
}

/// What is wrong with a box in pixels, if anything; an image of size 0 x 0 has no known limits.
pub(crate) fn box_problem(b: &[f32; 4], width: u32, height: u32) -> Option<String> {
    let [x1, y1, x2, y2] = *b;
    let limit = |side: u32| match side {
        0 => f32::MAX,
        side => side as f32,
    };
    // Written so that NaN fails every test.
    let why = if !(x2 > x1 && y2 > y1) {
        "is empty or inverted"
    } else if !(x1 >= 0.0 && y1 >= 0.0 && x2 <= limit(width) && y2 <= limit(height)) {
        "reaches outside the image"
    } else {
        return None;
    };
    Some(format!(
        "box [{x1}, {y1}, {x2}, {y2}] {why} ({width}x{height} pixels)"
    ))
}
