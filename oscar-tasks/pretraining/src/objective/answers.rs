//! The answer to a question is predicted from question and image (question answering, as in ROSITA's code,
//! where the published recipe leaves it out).

use oscar_core::input::PretrainBatch;
use oscar_core::model::{BackboneOutput, OscarForPretraining};
use oscar_core::ops::OscarBackend;

use super::ObjectiveOutput;

/// Kullback-Leibler divergence from what people answered, averaged over the answers and over the questions.
pub const ANSWER_LOSS: &str = "Answer loss";
/// Mean share of people who gave the predicted answer.
pub const ANSWER_ACCURACY: &str = "Answer accuracy";

/// Loss and hits of the answers to the matched questions of a batch; `None` of a model without a head for
/// them, or of a batch that was made without answers.
pub(super) fn score<B: OscarBackend>(
    model: &OscarForPretraining<B>,
    encoded: &BackboneOutput<B>,
    batch: &PretrainBatch<B>,
) -> Option<ObjectiveOutput<B>> {
    let (logits, targets) = (model.predict_answers(encoded)?, batch.answers.as_ref()?);
    let best = logits.clone().argmax(1);
    Some(ObjectiveOutput {
        loss: targets.loss(logits),
        // Rows without an answer have only scores of 0.
        right: Some(targets.scores.clone().gather(1, best).sum()),
        predictions: targets.weights.clone().sum(),
    })
}
