//! Keys of `scene_graph_benchmark`'s configuration.

use super::super::config::{DetectorConfig, SelectionConfig, SelectionRule};
use super::super::error::DetectorError;
use super::Keys;

impl Keys<'_> {
    pub(super) fn vinvl(&self) -> Result<DetectorConfig, DetectorError> {
        let mut config = DetectorConfig::vinvl_vg();
        let input = &mut config.input;
        self.set("input.min_size_test", &mut input.short_side)?;
        self.set("input.max_size_test", &mut input.long_side)?;
        self.set("input.pixel_mean", &mut input.mean)?;
        self.set("input.pixel_std", &mut input.std)?;
        self.only("input.to_bgr255", true)?;

        let backbone = &mut config.backbone;
        const BODY: &str = "model.backbone.conv_body";
        if let Some(body) = self.get::<String>(BODY)? {
            let depth = body
                .strip_prefix("R-")
                .and_then(|rest| rest.strip_suffix("-C4"));
            let depth = depth.and_then(|depth| depth.parse().ok());
            let depth = depth.ok_or_else(|| {
                self.wrong(
                    BODY,
                    &format!("{body:?}, but only R-50-C4, R-101-C4 and R-152-C4 are supported"),
                )
            })?;
            backbone.blocks = self.blocks(BODY, depth)?;
        }
        self.set("model.resnets.num_groups", &mut backbone.groups)?;
        self.set(
            "model.resnets.width_per_group",
            &mut backbone.width_per_group,
        )?;
        self.set(
            "model.resnets.stem_out_channels",
            &mut backbone.stem_channels,
        )?;
        self.set(
            "model.resnets.res2_out_channels",
            &mut backbone.res2_channels,
        )?;
        self.set("model.resnets.stride_in_1x1", &mut backbone.stride_in_1x1)?;
        self.only("model.resnets.res5_dilation", 1u32)?;

        let rpn = &mut config.rpn;
        rpn.hidden = config.backbone.res4_channels();
        self.set("model.rpn.anchor_sizes", &mut rpn.anchor_sizes)?;
        self.set("model.rpn.aspect_ratios", &mut rpn.anchor_ratios)?;
        self.set("model.rpn.pre_nms_top_n_test", &mut rpn.pre_nms)?;
        self.set("model.rpn.post_nms_top_n_test", &mut rpn.post_nms)?;
        self.set("model.rpn.nms_thresh", &mut rpn.nms_threshold)?;
        self.set("model.rpn.min_size", &mut rpn.min_size)?;
        self.only("model.rpn.use_fpn", false)?;

        self.vinvl_heads(&mut config)?;
        self.vinvl_selection(&mut config.selection)?;
        Ok(config)
    }

    fn vinvl_heads(&self, config: &mut DetectorConfig) -> Result<(), DetectorError> {
        const BOXES: &str = "model.roi_box_head";
        const ATTRIBUTES: &str = "model.roi_attribute_head";
        let heads = &mut config.heads;
        // Their numbers count background and "none".
        let others = |key: String, place: &mut usize| match self.get::<usize>(&key)? {
            None => Ok(()),
            Some(0) => Err(self.wrong(&key, "0")),
            Some(all) => {
                *place = all - 1;
                Ok(())
            }
        };
        others(format!("{BOXES}.num_classes"), &mut heads.classes)?;
        others(
            format!("{ATTRIBUTES}.num_attributes"),
            &mut heads.attributes,
        )?;
        self.set(&format!("{BOXES}.pooler_resolution"), &mut heads.resolution)?;
        self.only(&format!("{BOXES}.pooler_sampling_ratio"), 0u32)?;
        self.set(
            &format!("{ATTRIBUTES}.cls_emd_dim"),
            &mut heads.class_embedding,
        )?;
        self.set(
            &format!("{ATTRIBUTES}.attr_emd_dim"),
            &mut heads.attribute_hidden,
        )?;
        self.only(&format!("{ATTRIBUTES}.share_box_feature_extractor"), true)?;
        self.set("model.roi_heads.bbox_reg_weights", &mut heads.box_weights)?;
        Ok(())
    }

    fn vinvl_selection(&self, selection: &mut SelectionConfig) -> Result<(), DetectorError> {
        const ATTRIBUTES: &str = "model.roi_attribute_head";
        self.set(
            "model.roi_heads.score_thresh",
            &mut selection.score_threshold,
        )?;
        self.set(
            "model.roi_heads.detections_per_img",
            &mut selection.max_boxes,
        )?;
        self.set(
            "model.roi_heads.min_detections_per_img",
            &mut selection.min_boxes,
        )?;
        self.set(
            &format!("{ATTRIBUTES}.postprocess_attributes_threshold"),
            &mut selection.attribute_threshold,
        )?;
        self.set(
            &format!("{ATTRIBUTES}.max_num_attr_per_obj"),
            &mut selection.attributes_per_box,
        )?;
        self.set(
            &format!("{ATTRIBUTES}.max_num_attr_per_img"),
            &mut selection.attributes_per_picture,
        )?;
        let nms_threshold = self.get("model.roi_heads.nms")?.unwrap_or(0.5);
        let mut boxes_are_proposals = true;
        self.set("test.ignore_box_regression", &mut boxes_are_proposals)?;
        const FILTER: &str = "model.roi_heads.nms_filter";
        selection.rule = match (self.get(FILTER)?.unwrap_or(1u32), boxes_are_proposals) {
            (0, _) => SelectionRule::PerClass {
                nms_threshold,
                boxes_are_proposals,
            },
            (1, _) => SelectionRule::BestKeptClass {
                boxes_are_proposals,
            },
            (2, true) => SelectionRule::BestClassOfProposals { nms_threshold },
            // The reference then returns boxes of other proposals.
            (2, false) => {
                let found = "2, which needs `test.ignore_box_regression`";
                return Err(self.wrong(FILTER, found));
            }
            (other, _) => {
                return Err(self.wrong(FILTER, &format!("{other}, but it is 0, 1 or 2")));
            }
        };
        Ok(())
    }
}
