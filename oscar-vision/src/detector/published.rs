//! The settings of the two published detectors.

use super::config::{
    BackboneConfig, ColourOrder, DetectorConfig, Flavour, HeadsConfig, InputConfig, Pooler, Res5,
    Resizer, RpnConfig, SelectionConfig, SelectionRule, StemPool,
};

impl DetectorConfig {
    /// The published settings of a flavour.
    #[must_use]
    pub fn published(flavour: Flavour) -> Self {
        match flavour {
            Flavour::Frcnn => Self::frcnn_vg(),
            Flavour::Vinvl => Self::vinvl_vg(),
        }
    }

    /// `unc-nlp/frcnn-vg-finetuned`: ResNet-101 of bottom-up attention, whose features Oscar,
    /// LXMERT and VisualBERT were trained on; 36 boxes.
    #[must_use]
    pub fn frcnn_vg() -> Self {
        Self {
            flavour: Flavour::Frcnn,
            input: InputConfig {
                short_side: 800,
                long_side: 1333,
                resizer: Resizer::Bilinear,
                colour_order: ColourOrder::Bgr,
                mean: [102.9801, 115.9465, 122.7717],
                std: [1.0; 3],
                pad_value: 0.0,
            },
            backbone: BackboneConfig {
                blocks: [3, 4, 23],
                groups: 1,
                width_per_group: 64,
                stem_channels: 64,
                res2_channels: 256,
                stride_in_1x1: true,
                stem_pool: StemPool::Caffe,
                norm_eps: 1e-5,
                res5: Res5::Dilated,
            },
            rpn: RpnConfig {
                hidden: 512,
                anchor_sizes: vec![64.0, 128.0, 256.0, 512.0],
                anchor_ratios: vec![0.5, 1.0, 2.0],
                pre_nms: 6000,
                post_nms: 300,
                nms_threshold: 0.7,
                min_size: 0.0,
            },
            heads: HeadsConfig {
                pooler: Pooler::RoiPool,
                resolution: 14,
                classes: 1600,
                attributes: 400,
                class_embedding: 256,
                attribute_hidden: 512,
                box_weights: [10.0, 10.0, 5.0, 5.0],
                with_attributes: true,
            },
            selection: SelectionConfig {
                rule: SelectionRule::BestClass {
                    nms_thresholds: vec![0.5, 0.6, 0.7, 0.8, 0.9],
                },
                min_boxes: 36,
                max_boxes: 36,
                score_threshold: 0.2,
                attribute_threshold: 0.0,
                attributes_per_box: 1,
                attributes_per_picture: 100,
            },
        }
    }

    /// `vinvl_vg_x152c4`: ResNeXt-152 32x8d of VinVL, whose features Oscar+ was trained on; 10 to
    /// 100 boxes by the documented command.
    #[must_use]
    pub fn vinvl_vg() -> Self {
        Self {
            flavour: Flavour::Vinvl,
            input: InputConfig {
                short_side: 600,
                long_side: 1000,
                resizer: Resizer::Pillow,
                colour_order: ColourOrder::Bgr,
                mean: [103.530, 116.280, 123.675],
                std: [1.0; 3],
                pad_value: 0.0,
            },
            backbone: BackboneConfig {
                blocks: [3, 8, 36],
                groups: 32,
                width_per_group: 8,
                stem_channels: 64,
                res2_channels: 256,
                stride_in_1x1: false,
                stem_pool: StemPool::Torch,
                norm_eps: 0.0,
                res5: Res5::Halved,
            },
            rpn: RpnConfig {
                hidden: 1024,
                anchor_sizes: vec![32.0, 64.0, 128.0, 256.0, 512.0],
                anchor_ratios: vec![0.5, 1.0, 2.0],
                pre_nms: 6000,
                post_nms: 300,
                nms_threshold: 0.7,
                min_size: 0.0,
            },
            heads: HeadsConfig {
                pooler: Pooler::RoiAlign,
                resolution: 14,
                classes: 1594,
                attributes: 524,
                class_embedding: 256,
                attribute_hidden: 512,
                box_weights: [10.0, 10.0, 5.0, 5.0],
                with_attributes: true,
            },
            selection: SelectionConfig {
                rule: SelectionRule::BestKeptClass {
                    boxes_are_proposals: true,
                },
                min_boxes: 10,
                max_boxes: 100,
                score_threshold: 0.2,
                attribute_threshold: 0.05,
                attributes_per_box: 16,
                attributes_per_picture: 100,
            },
        }
    }
}
