//! Makes a network of the tensors of a published file.

use burn::tensor::{Tensor, TensorData};
use oscar_core::ops::Kernels;

use super::config::{DetectorConfig, Flavour, Res5};
use super::error::DetectorError;
use super::network::{Bottleneck, Network};
use super::weights::TensorSource;
use crate::conv::{Convolution, Geometry};

impl<B: Kernels> Network<B> {
    pub(super) fn load(
        weights: &dyn TensorSource,
        config: &DetectorConfig,
        device: &B::Device,
    ) -> Result<Self, DetectorError> {
        let load = Loader {
            weights,
            config,
            names: Names::of(config.flavour),
            device,
        };
        let backbone = &config.backbone;
        let heads = &config.heads;
        let (res4, res5) = (backbone.res4_channels(), backbone.res5_channels());
        let (names, hidden) = (&load.names, config.rpn.hidden);
        let anchors = config.anchors_per_cell();
        let stages = [load.stage(2)?, load.stage(3)?, load.stage(4)?];
        let slots = match config.flavour {
            Flavour::Frcnn => heads.classes,
            Flavour::Vinvl => heads.classes + 1,
        };
        let embedding = [heads.classes + 1, heads.class_embedding];
        let class_embedding = weights.get(names.class_embedding, &embedding)?;
        let with_class = res5 + heads.class_embedding;
        Ok(Self {
            stem: load.normed(
                (names.stem, names.stem_norm),
                [backbone.stem_channels, 3, 7, 7],
                Geometry {
                    kernel: 7,
                    stride: 2,
                    ..Geometry::POINT
                },
            )?,
            stem_pool: backbone.stem_pool,
            stages,
            rpn: [
                load.plain(names.rpn[0], [hidden, res4, 3, 3])?,
                load.plain(names.rpn[1], [anchors, hidden, 1, 1])?,
                load.plain(names.rpn[2], [anchors * 4, hidden, 1, 1])?,
            ],
            res5: load.stage(5)?,
            class_score: load.linear(names.class_score, [heads.classes + 1, res5])?,
            box_deltas: load.linear(names.box_deltas, [slots * 4, res5])?,
            class_embedding: Tensor::from_data(TensorData::new(class_embedding, embedding), device),
            attribute_hidden: load
                .linear(names.attribute_hidden, [heads.attribute_hidden, with_class])?,
            attribute_score: load.linear(
                names.attribute_score,
                [heads.attributes + 1, heads.attribute_hidden],
            )?,
            device: device.clone(),
        })
    }
}

/// The names of a detector's tensors.
struct Names {
    stem: &'static str,
    stem_norm: &'static str,
    rpn: [&'static str; 3],
    class_score: &'static str,
    box_deltas: &'static str,
    class_embedding: &'static str,
    attribute_hidden: &'static str,
    attribute_score: &'static str,
}

impl Names {
    fn of(flavour: Flavour) -> Self {
        match flavour {
            Flavour::Frcnn => Self {
                stem: "backbone.stem.conv1",
                stem_norm: "backbone.stem.conv1.norm",
                rpn: [
                    "proposal_generator.rpn_head.conv",
                    "proposal_generator.rpn_head.objectness_logits",
                    "proposal_generator.rpn_head.anchor_deltas",
                ],
                class_score: "roi_heads.box_predictor.cls_score",
                box_deltas: "roi_heads.box_predictor.bbox_pred",
                class_embedding: "roi_heads.box_predictor.cls_embedding.weight",
                attribute_hidden: "roi_heads.box_predictor.fc_attr",
                attribute_score: "roi_heads.box_predictor.attr_score",
            },
            Flavour::Vinvl => Self {
                stem: "backbone.body.stem.conv1",
                stem_norm: "backbone.body.stem.bn1",
                rpn: ["rpn.head.conv", "rpn.head.cls_logits", "rpn.head.bbox_pred"],
                class_score: "roi_heads.box.predictor.cls_score",
                box_deltas: "roi_heads.box.predictor.bbox_pred",
                class_embedding: "attribute.predictor.cls_embedding.weight",
                attribute_hidden: "attribute.predictor.fc_attr",
                attribute_score: "attribute.predictor.attr_score",
            },
        }
    }

    /// The folder of names of a block.
    fn block(flavour: Flavour, stage: usize, block: usize) -> String {
        match (flavour, stage) {
            (Flavour::Frcnn, 5) => format!("roi_heads.res5.{block}"),
            (Flavour::Frcnn, _) => format!("backbone.res{stage}.{block}"),
            (Flavour::Vinvl, 5) => {
                format!("roi_heads.box.feature_extractor.head.layer4.{block}")
            }
            (Flavour::Vinvl, _) => format!("backbone.body.layer{}.{block}", stage - 1),
        }
    }

    /// A convolution of a block and its batch norm; 0 is the shortcut.
    fn part(flavour: Flavour, block: &str, part: usize) -> (String, String) {
        match (flavour, part) {
            (Flavour::Frcnn, 0) => (
                format!("{block}.shortcut"),
                format!("{block}.shortcut.norm"),
            ),
            (Flavour::Frcnn, _) => (
                format!("{block}.conv{part}"),
                format!("{block}.conv{part}.norm"),
            ),
            (Flavour::Vinvl, 0) => (
                format!("{block}.downsample.0"),
                format!("{block}.downsample.1"),
            ),
            (Flavour::Vinvl, _) => (format!("{block}.conv{part}"), format!("{block}.bn{part}")),
        }
    }
}

/// Makes the parts of a network of the tensors of a file.
struct Loader<'a, B: Kernels> {
    weights: &'a dyn TensorSource,
    config: &'a DetectorConfig,
    names: Names,
    device: &'a B::Device,
}

impl<B: Kernels> Loader<'_, B> {
    fn normed(
        &self,
        (name, norm): (&str, &str),
        shape: [usize; 4],
        geometry: Geometry,
    ) -> Result<Convolution<B>, DetectorError> {
        let eps = self.config.backbone.norm_eps;
        let (weight, bias) = self.weights.folded(name, norm, shape, eps)?;
        Ok(Convolution::new(weight, bias, geometry, self.device))
    }

    fn plain(&self, name: &str, shape: [usize; 4]) -> Result<Convolution<B>, DetectorError> {
        self.biased(name, &shape, shape[2])
    }

    fn linear(&self, name: &str, shape: [usize; 2]) -> Result<Convolution<B>, DetectorError> {
        self.biased(name, &shape, 1)
    }

    fn biased(
        &self,
        name: &str,
        shape: &[usize],
        kernel: usize,
    ) -> Result<Convolution<B>, DetectorError> {
        let weight = self.weights.get(&format!("{name}.weight"), shape)?;
        let bias = self.weights.get(&format!("{name}.bias"), &shape[..1])?;
        let geometry = Geometry {
            kernel,
            ..Geometry::POINT
        };
        Ok(Convolution::new(weight, bias, geometry, self.device))
    }

    /// Stage 2 to 5.
    fn stage(&self, stage: usize) -> Result<Vec<Bottleneck<B>>, DetectorError> {
        let backbone = &self.config.backbone;
        let growth = 1 << (stage - 2);
        let out = backbone.res2_channels * growth;
        let inner = backbone.groups * backbone.width_per_group * growth;
        let (blocks, stride, dilation) = match (stage, backbone.res5) {
            (2, _) => (backbone.blocks[0], 1, 1),
            (5, Res5::Dilated) => (3, 1, 2),
            (5, Res5::Halved) => (3, 2, 1),
            _ => (backbone.blocks[stage - 2], 2, 1),
        };
        let block = |number: usize| {
            let channels = match (number, stage) {
                (0, 2) => backbone.stem_channels,
                (0, _) => out / 2,
                _ => out,
            };
            let stride = if number == 0 { stride } else { 1 };
            let shape = BlockShape {
                channels: [channels, inner, out],
                stride,
                dilation,
            };
            let name = Names::block(self.config.flavour, stage, number);
            self.block(&name, &shape)
        };
        (0..blocks).map(block).collect()
    }

    fn block(&self, name: &str, shape: &BlockShape) -> Result<Bottleneck<B>, DetectorError> {
        let BlockShape {
            channels: [channels, inner, out],
            stride,
            dilation,
        } = *shape;
        let backbone = &self.config.backbone;
        let (first, second) = match backbone.stride_in_1x1 {
            true => (stride, 1),
            false => (1, stride),
        };
        let part = |number: usize, shape: [usize; 4], geometry: Geometry| {
            let (name, norm) = Names::part(self.config.flavour, name, number);
            self.normed((&name, &norm), shape, geometry)
        };
        let point = |stride| Geometry {
            stride,
            ..Geometry::POINT
        };
        let shortcut = match channels == out {
            true => None,
            false => Some(part(0, [out, channels, 1, 1], point(stride))?),
        };
        let grouped = Geometry {
            kernel: 3,
            stride: second,
            dilation,
            groups: backbone.groups,
        };
        Ok(Bottleneck::new(
            shortcut,
            [
                part(1, [inner, channels, 1, 1], point(first))?,
                part(2, [inner, inner / backbone.groups, 3, 3], grouped)?,
                part(3, [out, inner, 1, 1], point(1))?,
            ],
        ))
    }
}

/// Sizes of a block.
struct BlockShape {
    /// Into it, inside, and out of it.
    channels: [usize; 3],
    stride: usize,
    dilation: usize,
}
