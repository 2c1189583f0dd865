//! Losses.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Int, Tensor, activation};

use super::backend::{Operation, OscarBackend, primitive, tensor};
use super::kernels::Kernels;

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
pub fn cross_entropy<B: OscarBackend>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    weights: Option<Tensor<B, 1>>,
) -> Tensor<B, 1> {
    let nll = cross_entropy_rows(logits, labels);
    match weights {
        None => nll.mean(),
        Some(weights) => (nll * weights.clone()).sum() / weights.sum().clamp_min(1.0),
    }
}

/// Cross entropy of each row, `[rows]`, of logits `[rows, classes]` and labels `[rows]`.
pub fn cross_entropy_rows<B: OscarBackend>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let labels = Tensor::from_primitive(B::inner_int(labels.into_primitive()));
    tensor(B::apply(CrossEntropy { labels }, [primitive(logits)]))
}

/// One pass over the logits, whose rows are as long as a vocabulary, in each direction.
#[derive(Debug)]
struct CrossEntropy<B: Backend> {
    /// `[rows]`
    labels: Tensor<B, 1, Int>,
}

impl<B: Kernels> Operation<B, 1> for CrossEntropy<B> {
    /// The logarithms of the probabilities, `[rows, classes]`, and the labels.
    type Saved = (Tensor<B, 2>, Tensor<B, 1, Int>);

    fn forward(self, [logits]: [FloatTensor<B>; 1]) -> (FloatTensor<B>, Self::Saved) {
        let (losses, logarithms) = B::cross_entropy(tensor(logits), self.labels.clone());
        (primitive(losses), (logarithms, self.labels))
    }

    fn backward(
        (logarithms, labels): Self::Saved,
        grad: FloatTensor<B>,
        _: [bool; 1],
    ) -> [Option<FloatTensor<B>>; 1] {
        let by_logits = B::cross_entropy_backward(logarithms, labels, tensor(grad));
        [Some(primitive(by_logits))]
    }
}

/// [`Kernels::cross_entropy`] by other kernels.
pub(super) fn losses_and_logarithms<B: Kernels>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
) -> (Tensor<B, 1>, Tensor<B, 2>) {
    let logarithms = <B as Kernels>::log_softmax(logits);
    let [rows, _] = logarithms.dims();
    let of_labels = logarithms.clone().gather(1, labels.reshape([rows, 1]));
    (of_labels.reshape([rows]).neg(), logarithms)
}

/// [`Kernels::cross_entropy_backward`] in Burn's operations.
pub(super) fn cross_entropy_backward<B: Backend>(
    logarithms: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    grad: Tensor<B, 1>,
) -> Tensor<B, 2> {
    let [rows, classes] = logarithms.dims();
    let numbers = Tensor::<B, 1, Int>::arange(0..classes as i64, &logarithms.device());
    let is_label = numbers
        .unsqueeze::<2>()
        .equal(labels.reshape([rows, 1]))
        .float();
    (logarithms.exp() - is_label) * grad.reshape([rows, 1])
}

/// The same in Burn's operations, which differentiate themselves.
#[cfg(test)]
pub(super) fn cross_entropy_oracle<B: Backend>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let [rows, _] = logits.dims();
    activation::log_softmax(logits, 1)
        .gather(1, labels.reshape([rows, 1]))
        .reshape([rows])
        .neg()
}

/// Smooth L1 (`d² / 2` up to a distance of 1, then `d - 1/2`), averaged over the values of each row:
/// `[rows]`, of `[rows, values]`.
pub fn smooth_l1_rows<B: Backend>(values: Tensor<B, 2>, targets: Tensor<B, 2>) -> Tensor<B, 1> {
    let [rows, _] = values.dims();
    let distance = (values - targets).abs();
    // d²/2 and d - 1/2 are m·(d - m/2) with m = min(d, 1).
    let near = distance.clone().clamp_max(1.0);
    let loss = near.clone() * (distance - near.mul_scalar(0.5));
    loss.mean_dim(1).reshape([rows])
}

/// Kullback-Leibler divergence of each class, `t log t - t log p` with `0 log 0 = 0`,
/// `[rows, classes]`; `targets` `[rows, classes]` need not sum to 1.
pub fn kl_divergence<B: Backend>(logits: Tensor<B, 2>, targets: Tensor<B, 2>) -> Tensor<B, 2> {
    let log_probabilities = activation::log_softmax(logits, 1);
    let entropy = targets.clone() * targets.clone().clamp_min(f32::MIN_POSITIVE).log();
    entropy - targets * log_probabilities
}

/// `sum(w * loss) / number of rows with a weight`, `[1]`; 0 if there is none: a weight below 1 makes a
/// row count for less, as in ROSITA, where it is the confidence in a label.
pub fn weighted_mean<B: Backend>(losses: Tensor<B, 1>, weights: Tensor<B, 1>) -> Tensor<B, 1> {
    let count = weights.clone().greater_elem(0.0).float().sum();
    (losses * weights).sum() / count.clamp_min(1.0)
}
