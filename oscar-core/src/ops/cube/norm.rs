//! Bias, dropout, residual and LayerNorm, and their gradients.

use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

use super::CubeOps;
use super::launch::{Grid, addresses, drop_key, is_empty, launch};
use super::norm_kernels as kernels;
use crate::ops::backend::{primitive, tensor};
use crate::ops::shapes::{block_rows, check_shape};
use crate::ops::{NormGrads, NormOutput, NormParams, SavedNorm};

pub(super) fn residual_norm<B: CubeOps>(
    product: Tensor<B, 2>,
    residual: Tensor<B, 2>,
    params: &NormParams<B>,
) -> NormOutput<B> {
    let ([rows, width], dtype) = (product.dims(), product.dtype());
    let (epsilon, dropout) = (params.epsilon as f32, params.dropout.key());
    let vectors = [&params.bias, &params.gamma, &params.beta];
    let [bias, gamma, beta] = vectors.map(Tensor::clone);
    let [output, normalized, inverse_std] = launch!(
        residual_norm(
            product: [rows, width], residual: [rows, width],
            bias: [width], gamma: [width], beta: [width]
        ) -> (
            output: [rows, width] as DType::F32,
            normalized: [rows, width] as DType::F32,
            inverse_std: [rows] as DType::F32
        ),
        Grid::Rows(rows, width),
        |units| (rows, width, epsilon, drop_key(dropout), units, dtype.into())
    );
    NormOutput {
        output: tensor(output),
        normalized: tensor(normalized),
        inverse_std: tensor(inverse_std),
    }
}

pub(super) fn residual_norm_backward<B: CubeOps>(
    grad: Tensor<B, 2>,
    saved: &SavedNorm<B>,
) -> NormGrads<B> {
    let ([rows, width], dtype) = (grad.dims(), saved.product_dtype);
    let (dropout, block) = (saved.dropout.key(), block_rows(rows));
    let (normalized, again) = (
        saved.normalized.clone(),
        [&grad, &saved.normalized].map(Tensor::clone),
    );
    let (inverse_std, gamma) = (saved.inverse_std.clone(), saved.gamma.clone());
    let [residual, branch] = launch!(
        residual_norm_backward(
            grad: [rows, width], normalized: [rows, width], inverse_std: [rows], gamma: [width]
        ) -> (residual: [rows, width] as DType::F32, branch: [rows, width] as dtype),
        Grid::Rows(rows, width), |units| (rows, width, drop_key(dropout), units, dtype.into())
    );
    let residual: Tensor<B, 2> = tensor(residual);
    let ([grad, normalized], by_residual) = (again, residual.clone());
    let [sums] = launch!(
        norm_column_sums(
            grad: [rows, width], normalized: [rows, width], by_residual: [rows, width]
        ) -> (sums: [rows.div_ceil(block), 3 * width] as DType::F32),
        Grid::Columns(rows, width), |_| (rows, width, block, drop_key(dropout))
    );
    let (sums, blocks): (Tensor<B, 2>, _) = (tensor(sums), rows.div_ceil(block));
    let [bias, gamma, beta] = launch!(
        norm_sums(sums: [blocks, 3 * width]) -> (
            bias: [width] as DType::F32,
            gamma: [width] as DType::F32,
            beta: [width] as DType::F32
        ),
        Grid::Elements(3 * width), |_| (blocks, width)
    );
    NormGrads {
        branch: tensor(branch),
        residual,
        bias: tensor(bias),
        gamma: tensor(gamma),
        beta: tensor(beta),
    }
}
