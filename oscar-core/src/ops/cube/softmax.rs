//! The masked softmax of attention, with dropout, the cross entropy, and their gradients.

use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

use super::launch::{Grid, addresses, drop_key, is_empty, launch};
use super::softmax_kernels as kernels;
use super::{CubeOps, argument};
use crate::ops::DropoutMask;
use crate::ops::backend::{primitive, tensor};
use crate::ops::shapes::check_shape;

pub(super) fn masked_softmax<B: CubeOps>(
    scores: Tensor<B, 4>,
    mask: Tensor<B, 4>,
    scale: f64,
) -> Tensor<B, 4> {
    let (shape @ [batch, heads, queries, keys], dtype) = (scores.dims(), scores.dtype());
    let rows = batch * heads * queries;
    let mask_queries = if mask.dims()[2] == 1 { 1 } else { queries };
    let [out] = launch!(
        masked_softmax(scores: shape, mask: [batch, 1, mask_queries, keys])
            -> (out: shape as dtype),
        Grid::Rows(rows, keys), |units| (
            rows,
            keys,
            kernels::MaskRowsLaunch::new(heads * queries, queries, mask_queries),
            scale as f32,
            units,
            dtype.into()
        )
    );
    tensor(out)
}

pub(super) fn dropped_softmax<B: CubeOps>(
    scores: Tensor<B, 4>,
    mask: Tensor<B, 4>,
    scale: f64,
    dropout: &DropoutMask<B, 4>,
) -> [Tensor<B, 4>; 2] {
    let DropoutMask::Keyed(dropout) = *dropout else {
        let probabilities = masked_softmax(scores, mask, scale);
        return [probabilities.clone(), probabilities];
    };
    let (shape @ [batch, heads, queries, keys], dtype) = (scores.dims(), scores.dtype());
    let rows = batch * heads * queries;
    let mask_queries = if mask.dims()[2] == 1 { 1 } else { queries };
    let outputs = launch!(
        dropped_softmax(scores: shape, mask: [batch, 1, mask_queries, keys])
            -> (out: shape as dtype, dropped: shape as dtype),
        Grid::Rows(rows, keys), |units| (
            rows,
            keys,
            kernels::MaskRowsLaunch::new(heads * queries, queries, mask_queries),
            scale as f32,
            drop_key(dropout),
            units,
            dtype.into()
        )
    );
    outputs.map(tensor)
}

pub(super) fn masked_softmax_backward<B: CubeOps>(
    grad: Tensor<B, 4>,
    probabilities: Tensor<B, 4>,
    scale: f64,
    mask: &DropoutMask<B, 4>,
) -> Tensor<B, 4> {
    let (shape @ [batch, heads, queries, keys], dtype) = (grad.dims(), grad.dtype());
    let (rows, dropout) = (batch * heads * queries, mask.key());
    let [out] = launch!(
        masked_softmax_backward(grad: shape, probabilities: shape) -> (out: shape as dtype),
        Grid::Rows(rows, keys),
        |units| (rows, keys, scale as f32, drop_key(dropout), units, dtype.into())
    );
    tensor(out)
}

pub(super) fn cross_entropy<B: CubeOps>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
) -> (Tensor<B, 1>, Tensor<B, 2>) {
    let ([rows, classes], (labels, dtype)) = (logits.dims(), argument(labels));
    let [losses, logarithms] = launch!(
        cross_entropy(logits: [rows, classes], labels: [rows])
            -> (losses: [rows] as DType::F32, logarithms: [rows, classes] as DType::F32),
        Grid::Rows(rows, classes), |units| (rows, classes, units, dtype.into())
    );
    (tensor(losses), tensor(logarithms))
}

pub(super) fn cross_entropy_backward<B: CubeOps>(
    logarithms: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    grad: Tensor<B, 1>,
) -> Tensor<B, 2> {
    let ([rows, classes], (labels, dtype)) = (logarithms.dims(), argument(labels));
    let [by_logits] = launch!(
        cross_entropy_backward(logarithms: [rows, classes], labels: [rows], grad: [rows])
            -> (by_logits: [rows, classes] as DType::F32),
        Grid::Elements(rows * classes), |_| (rows * classes, classes, dtype.into())
    );
    tensor(by_logits)
}
