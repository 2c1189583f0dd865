//! Bias, dropout, residual and LayerNorm, and their gradients.

use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

use super::CubeOps;
use super::launch::{Grid, addresses, drop_key, is_empty, launch};
use super::norm_kernels as kernels;
use super::sums;
use crate::ops::backend::{primitive, tensor};
use crate::ops::shapes::check_shape;
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

pub(super) fn layer_norm<B: CubeOps>(
    x: Tensor<B, 2>,
    [gamma, beta]: [Tensor<B, 1>; 2],
    epsilon: f64,
) -> NormOutput<B> {
    let ([rows, width], epsilon) = (x.dims(), epsilon as f32);
    let [output, normalized, inverse_std] = launch!(
        layer_norm(x: [rows, width], gamma: [width], beta: [width]) -> (
            output: [rows, width] as DType::F32,
            normalized: [rows, width] as DType::F32,
            inverse_std: [rows] as DType::F32
        ),
        Grid::Rows(rows, width), |units| (rows, width, epsilon, units)
    );
    NormOutput {
        output: tensor(output),
        normalized: tensor(normalized),
        inverse_std: tensor(inverse_std),
    }
}

/// The gradient is the sum of `grad` and, if there is one, of `second`.
pub(super) fn residual_norm_backward<B: CubeOps>(
    grad: Tensor<B, 2>,
    second: Option<Tensor<B, 2>>,
    saved: &SavedNorm<B>,
) -> NormGrads<B> {
    let ([rows, width], dtype) = (grad.dims(), saved.product_dtype);
    let dropout = saved.dropout.key();
    let has_second = second.is_some();
    let grads = [grad.clone(), second.unwrap_or(grad)];
    let ([grad, second], normalized) = (grads.clone(), saved.normalized.clone());
    let (inverse_std, gamma) = (saved.inverse_std.clone(), saved.gamma.clone());
    let [residual, branch] = launch!(
        residual_norm_backward(
            grad: [rows, width], second: [rows, width], normalized: [rows, width],
            inverse_std: [rows], gamma: [width]
        ) -> (residual: [rows, width] as DType::F32, branch: [rows, width] as dtype),
        Grid::Rows(rows, width),
        |units| (rows, width, drop_key(dropout), has_second, units, dtype.into())
    );
    let (residual, normalized) = (tensor::<B, 2>(residual), saved.normalized.clone());
    let matrices = [normalized, residual.clone()];
    let [bias, gamma, beta] = sums::norm_column_sums(grads, has_second, matrices, dropout);
    NormGrads {
        branch: tensor(branch),
        residual,
        bias,
        gamma,
        beta,
    }
}
