//! The published `config.yaml` of both detectors.

use std::path::Path;

use oscar_files::FileError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::config::{DetectorConfig, Flavour, Res5, SelectionRule, StemPool};
use super::error::DetectorError;
use super::files::read_small_text;

/// Reads the configuration at `path`; keys are read in any case, what is missing is as published.
pub(super) fn read(path: &Path) -> Result<DetectorConfig, DetectorError> {
    let text = read_small_text(path)?;
    let value: Value = serde_saphyr::from_str(&text).map_err(|error| {
        FileError::malformed(path, format!("not YAML ({error})"), "copy the file again")
    })?;
    let keys = Keys {
        path,
        value: lower_case(value),
    };
    match (keys.has("resnets"), keys.has("model.resnets")) {
        (true, _) => keys.frcnn(),
        (false, true) => keys.vinvl(),
        (false, false) => Err(FileError::malformed(
            path,
            "neither `resnets` (of frcnn-vg) nor `model.resnets` (of VinVL) is there",
            "it is not the configuration of one of the two detectors; remove it to use the \
             published settings",
        )
        .into()),
    }
}

fn lower_case(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let lower = |(key, value): (String, Value)| (key.to_lowercase(), lower_case(value));
            Value::Object(map.into_iter().map(lower).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// A parsed configuration.
struct Keys<'a> {
    path: &'a Path,
    value: Value,
}

/// A number, or a list of them.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(f64),
    Many(Vec<f64>),
}

/// Sizes of anchors, in a list for each feature map.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum PerMap {
    One(Vec<f32>),
    Each(Vec<Vec<f32>>),
}

impl Keys<'_> {
    fn find(&self, key: &str) -> Option<&Value> {
        let parts = key.split('.');
        parts
            .into_iter()
            .try_fold(&self.value, |value, part| value.get(part))
    }

    fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The value of `key`, if it is there.
    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, DetectorError> {
        let Some(value) = self.find(key) else {
            return Ok(None);
        };
        T::deserialize(value)
            .map(Some)
            .map_err(|error| self.wrong(key, &format!("{value}, which cannot be read ({error})")))
    }

    /// Puts the value of `key` into `place`, if it is there.
    fn set<T: DeserializeOwned>(&self, key: &str, place: &mut T) -> Result<(), DetectorError> {
        if let Some(value) = self.get(key)? {
            *place = value;
        }
        Ok(())
    }

    fn wrong(&self, key: &str, found: &str) -> DetectorError {
        DetectorError::Config {
            path: self.path.to_path_buf(),
            found: format!("`{key}` is {found}"),
        }
    }

    /// Refuses a value that stands for a network that is not implemented.
    fn only<T: DeserializeOwned + PartialEq + std::fmt::Debug>(
        &self,
        key: &str,
        wanted: T,
    ) -> Result<(), DetectorError> {
        match self.get::<T>(key)? {
            Some(found) if found != wanted => {
                let found = format!("{found:?}, but only {wanted:?} is supported");
                Err(self.wrong(key, &found))
            }
            _ => Ok(()),
        }
    }

    fn blocks(&self, key: &str, depth: u64) -> Result<[usize; 3], DetectorError> {
        match depth {
            50 => Ok([3, 4, 6]),
            101 => Ok([3, 4, 23]),
            152 => Ok([3, 8, 36]),
            _ => Err(self.wrong(key, &format!("{depth}, but the depth is 50, 101 or 152"))),
        }
    }

    fn anchor_sizes(&self, key: &str, place: &mut Vec<f32>) -> Result<(), DetectorError> {
        match self.get(key)? {
            None => {}
            Some(PerMap::One(sizes)) => *place = sizes,
            Some(PerMap::Each(mut maps)) if maps.len() == 1 => *place = maps.remove(0),
            Some(PerMap::Each(maps)) => {
                let found = format!("a list of {}, but there is one feature map", maps.len());
                return Err(self.wrong(key, &found));
            }
        }
        Ok(())
    }

    fn frcnn(&self) -> Result<DetectorConfig, DetectorError> {
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

        let heads = &mut config.heads;
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
        Ok(config)
    }

    fn vinvl(&self) -> Result<DetectorConfig, DetectorError> {
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

        let selection = &mut config.selection;
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

/// The flavour that a configuration is about, for messages.
pub(super) fn name_of(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Frcnn => "frcnn-vg (bottom-up attention)",
        Flavour::Vinvl => "VinVL",
    }
}
