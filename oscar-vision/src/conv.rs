//! Convolutions over maps whose channels are the last axis, so that those of one cell are products
//! of matrices.

use burn::tensor::{Tensor, TensorData};
use oscar_core::ops::{ConvolutionParams, Kernels, convolution};

/// The geometry of a convolution; kernels are square.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Side of the kernel.
    pub kernel: usize,
    /// Distance of the cells that are computed.
    pub stride: usize,
    /// Distance of the cells that the kernel reads.
    pub dilation: usize,
    /// Groups of channels.
    pub groups: usize,
}

impl Geometry {
    /// A product for each cell.
    pub const POINT: Self = Self {
        kernel: 1,
        stride: 1,
        dilation: 1,
        groups: 1,
    };
}

/// A frozen batch norm: a value for each channel.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// `weight`
    pub scale: Vec<f32>,
    /// `bias`
    pub shift: Vec<f32>,
    /// `running_mean`
    pub mean: Vec<f32>,
    /// `running_var`
    pub variance: Vec<f32>,
    /// Added to the variance.
    pub eps: f32,
}

impl BatchNorm {
    /// Makes `weight` `[out, …]` that of a convolution and this norm, and returns its bias `[out]`.
    #[must_use]
    pub fn fold(&self, weight: &mut [f32]) -> Vec<f32> {
        let channels = self.scale.len();
        let size = (weight.len() / channels.max(1)).max(1);
        let rows = weight.chunks_exact_mut(size);
        let bias = rows.enumerate().map(|(channel, row)| {
            let scale = self.scale[channel] / (self.variance[channel] + self.eps).sqrt();
            row.iter_mut().for_each(|value| *value *= scale);
            self.shift[channel] - self.mean[channel] * scale
        });
        bias.collect()
    }
}

/// A convolution with a bias.
#[derive(Clone, Debug)]
pub struct Convolution<B: Kernels>(ConvolutionParams<B>);

impl<B: Kernels> Convolution<B> {
    /// From weights `[out, in / groups, kernel, kernel]` and bias `[out]`, as published.
    pub fn new(weight: Vec<f32>, bias: Vec<f32>, geometry: Geometry, device: &B::Device) -> Self {
        let (out, kernel) = (bias.len(), geometry.kernel);
        let channels = weight.len() / (out * kernel * kernel).max(1);
        let weight = kernel_first(&weight, out, kernel * kernel);
        let shape = [kernel, kernel, channels, out];
        Self(ConvolutionParams {
            weight: Tensor::from_data(TensorData::new(weight, shape), device),
            bias: Tensor::from_data(TensorData::new(bias, [out]), device),
            stride: geometry.stride,
            dilation: geometry.dilation,
            groups: geometry.groups,
        })
    }

    /// `[batch, height, width, in]` to `[batch, height', width', out]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        convolution(x, &self.0, None, false)
    }

    /// The ReLU of [`forward`](Self::forward).
    pub fn rectified(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        convolution(x, &self.0, None, true)
    }

    /// The ReLU of [`forward`](Self::forward) and `residual`.
    pub fn joined(&self, x: Tensor<B, 4>, residual: Tensor<B, 4>) -> Tensor<B, 4> {
        convolution(x, &self.0, Some(residual), true)
    }

    /// The convolution of rows `[rows, in]` that are a cell each.
    pub fn rows(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let [rows, channels] = x.dims();
        let out = self.forward(x.reshape([rows, 1, 1, channels]));
        let channels = out.dims()[3];
        out.reshape([rows, channels])
    }
}

/// Weights `[out, in, cells]` as `[cells, in, out]`.
fn kernel_first(weight: &[f32], out: usize, cells: usize) -> Vec<f32> {
    let channels = weight.len() / (out * cells).max(1);
    let mut turned = vec![0.0; weight.len()];
    for (row, own) in weight.chunks_exact((channels * cells).max(1)).enumerate() {
        for (channel, own) in own.chunks_exact(cells).enumerate() {
            for (cell, value) in own.iter().enumerate() {
                turned[(cell * channels + channel) * out + row] = *value;
            }
        }
    }
    turned
}
