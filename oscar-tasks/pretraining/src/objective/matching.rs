//! Text and image are classified as belonging together or not, where the image may be another row's; and
//! the words of a matched pair are to be close to its regions (ROSITA).

use burn::tensor::Tensor;
use oscar_core::input::PretrainBatch;
use oscar_core::model::{BackboneOutput, OscarForPretraining};
use oscar_core::ops::OscarBackend;

use super::ObjectiveOutput;

/// Mean cross entropy of the matching of text and image.
pub const MATCHING_LOSS: &str = "Matching loss";
/// Share of pairs whose matching is predicted correctly.
pub const MATCHING_ACCURACY: &str = "Matching accuracy";
/// Mean cost of the optimal transport between words and regions, of unmatched pairs with the other sign.
pub const TRANSPORT_LOSS: &str = "Transport loss";

/// The transport loss; 0 of a batch without regions.
pub(super) fn transport<B: OscarBackend>(
    model: &OscarForPretraining<B>,
    encoded: &BackboneOutput<B>,
    batch: &PretrainBatch<B>,
) -> ObjectiveOutput<B> {
    let device = encoded.pooled.device();
    let moved = model.transport(encoded, &batch.input);
    ObjectiveOutput {
        loss: match moved {
            Some(moved) => moved.loss(batch.relation.clone()),
            None => Tensor::zeros([1], &device),
        },
        predictions: Tensor::full([1], batch.num_examples as f32, &device),
        right: None,
    }
}
