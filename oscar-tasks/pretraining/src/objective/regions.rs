//! Masked regions are predicted from the words and the other regions: their features, their object
//! classes and their attributes (ROSITA; UNITER has the same).

use burn::tensor::Tensor;
use oscar_core::input::RegionTargets;
use oscar_core::model::RegionPredictions;
use oscar_core::ops::OscarBackend;

use super::{Objective, ObjectiveOutput, hits};

/// Mean smooth L1 of the features of masked regions.
pub const REGION_FEATURE_LOSS: &str = "Region feature loss";
/// Cross entropy of the object classes of masked regions, weighted by the confidence in them.
pub const REGION_OBJECT_LOSS: &str = "Region object loss";
/// Share of masked regions whose object class is predicted correctly.
pub const REGION_OBJECT_ACCURACY: &str = "Region object accuracy";
/// Cross entropy of the attribute classes of masked regions, weighted by the confidence in them.
pub const REGION_ATTRIBUTE_LOSS: &str = "Region attribute loss";
/// Share of masked regions whose attribute is predicted correctly.
pub const REGION_ATTRIBUTE_ACCURACY: &str = "Region attribute accuracy";

/// Loss and hits of one of the three objectives; `None` if the model has no output for it.
pub(super) fn score<B: OscarBackend>(
    objective: Objective,
    predicted: &RegionPredictions<B>,
    targets: &RegionTargets<B>,
) -> Option<ObjectiveOutput<B>> {
    let losses = predicted.losses(targets);
    let counted = |scores: &Tensor<B, 1>| scores.clone().greater_elem(0.0).float();
    let (loss, logits, labels, counted) = match objective {
        Objective::RegionObjects => (
            losses.objects?,
            predicted.objects.clone()?,
            &targets.objects,
            counted(&targets.object_scores),
        ),
        Objective::RegionAttributes => (
            losses.attributes?,
            predicted.attributes.clone()?,
            &targets.attributes,
            counted(&targets.attribute_scores),
        ),
        _ => {
            return Some(ObjectiveOutput {
                loss: losses.features,
                predictions: targets.weights.clone().sum(),
                right: None,
            });
        }
    };
    let right = hits(logits, labels.clone()) * counted.clone();
    Some(ObjectiveOutput {
        loss,
        predictions: counted.sum(),
        right: Some(right.sum()),
    })
}
