//! Faster R-CNN C4 with an attribute head: the two detectors whose region features Oscar was
//! trained on, with their published weights.
//!
//! | | bottom-up attention (`frcnn-vg`) | VinVL (`vinvl_vg_x152c4`) |
//! |---|---|---|
//! | for | Oscar, LXMERT, VisualBERT | Oscar+ |
//! | network | ResNet-101 | ResNeXt-152 32x8d |
//! | code followed | HuggingFace, `lxmert/modeling_frcnn.py` | `microsoft/scene_graph_benchmark` |
//!
//! One [`DetectorConfig`] says which it is. [`Detector::open`] reads a folder as it was published,
//! or as [`convert`] wrote it. Products of matrices and convolutions run on the backend; what
//! decides on boxes runs on the host, in the order and precision of the reference.

mod attributes;
mod boxes;
mod config;
mod convert;
mod detect;
mod error;
mod extract;
mod files;
mod labels;
mod load;
mod network;
mod preprocess;
mod proposals;
mod published;
mod random;
mod roi;
mod select;
mod weights;
mod yaml;

pub use attributes::{ScoredAttribute, attributes};
pub use boxes::{BoxCoder, Rect, STRIDE, cell_anchors, descending, grid_anchors, nms, overlap};
pub use config::{
    BackboneConfig, ColourOrder, DetectorConfig, Flavour, HeadsConfig, InputConfig, Pooler, Res5,
    Resizer, RpnConfig, SelectionConfig, SelectionRule, StemPool,
};

pub use crate::conv::{BatchNorm, Convolution, Geometry};
pub use convert::convert;
pub use detect::{Detection, Detector};
pub use error::DetectorError;
pub use files::{DETECTOR_FILE, DetectorFiles};
pub use labels::{ATTRIBUTES_FILE, Labels, OBJECTS_FILE};
pub use network::{Bottleneck, Network, ProposalMaps, stem_pool};
pub use preprocess::{Prepared, prepare, stack};
pub use proposals::{Proposals, propose};
pub use roi::{FeatureMap, pool};
pub use select::{Candidates, Selected, select};

#[cfg(test)]
mod tests;
