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

/// Scores of a batch up to which a GPU does [`self_attention`] in one kernel each way: beyond, what products
/// on tensor cores and a stored softmax gain is more than what nine more launches cost. These are the scores
/// of 32 sequences of 128 positions by 16 heads. By the counts and peaks of `docs/performance.md`; nobody has
/// measured it on a GPU.
pub const MOST_TILED_SCORES: usize = 1 << 23;

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

impl<B: OscarBackend> HeadLayout<B> {
    /// The same on the backend that computes.
    fn of_kernels(&self) -> HeadLayout<B::Kernels> {
        HeadLayout {
            batch: self.batch,
            seq: self.seq,
            heads: self.heads,
            places: kernel_index(&self.places),
            rows: kernel_index(&self.rows),
        }
    }
}

/// Rows `[query rows, width]` after attention to rows `[rows, width]` by the projections of query, key and
/// value, as [`attention`](super::attention()) defines it; the result may have the thread's
/// [`Precision`](super::Precision). `keys` says where the rows are, `queries` which of them are wanted, in
/// what order.
///
/// The mask is `[batch, 1, 1 or seq, seq]`, and gets no gradient.
pub fn self_attention<B: OscarBackend>(
    projections: [&Linear<B>; 3],
    rows: Tensor<B, 2>,
    [keys, queries]: [&HeadLayout<B>; 2],
    mask: Tensor<B, 4>,
    constants: (f64, f64),
) -> Tensor<B, 2> {
    let projections = projections.map(weight_and_bias);
    self_attention_of(rows, projections, [keys, queries], mask, constants)
}

/// [`self_attention`] by weights `[d_input, width]` and biases `[width]`.
pub(super) fn self_attention_of<B: OscarBackend>(
    rows: Tensor<B, 2>,
    [query, key, value]: [(Tensor<B, 2>, Tensor<B, 1>); 3],
    [keys, queries]: [&HeadLayout<B>; 2],
    mask: Tensor<B, 4>,
    (scale, dropout): (f64, f64),
) -> Tensor<B, 2> {
    let HeadLayout {
        batch, seq, heads, ..
    } = *keys;
    let operation = SelfAttention(RowAttention {
        keys: keys.of_kernels(),
        queries: queries.of_kernels(),
        mask: inner(mask),
        scale,
        dropout: DropoutMask::new::<B>([batch, heads, seq, seq], dropout, &rows.device()),
    });
    let weights = [rows, query.0, key.0, value.0].map(primitive);
    let biases = [query.1, key.1, value.1].map(primitive);
    let ([x, query, key, value], [query_bias, key_bias, value_bias]) = (weights, biases);
    let inputs = [x, query, key, value, query_bias, key_bias, value_bias];
    tensor(B::apply(operation, inputs))
}

#[derive(Debug)]
struct SelfAttention<B: Backend>(RowAttention<B>);

/// Arguments of [`Kernels::attend_rows`] beside its rows and their biases.
#[derive(Clone, Debug)]
pub struct RowAttention<B: Backend> {
    /// Where the rows of query, key and value are.
    pub keys: HeadLayout<B>,
    /// Where the rows of the result are, in the same sequences.
    pub queries: HeadLayout<B>,
    /// Added to the scores: `[batch, 1, 1 or seq, seq]`.
    pub mask: Tensor<B, 4>,
    /// Multiplied with the scores.
    pub scale: f64,
    /// Probabilities that are dropped, of `[batch, heads, seq, seq]`.
    pub dropout: DropoutMask<B, 4>,
}

/// What the gradient of [`Kernels::attend_rows`] is computed from.
#[derive(Clone, Debug)]
pub enum Attended<B: Backend> {
    /// Of a softmax between two products.
    Products(AttendedProducts<B>),
    /// Of kernels that compute the probabilities again.
    Tiles(AttendedTiles<B>),
}

/// See [`Attended::Products`].
#[derive(Clone, Debug)]
pub struct AttendedProducts<B: Backend> {
    /// `[batch, heads, seq, size]` each.
    pub query_key_value: [Tensor<B, 4>; 3],
    /// Before dropout, and after it: `[batch, heads, seq, seq]` each.
    pub probabilities: [Tensor<B, 4>; 2],
}

/// See [`Attended::Tiles`].
#[derive(Clone, Debug)]
pub struct AttendedTiles<B: Backend> {
    /// Query, key and value side by side without their biases: `[rows, 3 width]`.
    pub x: Tensor<B, 2>,
    /// `[width]` each.
    pub biases: [Tensor<B, 1>; 3],
    /// The result, `[query rows, width]`.
    pub output: Tensor<B, 2>,
    /// Of each softmax the largest score, and the sum of the exponentials of all scores less it:
    /// `[batch, heads, seq, 2]`.
    pub softmaxes: Tensor<B, 4>,
}

/// What the gradients of [`SelfAttention`] are computed from.
#[derive(Clone, Debug)]
struct Saved<B: Backend> {
    factors: Factors<B>,
    attended: Attended<B>,
    params: RowAttention<B>,
}

impl<B: Kernels> Operation<B, 7> for SelfAttention<B> {
    type Saved = Saved<B>;

    fn forward(self, inputs: [FloatTensor<B>; 7]) -> (FloatTensor<B>, Saved<B>) {
        let [x, query, key, value, query_bias, key_bias, value_bias] = inputs;
        let weight = B::join_columns([query, key, value].map(tensor));
        let (product, factors) = Factors::multiply(x, primitive(weight), WeightOrder::InputFirst);
        let biases = [query_bias, key_bias, value_bias].map(tensor);
        let (output, attended) = B::attend_rows(product, biases, &self.0);
        let saved = Saved {
            factors,
            attended,
            params: self.0,
        };
        (primitive(output), saved)
    }

    fn backward(
        saved: Saved<B>,
        grad: FloatTensor<B>,
        [by_x, by_weights @ .., _, _, _]: [bool; 7],
    ) -> [Option<FloatTensor<B>>; 7] {
        let grad = B::attend_rows_backward(tensor(grad), saved.attended, &saved.params);
        let by_biases = B::three_column_sums(grad.clone()).map(|bias| Some(primitive(bias)));
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

/// [`Kernels::attend_rows`] by products and other kernels.
pub(super) fn attend_rows<B: Kernels>(
    x: Tensor<B, 2>,
    biases: [Tensor<B, 1>; 3],
    params: &RowAttention<B>,
) -> (Tensor<B, 2>, Attended<B>) {
    let (output, products) = attend_by_products(x, biases, params);
    (output, Attended::Products(products))
}

fn attend_by_products<B: Kernels>(
    x: Tensor<B, 2>,
    biases: [Tensor<B, 1>; 3],
    params: &RowAttention<B>,
) -> (Tensor<B, 2>, AttendedProducts<B>) {
    let [query, key, value] = B::rows_to_three_heads(x, biases, &params.keys);
    let scores = query.clone().matmul(key.clone().swap_dims(2, 3));
    let (mask, dropout) = (params.mask.clone(), &params.dropout);
    let probabilities = B::dropped_softmax(scores, mask, params.scale, dropout);
    let context = probabilities[1].clone().matmul(value.clone());
    let attended = AttendedProducts {
        query_key_value: [query, key, value],
        probabilities,
    };
    (B::heads_to_rows(context, &params.queries), attended)
}

/// [`Kernels::attend_rows_backward`] by products and other kernels.
pub(super) fn attend_rows_backward<B: Kernels>(
    grad: Tensor<B, 2>,
    attended: Attended<B>,
    params: &RowAttention<B>,
) -> Tensor<B, 2> {
    let products = match attended {
        Attended::Products(products) => products,
        Attended::Tiles(AttendedTiles { x, biases, .. }) => attend_by_products(x, biases, params).1,
    };
    attend_products_backward(grad, products, params)
}

/// The gradient of [`attend_by_products`].
fn attend_products_backward<B: Kernels>(
    grad: Tensor<B, 2>,
    attended: AttendedProducts<B>,
    params: &RowAttention<B>,
) -> Tensor<B, 2> {
    let [query, key, value] = attended.query_key_value;
    let [probabilities, dropped] = attended.probabilities;
    let grad = B::rows_to_heads(grad, &params.queries);
    let by_value = dropped.swap_dims(2, 3).matmul(grad.clone());
    let by_dropped = grad.matmul(value.swap_dims(2, 3));
    let (scale, dropout) = (params.scale, &params.dropout);
    let by_scores = B::masked_softmax_backward(by_dropped, probabilities, scale, dropout);
    let by_query = by_scores.clone().matmul(key);
    let by_key = by_scores.swap_dims(2, 3).matmul(query);
    B::three_heads_to_rows([by_query, by_key, by_value], &params.keys)
}

/// [`Kernels::three_column_sums`] by other kernels.
pub(super) fn three_column_sums<B: Kernels>(x: Tensor<B, 2>) -> [Tensor<B, 1>; 3] {
    let sums: Tensor<B, 2> = B::column_sums(x).unsqueeze();
    B::split_columns(sums).map(|part| {
        let [_, width] = part.dims();
        part.reshape([width])
    })
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
