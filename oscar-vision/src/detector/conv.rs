//! Convolutions over maps whose channels are the last axis, so that those of one cell are products
//! of matrices.

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorData, s};
use oscar_core::ops::Kernels;

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

    /// Cells of padding on each side: the map keeps its size at stride 1.
    fn padding(self) -> usize {
        self.dilation * (self.kernel / 2)
    }
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
pub struct Convolution<B: Kernels> {
    weight: Weight<B>,
    /// `[out]`
    bias: Tensor<B, 1>,
    geometry: Geometry,
}

#[derive(Clone, Debug)]
enum Weight<B: Kernels> {
    /// `[in, out]`
    Point(Tensor<B, 2>),
    /// `[out, in / groups, kernel, kernel]`
    Spatial(Tensor<B, 4>),
}

impl<B: Kernels> Convolution<B> {
    /// From weights `[out, in / groups, kernel, kernel]` and bias `[out]`, as published.
    pub fn new(weight: Vec<f32>, bias: Vec<f32>, geometry: Geometry, device: &B::Device) -> Self {
        let (out, kernel) = (bias.len(), geometry.kernel);
        let rest = weight.len() / (out * kernel * kernel).max(1);
        let weight = match kernel {
            1 => {
                let weight =
                    Tensor::<B, 2>::from_data(TensorData::new(weight, [out, rest]), device);
                // Transposed in memory, once.
                Weight::Point(Tensor::from_data(weight.transpose().into_data(), device))
            }
            _ => {
                let shape = [out, rest, kernel, kernel];
                Weight::Spatial(Tensor::from_data(TensorData::new(weight, shape), device))
            }
        };
        Self {
            weight,
            bias: Tensor::from_data(TensorData::new(bias, [out]), device),
            geometry,
        }
    }

    /// `[batch, height, width, in]` to `[batch, height', width', out]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let stride = self.geometry.stride;
        match &self.weight {
            Weight::Point(weight) => {
                let x = match stride {
                    1 => x,
                    stride => {
                        let step = stride as isize;
                        x.slice(s![.., ..;step, ..;step, ..])
                    }
                };
                let [batch, height, width, channels] = x.dims();
                let rows = x.reshape([batch * height * width, channels]);
                let out = B::add_bias(rows.matmul(weight.clone()), self.bias.clone());
                let channels = weight.dims()[1];
                out.reshape([batch, height, width, channels])
            }
            Weight::Spatial(weight) => {
                let padding = self.geometry.padding();
                let dilation = self.geometry.dilation;
                let options = ConvOptions::new(
                    [stride; 2],
                    [padding; 2],
                    [dilation; 2],
                    self.geometry.groups,
                );
                let planes = x.permute([0, 3, 1, 2]);
                conv2d(planes, weight.clone(), Some(self.bias.clone()), options)
                    .permute([0, 2, 3, 1])
            }
        }
    }

    /// The convolution of rows `[rows, in]` that are a cell each.
    pub fn rows(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let [rows, channels] = x.dims();
        let out = self.forward(x.reshape([rows, 1, 1, channels]));
        let channels = out.dims()[3];
        out.reshape([rows, channels])
    }
}
