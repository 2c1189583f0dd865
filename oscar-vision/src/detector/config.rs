//! What a detector is: everything in which the two differ, and what users may set.

use serde::{Deserialize, Serialize};

/// Which published code a detector follows, where that is more than a number: names in the weight
/// file, the convention of boxes and anchors, the place of the background class, and when
/// attributes are predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Bottom-up attention as HuggingFace's `modeling_frcnn.py` has it: boxes end at `x1 + width`,
    /// the background is the last class, attributes are predicted for proposals.
    Frcnn,
    /// VinVL as `scene_graph_benchmark` has it: boxes end at `x1 + width - 1`, the background is
    /// class 0, attributes are predicted for the final boxes.
    Vinvl,
}

/// A Faster R-CNN C4 with an attribute head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// The code it follows.
    pub flavour: Flavour,
    /// How a picture becomes the network's input.
    pub input: InputConfig,
    /// The residual network.
    pub backbone: BackboneConfig,
    /// Region proposals.
    pub rpn: RpnConfig,
    /// What follows the proposals.
    pub heads: HeadsConfig,
    /// Which boxes are returned.
    pub selection: SelectionConfig,
}

/// How a picture becomes the network's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputConfig {
    /// Pixels of the short side.
    pub short_side: u32,
    /// Most pixels of the long side.
    pub long_side: u32,
    /// How pixels are resized.
    pub resizer: Resizer,
    /// The order of the colour planes. The published weights want BGR; HuggingFace's script gives
    /// them RGB when it reads a local file, by mistake.
    pub colour_order: ColourOrder,
    /// Subtracted from the planes, in the order of the planes; values are 0 to 255.
    pub mean: [f32; 3],
    /// Divides them afterwards.
    pub std: [f32; 3],
    /// What smaller pictures of a batch are padded with, right and below.
    pub pad_value: f32,
}

/// How pixels are resized; the size follows the [`Flavour`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resizer {
    /// PyTorch's bilinear interpolation of floats, without antialiasing: HuggingFace, Caffe.
    Bilinear,
    /// Pillow's antialiased resize of 8-bit pixels: VinVL, py-bottom-up-attention.
    Pillow,
}

/// The order of the colour planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColourOrder {
    /// Blue first.
    Bgr,
    /// Red first.
    Rgb,
}

/// The residual network, stages res2 to res5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// Blocks of res2, res3 and res4.
    pub blocks: [usize; 3],
    /// Groups of the 3x3 convolutions.
    pub groups: usize,
    /// Channels of a group in res2; each stage doubles them.
    pub width_per_group: usize,
    /// Channels of the stem.
    pub stem_channels: usize,
    /// Output channels of res2; each stage doubles them.
    pub res2_channels: usize,
    /// Whether a stage's stride is in its first 1x1 convolution instead of the 3x3.
    pub stride_in_1x1: bool,
    /// The max pooling of the stem.
    pub stem_pool: StemPool,
    /// Added to the variance of a batch norm.
    pub norm_eps: f32,
    /// What res5 does with the 14x14 cells of a region.
    pub res5: Res5,
}

impl BackboneConfig {
    /// Output channels of res4, which proposals and regions are computed from.
    #[must_use]
    pub fn res4_channels(&self) -> usize {
        self.res2_channels * 4
    }

    /// Output channels of res5: the length of a region's feature vector.
    #[must_use]
    pub fn res5_channels(&self) -> usize {
        self.res2_channels * 8
    }
}

/// The max pooling of the stem: 3x3, stride 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StemPool {
    /// No padding, and windows that are cut at the right and lower edge.
    Caffe,
    /// One pixel of padding.
    Torch,
}

/// What res5 does with the cells of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Res5 {
    /// Keeps them; all its 3x3 convolutions are dilated by 2.
    Dilated,
    /// Halves their number on each axis, as a residual stage does.
    Halved,
}

/// Region proposals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpnConfig {
    /// Channels between res4 and the logits.
    pub hidden: usize,
    /// Sizes of the anchors, in pixels of the network's input.
    pub anchor_sizes: Vec<f32>,
    /// Height over width of the anchors.
    pub anchor_ratios: Vec<f32>,
    /// How many of the best anchors are kept before suppression.
    pub pre_nms: usize,
    /// How many proposals are kept after it. Fewer are faster, and give other regions.
    pub post_nms: usize,
    /// Boxes that overlap by more are suppressed (intersection over union).
    pub nms_threshold: f64,
    /// Smaller proposals are dropped.
    pub min_size: f32,
}

/// What follows the proposals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadsConfig {
    /// How the cells of a region are made.
    pub pooler: Pooler,
    /// Cells of a region on each axis.
    pub resolution: usize,
    /// Classes without the background.
    pub classes: usize,
    /// Attributes without "none".
    pub attributes: usize,
    /// Length of the class embedding that attributes are predicted from.
    pub class_embedding: usize,
    /// Hidden units of the attribute predictor.
    pub attribute_hidden: usize,
    /// Divisors of the box deltas: x, y, width, height.
    pub box_weights: [f32; 4],
    /// Whether attributes are predicted; Oscar does not use them.
    pub with_attributes: bool,
}

/// How the cells of a region are made of the feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooler {
    /// The maximum of whole cells of the map.
    RoiPool,
    /// The mean of interpolated samples, without the half-pixel shift of later versions.
    RoiAlign,
}

/// Which boxes are returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectionConfig {
    /// The rule.
    pub rule: SelectionRule,
    /// Fewest boxes, if there are as many proposals.
    pub min_boxes: usize,
    /// Most boxes.
    pub max_boxes: usize,
    /// Boxes of a lower score are returned only to make up `min_boxes`; not used by
    /// [`SelectionRule::BestClass`].
    pub score_threshold: f32,
    /// Attributes of a lower score are not returned; VinVL only.
    pub attribute_threshold: f32,
    /// Most attributes of a box; VinVL only, the other detector gives one.
    pub attributes_per_box: usize,
    /// How many attribute scores of a picture VinVL keeps; without effect at its usual sizes.
    pub attributes_per_picture: usize,
}

/// A rule of selection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name", deny_unknown_fields)]
pub enum SelectionRule {
    /// HuggingFace: the regressed box of each proposal's best class, suppressed across classes at
    /// the first of these thresholds that leaves enough boxes.
    BestClass {
        /// Thresholds of overlap, tried in order.
        nms_thresholds: Vec<f64>,
    },
    /// VinVL's `filter_results` (`NMS_FILTER` 0): boxes of each class above the threshold, which is
    /// halved while there are too few.
    PerClass {
        /// Boxes of a class that overlap by more are suppressed.
        nms_threshold: f64,
        /// Whether boxes are the proposals instead of regressed.
        boxes_are_proposals: bool,
    },
    /// VinVL's `filter_results_peter` (`NMS_FILTER` 1), its documented command: a proposal's class
    /// is the best of those that keep it, after suppression by class at an overlap of 0.3.
    BestKeptClass {
        /// Whether boxes are the proposals instead of regressed.
        boxes_are_proposals: bool,
    },
    /// VinVL's `filter_results_fast` (`NMS_FILTER` 2), by which its features were made: one class
    /// for each proposal, suppressed across classes. Boxes are the proposals.
    BestClassOfProposals {
        /// Boxes that overlap by more are suppressed.
        nms_threshold: f64,
    },
}

impl SelectionRule {
    /// Whether boxes are the proposals instead of regressed.
    #[must_use]
    pub fn boxes_are_proposals(&self) -> bool {
        match self {
            Self::BestClass { .. } => false,
            Self::BestClassOfProposals { .. } => true,
            Self::PerClass {
                boxes_are_proposals,
                ..
            }
            | Self::BestKeptClass {
                boxes_are_proposals,
            } => *boxes_are_proposals,
        }
    }
}

impl DetectorConfig {
    /// Anchors of a cell.
    #[must_use]
    pub fn anchors_per_cell(&self) -> usize {
        self.rpn.anchor_sizes.len() * self.rpn.anchor_ratios.len()
    }

    /// What a user may have set wrong: the key, what it is, and what it may be.
    pub(super) fn problem(&self) -> Option<String> {
        let InputConfig {
            short_side,
            long_side,
            std,
            ..
        } = &self.input;
        let selection = &self.selection;
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let thresholds = match &selection.rule {
            SelectionRule::BestClass { nms_thresholds } => nms_thresholds.clone(),
            SelectionRule::PerClass { nms_threshold, .. }
            | SelectionRule::BestClassOfProposals { nms_threshold } => vec![*nms_threshold],
            SelectionRule::BestKeptClass { .. } => vec![0.3],
        };
        let of_frcnn = matches!(selection.rule, SelectionRule::BestClass { .. });
        if *short_side == 0 || long_side < short_side || *long_side > 1 << 14 {
            return Some(format!(
                "input.short_side is {short_side} and input.long_side {long_side}, but the short \
                 side is at least 1, and the long one no less and at most 16384"
            ));
        }
        if std.iter().any(|value| !(value.is_finite() && *value > 0.0)) {
            return Some(format!("input.std is {std:?}, but is above 0"));
        }
        if self.rpn.post_nms == 0 || self.rpn.pre_nms == 0 {
            return Some("rpn.pre_nms and rpn.post_nms are at least 1".into());
        }
        if self.anchors_per_cell() == 0 {
            return Some("rpn.anchor_sizes and rpn.anchor_ratios are not empty".into());
        }
        if selection.max_boxes == 0 || selection.min_boxes > selection.max_boxes {
            return Some(format!(
                "selection.min_boxes is {} and selection.max_boxes {}, but the most are at least 1 \
                 and no fewer than the fewest",
                selection.min_boxes, selection.max_boxes
            ));
        }
        if thresholds.is_empty() || !thresholds.iter().all(|value| share(*value)) {
            return Some(format!(
                "the thresholds of selection.rule are {thresholds:?}, but at least one from 0 to 1 \
                 is needed"
            ));
        }
        if of_frcnn != (self.flavour == Flavour::Frcnn) {
            return Some(format!(
                "selection.rule is {:?}, which is a rule of the other detector",
                selection.rule
            ));
        }
        None
    }
}
