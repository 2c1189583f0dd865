//! The head that predicts masked regions: ROSITA's, in which one transform has up to three outputs.

use burn::module::Module;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::init;
use crate::config::{Activation, ModelConfig};
use crate::input::{BOX_VALUES, RegionTargets};
use crate::ops::{self, OscarBackend};

/// Dense, activation, LayerNorm; then appearance features, and where the configuration has classes,
/// object and attribute class.
///
/// The reference runs it over every region; here it gets the rows that are to be predicted.
#[derive(Module, Debug)]
pub struct RegionHead<B: Backend> {
    dense: Linear<B>,
    layer_norm: LayerNorm<B>,
    features: Linear<B>,
    objects: Option<Linear<B>>,
    attributes: Option<Linear<B>>,
    #[module(skip)]
    activation: Activation,
}

/// What the head says of some regions.
#[derive(Clone, Debug)]
pub struct RegionPredictions<B: Backend> {
    /// Appearance features, `[regions, features]`.
    pub features: Tensor<B, 2>,
    /// Logits of the object classes, `[regions, classes]`.
    pub objects: Option<Tensor<B, 2>>,
    /// Logits of the attribute classes, `[regions, classes]`.
    pub attributes: Option<Tensor<B, 2>>,
}

/// Losses of predictions, each `[1]`, and 0 where the batch has no target.
#[derive(Clone, Debug)]
pub struct RegionLosses<B: Backend> {
    /// Mean smooth L1 of the features.
    pub features: Tensor<B, 1>,
    /// Cross entropy of the object classes, each times the confidence in its label, over the number of
    /// labels.
    pub objects: Option<Tensor<B, 1>>,
    /// The same of the attribute classes.
    pub attributes: Option<Tensor<B, 1>>,
}

impl<B: OscarBackend> RegionPredictions<B> {
    /// The losses of these predictions of `targets`, in their order (ROSITA's `LOSS_REDUCTION`
    /// `mean`).
    pub fn losses(&self, targets: &RegionTargets<B>) -> RegionLosses<B> {
        let distances = ops::smooth_l1_rows(self.features.clone(), targets.features.clone());
        let classes = |logits: &Option<Tensor<B, 2>>, labels: &Tensor<B, 1, Int>, scores| {
            let losses = ops::cross_entropy_rows(logits.clone()?, labels.clone());
            Some(ops::weighted_mean(losses, scores))
        };
        RegionLosses {
            features: ops::weighted_mean(distances, targets.weights.clone()),
            objects: classes(
                &self.objects,
                &targets.objects,
                targets.object_scores.clone(),
            ),
            attributes: classes(
                &self.attributes,
                &targets.attributes,
                targets.attribute_scores.clone(),
            ),
        }
    }
}

impl<B: OscarBackend> RegionHead<B> {
    /// A head with fresh weights.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        let (hidden, std) = (config.hidden_size, config.initializer_range);
        let output = |classes| init::linear(hidden, classes, std, device);
        let classes = |count: usize| (count > 0).then(|| output(count));
        Self {
            dense: output(hidden),
            layer_norm: init::layer_norm(hidden, config.layer_norm_eps, device),
            features: output(config.img_feature_dim - BOX_VALUES),
            objects: classes(config.num_object_classes),
            attributes: classes(config.num_attribute_classes),
            activation: config.hidden_act,
        }
    }

    /// Predictions from final hidden states `[regions, hidden]`.
    pub fn forward(&self, hidden: Tensor<B, 2>) -> RegionPredictions<B> {
        let hidden = ops::linear_activate(&self.dense, self.activation, hidden);
        let hidden = self.layer_norm.forward(ops::to_f32(hidden));
        let classes = |layer: &Option<Linear<B>>| {
            let layer = layer.as_ref()?;
            Some(ops::linear(layer, hidden.clone()))
        };
        RegionPredictions {
            features: ops::linear(&self.features, hidden.clone()),
            objects: classes(&self.objects),
            attributes: classes(&self.attributes),
        }
    }
}
