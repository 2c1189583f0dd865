//! The network: stem and residual stages, proposal head, res5, predictors.

use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::{Int, Tensor, TensorData};
use oscar_core::ops::Kernels;

use super::config::StemPool;
use crate::conv::Convolution;

/// A residual block: 1x1, 3x3 and 1x1 convolutions beside a shortcut.
#[derive(Clone, Debug)]
pub struct Bottleneck<B: Kernels> {
    shortcut: Option<Convolution<B>>,
    convolutions: [Convolution<B>; 3],
}

impl<B: Kernels> Bottleneck<B> {
    /// From a shortcut, if it is not the input itself, and three convolutions.
    pub fn new(shortcut: Option<Convolution<B>>, convolutions: [Convolution<B>; 3]) -> Self {
        Self {
            shortcut,
            convolutions,
        }
    }

    /// `[batch, height, width, in]` to `[batch, height', width', out]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [first, second, third] = &self.convolutions;
        let branch = second.rectified(first.rectified(x.clone()));
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        third.joined(branch, shortcut)
    }
}

/// What the network computes for region proposals.
#[derive(Clone, Debug)]
pub struct ProposalMaps<B: Kernels> {
    /// `[batch, height, width, anchors]`
    pub logits: Tensor<B, 4>,
    /// `[batch, height, width, anchors * 4]`
    pub deltas: Tensor<B, 4>,
}

/// A Faster R-CNN C4 with an attribute head. Maps are `[batch, height, width, channels]`.
#[derive(Clone, Debug)]
pub struct Network<B: Kernels> {
    pub(super) stem: Convolution<B>,
    pub(super) stem_pool: StemPool,
    pub(super) stages: [Vec<Bottleneck<B>>; 3],
    pub(super) rpn: [Convolution<B>; 3],
    pub(super) res5: Vec<Bottleneck<B>>,
    pub(super) class_score: Convolution<B>,
    pub(super) box_deltas: Convolution<B>,
    /// `[classes + 1, embedding]`
    pub(super) class_embedding: Tensor<B, 2>,
    pub(super) attribute_hidden: Convolution<B>,
    pub(super) attribute_score: Convolution<B>,
    pub(super) device: B::Device,
}

impl<B: Kernels> Network<B> {
    /// The device that it is on.
    pub fn device(&self) -> &B::Device {
        &self.device
    }

    /// The stem, of pixels `[batch, height, width, 3]`.
    pub fn stem(&self, pixels: Tensor<B, 4>) -> Tensor<B, 4> {
        stem_pool(self.stem.rectified(pixels), self.stem_pool)
    }

    /// Residual stage 2, 3 or 4.
    ///
    /// # Panics
    /// For another number.
    pub fn stage(&self, number: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let blocks = &self.stages[number - 2];
        blocks.iter().fold(x, |x, block| block.forward(x))
    }

    /// From pixels `[batch, height, width, 3]` to the map of res4.
    pub fn backbone(&self, pixels: Tensor<B, 4>) -> Tensor<B, 4> {
        (2..=4).fold(self.stem(pixels), |x, number| self.stage(number, x))
    }

    /// What proposals are made of, from the map of res4.
    pub fn proposal_maps(&self, res4: Tensor<B, 4>) -> ProposalMaps<B> {
        let [hidden, logits, deltas] = &self.rpn;
        let x = hidden.rectified(res4);
        ProposalMaps {
            logits: logits.forward(x.clone()),
            deltas: deltas.forward(x),
        }
    }

    /// res5 of the cells of regions, `[regions, 14, 14, channels]`.
    pub fn res5(&self, cells: Tensor<B, 4>) -> Tensor<B, 4> {
        self.res5.iter().fold(cells, |x, block| block.forward(x))
    }

    /// The feature vectors `[regions, features]`: means over the cells of res5.
    pub fn features(res5: Tensor<B, 4>) -> Tensor<B, 2> {
        let [regions, height, width, channels] = res5.dims();
        let cells = res5.reshape([regions, height * width, channels]);
        cells.mean_dim(1).reshape([regions, channels])
    }

    /// Logits of the classes, `[regions, classes + 1]`.
    pub fn class_logits(&self, features: Tensor<B, 2>) -> Tensor<B, 2> {
        self.class_score.rows(features)
    }

    /// Deltas of the box of each class, `[regions, slots * 4]`.
    pub fn box_deltas(&self, features: Tensor<B, 2>) -> Tensor<B, 2> {
        self.box_deltas.rows(features)
    }

    /// Logits of the attributes, `[regions, attributes + 1]`; `classes` are columns of the class
    /// logits.
    pub fn attribute_logits(&self, features: Tensor<B, 2>, classes: &[usize]) -> Tensor<B, 2> {
        let classes: Vec<i32> = classes.iter().map(|class| *class as i32).collect();
        let count = classes.len();
        let classes =
            Tensor::<B, 1, Int>::from_data(TensorData::new(classes, [count]), &self.device);
        let embedded = self.class_embedding.clone().select(0, classes);
        let x = Tensor::cat(vec![features, embedded], 1);
        let hidden = relu(self.attribute_hidden.rows(x));
        self.attribute_score.rows(hidden)
    }
}

/// The max pooling of the stem, 3x3 with stride 2.
pub fn stem_pool<B: Kernels>(x: Tensor<B, 4>, pool: StemPool) -> Tensor<B, 4> {
    let (padding, ceil) = match pool {
        StemPool::Caffe => (0, true),
        StemPool::Torch => (1, false),
    };
    let planes = x.permute([0, 3, 1, 2]);
    max_pool2d(planes, [3; 2], [2; 2], [padding; 2], [1; 2], ceil).permute([0, 2, 3, 1])
}
