//! Attention: heads, the masked softmax with its dropout, and both products.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorData, activation};

use super::backend::{Operation, OscarBackend, inner, primitive, tensor};
use super::dropout::{self, DropoutMask};
use super::kernels::Kernels;
use super::precision::{to, to_f32};

/// Scaled dot-product attention: `dropout(softmax(query keyᵀ * scale + mask)) value`.
///
/// # Shapes
///
/// - query, output: `[batch, heads, queries, size]`
/// - key, value: `[batch, heads, keys, size]`
/// - mask: `[batch, 1, 1 or queries, keys]`; gets no gradient
pub fn attention<B: OscarBackend>(
    query_key_value: [Tensor<B, 4>; 3],
    mask: Tensor<B, 4>,
    scale: f64,
    dropout: f64,
) -> Tensor<B, 4> {
    <B as OscarBackend>::attention(query_key_value, mask, scale, dropout)
}

/// [`attention`] as two products with the [probabilities](attention_probabilities) between them.
pub(super) fn by_products<B: OscarBackend>(
    [query, key, value]: [Tensor<B, 4>; 3],
    mask: Tensor<B, 4>,
    scale: f64,
    dropout: f64,
) -> Tensor<B, 4> {
    let scores = query.matmul(key.swap_dims(2, 3));
    attention_probabilities(scores, mask, scale, dropout).matmul(value)
}

/// Added to the score of a position that must not be read. As in the official code it is finite, and
/// vanishes in the softmax.
const MASKED_SCORE: f32 = -10_000.0;

/// The mask of text that is written from left to right, `[batch, 1, seq, seq]`: a position reads those up
/// to itself.
pub fn causal_mask<B: Backend>(batch: usize, seq: usize, device: &B::Device) -> Tensor<B, 4> {
    let mut values = vec![0.0f32; seq * seq];
    for (query, row) in values.chunks_exact_mut(seq.max(1)).enumerate() {
        row[query + 1..].fill(MASKED_SCORE);
    }
    let mask = TensorData::new(values, [1, 1, seq, seq]);
    Tensor::<B, 4>::from_data(mask, device).expand([batch, 1, seq, seq])
}

/// `dropout(softmax(scores * scale + mask))` over the last axis, in the type of `scores`.
///
/// # Shapes
///
/// - scores, output: `[batch, heads, queries, keys]`
/// - mask: `[batch, 1, 1 or queries, keys]`; gets no gradient
pub fn attention_probabilities<B: OscarBackend>(
    scores: Tensor<B, 4>,
    mask: Tensor<B, 4>,
    scale: f64,
    dropout: f64,
) -> Tensor<B, 4> {
    let operation = Probabilities {
        dropout: DropoutMask::new::<B>(scores.dims(), dropout, &scores.device()),
        mask: inner(mask),
        scale,
    };
    tensor(B::apply(operation, [primitive(scores)]))
}

#[derive(Debug)]
struct Probabilities<B: Backend> {
    mask: Tensor<B, 4>,
    scale: f64,
    dropout: DropoutMask<B, 4>,
}

impl<B: Kernels> Operation<B, 1> for Probabilities<B> {
    /// The probabilities before dropout, the scale and the dropout.
    type Saved = (Tensor<B, 4>, f64, DropoutMask<B, 4>);

    fn forward(self, [scores]: [FloatTensor<B>; 1]) -> (FloatTensor<B>, Self::Saved) {
        let scores = tensor(scores);
        let [probabilities, output] =
            B::dropped_softmax(scores, self.mask, self.scale, &self.dropout);
        (primitive(output), (probabilities, self.scale, self.dropout))
    }

    fn backward(
        (probabilities, scale, dropout): Self::Saved,
        grad: FloatTensor<B>,
        _: [bool; 1],
    ) -> [Option<FloatTensor<B>>; 1] {
        let grad = B::masked_softmax_backward(tensor(grad), probabilities, scale, &dropout);
        [Some(primitive(grad))]
    }
}

/// `[batch, seq, heads * size]` to `[batch, heads, seq, size]`.
pub fn split_heads<B: OscarBackend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    tensor(B::apply(SplitHeads { heads }, [primitive(x)]))
}

#[derive(Debug)]
struct SplitHeads {
    heads: usize,
}

impl<B: Kernels> Operation<B, 1> for SplitHeads {
    type Saved = ();

    fn forward(self, [x]: [FloatTensor<B>; 1]) -> (FloatTensor<B>, ()) {
        (primitive(split_by_reshape::<B>(tensor(x), self.heads)), ())
    }

    fn backward((): (), grad: FloatTensor<B>, _: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [Some(primitive(B::merge_heads(tensor(grad))))]
    }
}

/// `[batch, heads, seq, size]` to `[batch, seq, heads * size]`.
pub fn merge_heads<B: OscarBackend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    tensor(B::apply(MergeHeads, [primitive(x)]))
}

#[derive(Debug)]
struct MergeHeads;

impl<B: Kernels> Operation<B, 1> for MergeHeads {
    /// Number of heads.
    type Saved = usize;

    fn forward(self, [x]: [FloatTensor<B>; 1]) -> (FloatTensor<B>, usize) {
        let x = tensor::<B, 4>(x);
        let [_, heads, _, _] = x.dims();
        (primitive(B::merge_heads(x)), heads)
    }

    fn backward(heads: usize, grad: FloatTensor<B>, _: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [Some(primitive(split_by_reshape::<B>(tensor(grad), heads)))]
    }
}

/// [`split_heads`] as a view.
pub(super) fn split_by_reshape<B: Backend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    let [batch, seq, width] = x.dims();
    x.reshape([batch, seq, heads, width / heads])
        .swap_dims(1, 2)
}

/// [`Kernels::merge_heads`] in Burn's operations.
pub(super) fn merge_by_reshape<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, heads, seq, size] = x.dims();
    x.swap_dims(1, 2).reshape([batch, seq, heads * size])
}

/// [`Kernels::masked_softmax`] in Burn's operations, which differentiate themselves.
pub(super) fn masked_softmax<B: Backend>(
    scores: Tensor<B, 4>,
    mask: Tensor<B, 4>,
    scale: f64,
) -> Tensor<B, 4> {
    let dtype = scores.dtype();
    let scores = to_f32(scores).mul_scalar(scale) + mask;
    to(activation::softmax(scores, 3), dtype)
}

/// [`Kernels::masked_softmax_backward`] in Burn's operations.
pub(super) fn masked_softmax_backward<B: Backend>(
    grad: Tensor<B, 4>,
    probabilities: Tensor<B, 4>,
    scale: f64,
    mask: &DropoutMask<B, 4>,
) -> Tensor<B, 4> {
    let dtype = grad.dtype();
    let grad = dropout::apply_dropout(to_f32(grad), mask);
    let probabilities = to_f32(probabilities);
    let mean = (grad.clone() * probabilities.clone()).sum_dim(3);
    to(((grad - mean) * probabilities).mul_scalar(scale), dtype)
}
