//! Losses.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, activation};

/// Weighted mean of the cross entropy: `sum(w * nll) / max(1, sum(w))`.
///
/// The official code divides by the number of targets and gets NaN where a batch has none; here
/// such a batch has loss 0.
///
/// # Shapes
///
/// - logits: `[rows, classes]`
/// - labels: `[rows]`, each below `classes`
/// - weights: `[rows]`, 0 for rows that do not count
/// - output: `[1]`
pub fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    weights: Option<Tensor<B, 1>>,
) -> Tensor<B, 1> {
    let [rows, _] = logits.dims();
    let nll = activation::log_softmax(logits, 1)
        .gather(1, labels.reshape([rows, 1]))
        .reshape([rows])
        .neg();
    match weights {
        None => nll.mean(),
        Some(weights) => (nll * weights.clone()).sum() / weights.sum().clamp_min(1.0),
    }
}
