//! Masked regions: what becomes of them in the input, and what is to be predicted.

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};

use super::batch::{floats, ints};
use super::example::BOX_VALUES;
use crate::ops;

/// A masked region of an example.
///
/// Its box stays as it is: the model knows where the region is, not what it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedRegion {
    /// Its number among the regions of the example.
    pub region: u32,
    /// What its features become.
    pub becomes: RegionMask,
    /// Whether it is to be predicted.
    pub predicted: bool,
    /// Its object class and the confidence in it, where they are known.
    pub object: Option<(u16, f32)>,
    /// Its attribute class and the confidence in it, where they are known.
    pub attribute: Option<(u16, f32)>,
}

/// What the features of a masked region become.
#[derive(Clone, Debug, PartialEq)]
pub enum RegionMask {
    /// Zeros.
    Zeros,
    /// Those of a region of another row, without its box.
    Other(Vec<f32>),
    /// They stay.
    Unchanged,
}

/// The regions of a batch that are to be predicted, padded.
#[derive(Clone, Debug)]
pub struct RegionTargets<B: Backend> {
    /// Their positions in the flattened `[batch * seq]`, `[targets]`; 0 for padding.
    pub positions: Tensor<B, 1, Int>,
    /// 1 for a target, 0 for padding, `[targets]`.
    pub weights: Tensor<B, 1>,
    /// Their features before they were masked, `[targets, features]`.
    pub features: Tensor<B, 2>,
    /// Their object classes, `[targets]`.
    pub objects: Tensor<B, 1, Int>,
    /// The confidence in them, `[targets]`; 0 where the class is not known.
    pub object_scores: Tensor<B, 1>,
    /// Their attribute classes, `[targets]`.
    pub attributes: Tensor<B, 1, Int>,
    /// The confidence in them, `[targets]`; 0 where the class is not known.
    pub attribute_scores: Tensor<B, 1>,
    /// Number of targets that are not padding; they come first, row by row.
    pub count: usize,
}

/// The answers of a batch, where an example has some.
#[derive(Clone, Debug)]
pub struct AnswerTargets<B: Backend> {
    /// A score per answer, `[batch, answers]`.
    pub scores: Tensor<B, 2>,
    /// 1 for an example whose answers are to be predicted, else 0, `[batch]`.
    pub weights: Tensor<B, 1>,
}

impl<B: Backend> AnswerTargets<B> {
    /// Kullback-Leibler divergence of `logits` `[batch, answers]`, averaged over the answers and over the
    /// examples that have some, `[1]`; 0 if none has.
    pub fn loss(&self, logits: Tensor<B, 2>) -> Tensor<B, 1> {
        let [rows, _] = logits.dims();
        let losses = ops::kl_divergence(logits, self.scores.clone());
        let losses = losses.mean_dim(1).reshape([rows]);
        ops::weighted_mean(losses, self.weights.clone())
    }
}

/// The shape of what a batch's regions are in.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegionPlaces {
    /// Positions of a row: text and regions.
    pub seq: usize,
    /// Position of a row's first region.
    pub first: usize,
    /// Regions of a row, padding included.
    pub regions: usize,
    /// Values of a region.
    pub dim: usize,
}

impl RegionPlaces {
    /// Masks regions in `values` `[rows, regions, dim]`, and collects what is to be predicted; also
    /// gives the targets' positions on the host. Targets are padded to a multiple of `multiple`.
    pub(super) fn mask<'a, B: Backend>(
        self,
        rows: impl Iterator<Item = &'a [MaskedRegion]>,
        values: &mut [f32],
        multiple: usize,
        device: &B::Device,
    ) -> (RegionTargets<B>, Vec<usize>) {
        let width = self.dim.saturating_sub(BOX_VALUES);
        let (mut positions, mut features) = (Vec::new(), Vec::new());
        let (mut objects, mut attributes) = (Vec::new(), Vec::new());
        for (row, masked) in rows.enumerate() {
            for mask in masked {
                let start = (row * self.regions + mask.region as usize) * self.dim;
                let own = &mut values[start..start + width];
                if mask.predicted {
                    positions.push(row * self.seq + self.first + mask.region as usize);
                    features.extend_from_slice(own);
                    objects.push(mask.object.unwrap_or_default());
                    attributes.push(mask.attribute.unwrap_or_default());
                }
                match &mask.becomes {
                    RegionMask::Zeros => own.fill(0.0),
                    RegionMask::Other(other) => own.copy_from_slice(other),
                    RegionMask::Unchanged => {}
                }
            }
        }
        let count = positions.len();
        let padded = count.max(1).next_multiple_of(multiple);
        positions.resize(padded, 0);
        features.resize(padded * width, 0.0);
        let mut weights = vec![1.0; count];
        weights.resize(padded, 0.0);
        let labels = |mut labels: Vec<(u16, f32)>| {
            labels.resize(padded, (0, 0.0));
            let (classes, scores): (Vec<u16>, Vec<f32>) = labels.into_iter().unzip();
            let classes = classes.into_iter().map(i32::from).collect();
            (
                ints(classes, [padded], device),
                floats(scores, [padded], device),
            )
        };
        let (objects, object_scores) = labels(objects);
        let (attributes, attribute_scores) = labels(attributes);
        let on_device = positions.iter().map(|position| *position as i32).collect();
        let targets = RegionTargets {
            positions: ints(on_device, [padded], device),
            weights: floats(weights, [padded], device),
            features: floats(features, [padded, width], device),
            objects,
            object_scores,
            attributes,
            attribute_scores,
            count,
        };
        (targets, positions)
    }
}

impl<B: AutodiffBackend> RegionTargets<B> {
    /// The same targets for a model without gradients.
    pub fn inner(self) -> RegionTargets<B::InnerBackend> {
        RegionTargets {
            positions: self.positions.inner(),
            weights: self.weights.inner(),
            features: self.features.inner(),
            objects: self.objects.inner(),
            object_scores: self.object_scores.inner(),
            attributes: self.attributes.inner(),
            attribute_scores: self.attribute_scores.inner(),
            count: self.count,
        }
    }
}
