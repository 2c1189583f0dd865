//! Convolutions over maps whose channels are the last axis, where no gradient is computed.

use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, s};

use super::kernels::Kernels;
use super::linear;

/// Weights and geometry of a convolution with a square kernel. At stride 1 a map keeps its size.
#[derive(Clone, Debug)]
pub struct ConvolutionParams<B: Backend> {
    /// `[kernel, kernel, in / groups, out]`
    pub weight: Tensor<B, 4>,
    /// `[out]`
    pub bias: Tensor<B, 1>,
    /// Distance of the cells that are computed.
    pub stride: usize,
    /// Distance of the cells that the kernel reads.
    pub dilation: usize,
    /// Groups of channels.
    pub groups: usize,
}

impl<B: Backend> ConvolutionParams<B> {
    /// Cells of padding on each side.
    pub(super) fn padding(&self) -> usize {
        self.dilation * (self.weight.dims()[0] / 2)
    }
}

/// The convolution of `x` `[batch, height, width, in]`: `[batch, height', width', out]`, with
/// `residual` of that shape added, and then its ReLU if `rectify`.
pub fn convolution<B: Kernels>(
    x: Tensor<B, 4>,
    params: &ConvolutionParams<B>,
    residual: Option<Tensor<B, 4>>,
    rectify: bool,
) -> Tensor<B, 4> {
    let [kernel, _, channels, out] = params.weight.dims();
    if kernel > 1 {
        return B::convolution(x, params, residual, rectify);
    }
    let x = match params.stride {
        1 => x,
        stride => {
            let step = stride as isize;
            x.slice(s![.., ..;step, ..;step, ..])
        }
    };
    let [batch, height, width, _] = x.dims();
    let rows = batch * height * width;
    let weight = params.weight.clone().reshape([channels, out]);
    let product = x.reshape([rows, channels]).matmul(weight);
    let residual = residual.map(|residual| residual.reshape([rows, out]));
    B::finish_rows(product, params.bias.clone(), residual, rectify)
        .reshape([batch, height, width, out])
}

/// [`Kernels::convolution`] in Burn's operations, over planes.
pub(super) fn by_planes<B: Kernels>(
    x: Tensor<B, 4>,
    params: &ConvolutionParams<B>,
    residual: Option<Tensor<B, 4>>,
    rectify: bool,
) -> Tensor<B, 4> {
    let options = ConvOptions::new(
        [params.stride; 2],
        [params.padding(); 2],
        [params.dilation; 2],
        params.groups,
    );
    let weight = params.weight.clone().permute([3, 2, 0, 1]);
    let bias = Some(params.bias.clone());
    let planes = conv2d(x.permute([0, 3, 1, 2]), weight, bias, options);
    let out = planes.permute([0, 2, 3, 1]);
    let out = match residual {
        Some(residual) => out + residual,
        None => out,
    };
    if rectify { relu(out) } else { out }
}

/// [`Kernels::finish_rows`] in Burn's operations.
pub(super) fn finish_rows<B: Backend>(
    x: Tensor<B, 2>,
    bias: Tensor<B, 1>,
    residual: Option<Tensor<B, 2>>,
    rectify: bool,
) -> Tensor<B, 2> {
    let x = linear::add_bias(x, bias);
    let x = match residual {
        Some(residual) => x + residual,
        None => x,
    };
    if rectify { relu(x) } else { x }
}
