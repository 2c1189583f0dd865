//! How region features become hidden states: Oscar's one layer, or ROSITA's two.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::init;
use crate::config::{self, ModelConfig};
use crate::input::BOX_VALUES;
use crate::ops::{self, OscarBackend};

/// Box values of the split projection: x1/W, y1/H, x2/W, y2/H and the area, w·h/(W·H).
const SPLIT_BOX_VALUES: usize = 5;

/// Projects regions to `hidden_size`. Which way is [`config::RegionProjection`]'s.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub(super) enum RegionProjection<B: Backend> {
    /// One layer over features and box.
    Joined(Linear<B>),
    /// A layer over the features and one over the box.
    Split(SplitProjection<B>),
}

/// Two layers whose outputs are added. They stay two, with a bias each, since an optimiser steps each
/// bias by itself: their sum would move half as far.
#[derive(Module, Debug)]
pub(super) struct SplitProjection<B: Backend> {
    features: Linear<B>,
    boxes: Linear<B>,
}

impl<B: Backend> RegionProjection<B> {
    /// A projection with fresh weights.
    pub(super) fn new(config: &ModelConfig, device: &B::Device) -> Self {
        let (hidden, std) = (config.hidden_size, config.initializer_range);
        let linear = |from| init::linear(from, hidden, std, device);
        match config.region_projection {
            config::RegionProjection::Joined => Self::Joined(linear(config.img_feature_dim)),
            config::RegionProjection::Split => Self::Split(SplitProjection {
                features: linear(config.img_feature_dim - BOX_VALUES),
                boxes: linear(SPLIT_BOX_VALUES),
            }),
        }
    }
}

impl<B: OscarBackend> RegionProjection<B> {
    /// Regions as they are stored, `[regions, features + 6]`, to `[regions, hidden]`.
    pub(super) fn forward(&self, regions: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::Joined(layer) => ops::linear(layer, regions),
            Self::Split(layers) => {
                let [_, width] = regions.dims();
                let at = width - BOX_VALUES;
                let column = |from, len| regions.clone().narrow(1, from, len);
                // Stored are x1, y1, x2, y2, w, h, each as a share of the image.
                let area = column(at + 4, 1) * column(at + 5, 1);
                let boxes = Tensor::cat(vec![column(at, 4), area], 1);
                ops::linear(&layers.features, column(0, at)) + ops::linear(&layers.boxes, boxes)
            }
        }
    }
}
