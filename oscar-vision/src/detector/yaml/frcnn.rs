//! Keys of HuggingFace's configuration.

use super::super::config::{DetectorConfig, Res5, SelectionRule, StemPool};
use super::super::error::DetectorError;
use super::{Keys, OneOrMany};

impl Keys<'_> {
    pub(super) fn frcnn(&self) -> Result<DetectorConfig, DetectorError> {
        let mut config = DetectorConfig::frcnn_vg();
        let input = &mut config.input;
        self.set("input.min_size_test", &mut input.short_side)?;
        self.set("input.max_size_test", &mut input.long_side)?;
        self.set("model.pixel_mean", &mut input.mean)?;
        self.set("model.pixel_std", &mut input.std)?;
        self.set("pad_value", &mut input.pad_value)?;
        // With RGB the published script fails on every picture.
        self.only("input.format", "BGR".to_string())?;
        self.only("size_divisibility", 0u32)?;

        let backbone = &mut config.backbone;
        if let Some(depth) = self.get("resnets.depth")? {
            backbone.blocks = self.blocks("resnets.depth", depth)?;
        }
        self.set("resnets.num_groups", &mut backbone.groups)?;
        self.set("resnets.width_per_group", &mut backbone.width_per_group)?;
        self.set("resnets.stem_out_channels", &mut backbone.stem_channels)?;
        self.set("resnets.res2_out_channels", &mut backbone.res2_channels)?;
        self.set("resnets.stride_in_1x1", &mut backbone.stride_in_1x1)?;
        self.only("resnets.res5_dilation", 1u32)?;
        if let Some(caffe) = self.get("model.max_pool")? {
            backbone.stem_pool = match caffe {
                true => StemPool::Caffe,
                false => StemPool::Torch,
            };
        }
        if let Some(halved) = self.get("roi_box_head.res5halve")? {
            backbone.res5 = match halved {
                true => Res5::Halved,
                false => Res5::Dilated,
            };
        }

        let rpn = &mut config.rpn;
        rpn.hidden = match self.get::<i64>("proposal_generator.hidden_channels")? {
            None => rpn.hidden,
            Some(-1) => config.backbone.res4_channels(),
            Some(hidden) => usize::try_from(hidden).map_err(|_| {
                let found = format!("{hidden}, but it is -1 (as res4) or a number of channels");
                self.wrong("proposal_generator.hidden_channels", &found)
            })?,
        };
        self.anchor_sizes("anchor_generator.sizes", &mut rpn.anchor_sizes)?;
        self.anchor_sizes("anchor_generator.aspect_ratios", &mut rpn.anchor_ratios)?;
        self.only("anchor_generator.offset", 0.0)?;
        self.set("proposal_generator.min_size", &mut rpn.min_size)?;
        self.set("rpn.nms_thresh", &mut rpn.nms_threshold)?;
        self.set("rpn.pre_nms_topk_test", &mut rpn.pre_nms)?;
        self.set("rpn.post_nms_topk_test", &mut rpn.post_nms)?;
        self.only("rpn.bbox_reg_weights", [1.0; 4])?;

        self.frcnn_heads(&mut config)?;
        Ok(config)
    }

    fn frcnn_heads(&self, config: &mut DetectorConfig) -> Result<(), DetectorError> {
        // The reference derives them from the length of the features.
        let features = config.backbone.res5_channels();
        let heads = &mut config.heads;
        (heads.class_embedding, heads.attribute_hidden) = (features / 8, features / 4);
        self.set("roi_box_head.pooler_resolution", &mut heads.resolution)?;
        self.set("roi_heads.num_classes", &mut heads.classes)?;
        self.set("roi_box_head.num_attrs", &mut heads.attributes)?;
        self.set("roi_box_head.bbox_reg_weights", &mut heads.box_weights)?;
        self.only("roi_box_head.cls_agnostic_bbox_reg", false)?;
        self.only("roi_box_head.attr", true)?;

        let selection = &mut config.selection;
        self.set("min_detections", &mut selection.min_boxes)?;
        self.set("max_detections", &mut selection.max_boxes)?;
        if let Some(thresholds) = self.get("roi_heads.nms_thresh_test")? {
            let nms_thresholds = match thresholds {
                OneOrMany::One(threshold) => vec![threshold],
                OneOrMany::Many(thresholds) => thresholds,
            };
            selection.rule = SelectionRule::BestClass { nms_thresholds };
        }
        Ok(())
    }
}
