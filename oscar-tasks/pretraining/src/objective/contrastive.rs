//! Tags and text are classified as belonging to the image or to another one (contrastive loss).

use burn::tensor::Tensor;
use oscar_core::input::PretrainBatch;
use oscar_core::model::{BackboneOutput, OscarForPretraining};
use oscar_core::ops::{self, OscarBackend};

use super::{ObjectiveOutput, hits};

/// Mean cross entropy of the relation of image, tags and text.
pub const CONTRASTIVE_LOSS: &str = "Contrastive loss";
/// Share of examples whose relation is predicted correctly.
pub const CONTRASTIVE_ACCURACY: &str = "Contrastive accuracy";

/// Loss and hits of the relation.
pub(super) fn score<B: OscarBackend>(
    model: &OscarForPretraining<B>,
    encoded: &BackboneOutput<B>,
    batch: &PretrainBatch<B>,
) -> ObjectiveOutput<B> {
    let logits = model.predict_relation(encoded);
    let device = logits.device();
    ObjectiveOutput {
        right: Some(hits(logits.clone(), batch.relation.clone()).sum()),
        loss: ops::cross_entropy(logits, batch.relation.clone(), None),
        predictions: Tensor::full([1], batch.num_examples as f32, &device),
    }
}
