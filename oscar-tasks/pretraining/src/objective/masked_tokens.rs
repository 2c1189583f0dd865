//! Masked words and tags are predicted from their context and from the regions (MLM).

use oscar_core::input::PretrainBatch;
use oscar_core::model::{BackboneOutput, OscarForPretraining};
use oscar_core::ops::{self, OscarBackend};

use super::{ObjectiveOutput, hits};

/// Mean cross entropy of the masked tokens.
pub const MLM_LOSS: &str = "MLM loss";
/// Share of masked tokens that are predicted correctly.
pub const MLM_ACCURACY: &str = "Masked-token accuracy";

/// Loss and hits of the masked tokens; the loss is 0 if the batch has none.
pub(super) fn score<B: OscarBackend>(
    model: &OscarForPretraining<B>,
    encoded: &BackboneOutput<B>,
    batch: &PretrainBatch<B>,
) -> ObjectiveOutput<B> {
    let masked = &batch.masked;
    let logits = model.predict_tokens(encoded, masked.positions.clone());
    let weights = masked.weights.clone();
    let right = hits(logits.clone(), masked.labels.clone()) * weights.clone();
    ObjectiveOutput {
        loss: ops::cross_entropy(logits, masked.labels.clone(), Some(weights.clone())),
        predictions: weights.sum(),
        right: Some(right.sum()),
    }
}
