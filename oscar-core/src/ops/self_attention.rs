//! Self-attention while training, as one node of the graph: query, key and value are one product, and
//! between the products few kernels are launched. For devices whose host is busy with launches.

use burn::nn::Linear;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use super::attention::{merge_by_reshape, split_by_reshape};
use super::backend::{Operation, OscarBackend, inner, primitive, tensor};
use super::dropout::DropoutMask;
use super::gather::{RowIndex, kernel_index};
use super::kernels::Kernels;
use super::linear::{Factors, WeightOrder, weight_and_bias};
use super::{flatten, unflatten};

/// How the rows of a matrix are the positions of sequences, and their columns heads.
#[derive(Clone, Debug)]
pub struct HeadLayout<B: Backend> {
    /// Number of sequences.
    pub batch: usize,
    /// Positions of each.
    pub seq: usize,
    /// Number of heads.
    pub heads: usize,
    /// The position of each row in the flattened `[batch * seq]`.
    pub places: RowIndex<B>,
    /// The row of each position; positions without a row have zeros.
    pub rows: RowIndex<B>,
}

impl<B: Backend> HeadLayout<B> {
    /// `[batch, heads, seq, size]` of heads that are `width` wide together.
    pub fn shape(&self, width: usize) -> [usize; 4] {
        [self.batch, self.heads, self.seq, width / self.heads]
    }
}

/// Rows `[rows, width]` after attention to each other by the projections of query, key and value, as
/// [`attention`](super::attention()) defines it; the result may have the thread's
/// [`Precision`](super::Precision).
///
/// The mask is `[batch, 1, 1 or seq, seq]`, and gets no gradient.
pub fn self_attention<B: OscarBackend>(
    projections: [&Linear<B>; 3],
    rows: Tensor<B, 2>,
    layout: &HeadLayout<B>,
    mask: Tensor<B, 4>,
    constants: (f64, f64),
) -> Tensor<B, 2> {
    let projections = projections.map(weight_and_bias);
    self_attention_of(rows, projections, layout, mask, constants)
}

/// [`self_attention`] by weights `[d_input, width]` and biases `[width]`.
pub(super) fn self_attention_of<B: OscarBackend>(
    rows: Tensor<B, 2>,
    [query, key, value]: [(Tensor<B, 2>, Tensor<B, 1>); 3],
    layout: &HeadLayout<B>,
    mask: Tensor<B, 4>,
    (scale, dropout): (f64, f64),
) -> Tensor<B, 2> {
    let HeadLayout {
        batch, seq, heads, ..
    } = *layout;
    let operation = SelfAttention {
        layout: HeadLayout {
            batch,
            seq,
            heads,
            places: kernel_index(&layout.places),
            rows: kernel_index(&layout.rows),
        },
        mask: inner(mask),
        scale,
        dropout: DropoutMask::new::<B>([batch, heads, seq, seq], dropout, &rows.device()),
    };
    let weights = [rows, query.0, key.0, value.0].map(primitive);
    let biases = [query.1, key.1, value.1].map(primitive);
    let ([x, query, key, value], [query_bias, key_bias, value_bias]) = (weights, biases);
    let inputs = [x, query, key, value, query_bias, key_bias, value_bias];
    tensor(B::apply(operation, inputs))
}

#[derive(Debug)]
struct SelfAttention<B: Backend> {
    layout: HeadLayout<B>,
    mask: Tensor<B, 4>,
    scale: f64,
    dropout: DropoutMask<B, 4>,
}

/// What the gradients of [`SelfAttention`] are computed from.
#[derive(Clone, Debug)]
struct Saved<B: Backend> {
    factors: Factors<B>,
    query_key_value: [Tensor<B, 4>; 3],
    /// Before dropout, and after it.
    probabilities: [Tensor<B, 4>; 2],
    layout: HeadLayout<B>,
    scale: f64,
    dropout: DropoutMask<B, 4>,
}

impl<B: Kernels> Operation<B, 7> for SelfAttention<B> {
    type Saved = Saved<B>;

    fn forward(self, inputs: [FloatTensor<B>; 7]) -> (FloatTensor<B>, Saved<B>) {
        let [x, query, key, value, query_bias, key_bias, value_bias] = inputs;
        let weight = B::join_columns([query, key, value].map(tensor));
        let (product, factors) = Factors::multiply(x, primitive(weight), WeightOrder::InputFirst);
        let biases = [query_bias, key_bias, value_bias].map(tensor);
        let [query, key, value] = B::rows_to_three_heads(product, biases, &self.layout);
        let scores = query.clone().matmul(key.clone().swap_dims(2, 3));
        let probabilities = B::dropped_softmax(scores, self.mask, self.scale, &self.dropout);
        let context = probabilities[1].clone().matmul(value.clone());
        let output = B::heads_to_rows(context, &self.layout);
        let saved = Saved {
            factors,
            query_key_value: [query, key, value],
            probabilities,
            layout: self.layout,
            scale: self.scale,
            dropout: self.dropout,
        };
        (primitive(output), saved)
    }

    fn backward(
        saved: Saved<B>,
        grad: FloatTensor<B>,
        [by_x, by_weights @ .., _, _, _]: [bool; 7],
    ) -> [Option<FloatTensor<B>>; 7] {
        let [query, key, value] = saved.query_key_value;
        let [probabilities, dropped] = saved.probabilities;
        let grad = B::rows_to_heads(tensor(grad), &saved.layout);
        let by_value = dropped.swap_dims(2, 3).matmul(grad.clone());
        let by_dropped = grad.matmul(value.swap_dims(2, 3));
        let (scale, dropout) = (saved.scale, &saved.dropout);
        let by_scores = B::masked_softmax_backward(by_dropped, probabilities, scale, dropout);
        let by_query = by_scores.clone().matmul(key);
        let by_key = by_scores.swap_dims(2, 3).matmul(query);
        let grad = B::three_heads_to_rows([by_query, by_key, by_value], &saved.layout);

        let biases: Tensor<B, 2> = B::column_sums(grad.clone()).unsqueeze();
        let by_biases = B::split_columns(biases).map(|bias| {
            let [_, width] = bias.dims();
            Some(primitive::<B, 1>(bias.reshape([width])))
        });
        let [by_x, by_weight] = saved
            .factors
            .backward(grad, [by_x, by_weights.contains(&true)]);
        let by_weights = match by_weight {
            Some(weight) => B::split_columns(tensor(weight)).map(|part| Some(primitive(part))),
            None => [None, None, None],
        };
        let ([query, key, value], [query_bias, key_bias, value_bias]) = (by_weights, by_biases);
        [by_x, query, key, value, query_bias, key_bias, value_bias]
    }
}

/// [`Kernels::join_columns`] in Burn's operations.
pub(super) fn join_columns<B: Backend>(parts: [Tensor<B, 2>; 3]) -> Tensor<B, 2> {
    Tensor::cat(parts.into(), 1)
}

/// [`Kernels::split_columns`] in Burn's operations.
pub(super) fn split_columns<B: Backend>(x: Tensor<B, 2>) -> [Tensor<B, 2>; 3] {
    let width = x.dims()[1] / 3;
    [0, 1, 2].map(|part| x.clone().narrow(1, part * width, width))
}

/// [`Kernels::rows_to_heads`] by other kernels.
pub(super) fn rows_to_heads<B: Kernels>(x: Tensor<B, 2>, layout: &HeadLayout<B>) -> Tensor<B, 4> {
    let positions = B::gather_rows(x, &layout.rows);
    split_by_reshape(unflatten(positions, layout.batch, layout.seq), layout.heads)
}

/// [`Kernels::rows_to_three_heads`] by other kernels.
pub(super) fn rows_to_three_heads<B: Kernels>(
    x: Tensor<B, 2>,
    [query, key, value]: [Tensor<B, 1>; 3],
    layout: &HeadLayout<B>,
) -> [Tensor<B, 4>; 3] {
    let parts = B::split_columns(x).into_iter();
    let mut heads = parts
        .zip([query, key, value])
        .map(|(part, bias)| B::rows_to_heads(B::add_bias(part, bias), layout));
    [(); 3].map(|()| heads.next().expect("three parts"))
}

/// [`Kernels::heads_to_rows`] by other kernels.
pub(super) fn heads_to_rows<B: Kernels>(x: Tensor<B, 4>, layout: &HeadLayout<B>) -> Tensor<B, 2> {
    B::gather_rows(flatten(merge_by_reshape(x)), &layout.places)
}

/// [`Kernels::three_heads_to_rows`] by other kernels.
pub(super) fn three_heads_to_rows<B: Kernels>(
    heads: [Tensor<B, 4>; 3],
    layout: &HeadLayout<B>,
) -> Tensor<B, 2> {
    B::join_columns(heads.map(|part| B::heads_to_rows(part, layout)))
}
