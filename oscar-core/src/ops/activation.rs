//! Activation functions, and the linear layer that ends with one. GELU is the exact one (erf).

use std::f64::consts::FRAC_1_SQRT_2;

use burn::nn::Linear;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, activation};

use super::backend::{Operation, OscarBackend, primitive, tensor};
use super::kernels::Kernels;
use super::linear::{self, Factors, WeightOrder};
use super::precision::{to, to_f32};
use crate::config::Activation;

/// Applies an activation function.
pub fn activate<B: Backend, const D: usize>(
    activation: Activation,
    input: Tensor<B, D>,
) -> Tensor<B, D> {
    match activation {
        Activation::Gelu => activation::gelu(input),
        Activation::Relu => activation::relu(input),
        Activation::Swish => activation::silu(input),
    }
}

/// `activation(x W + b)` of rows, `[rows, d_input]` to `[rows, d_output]`. The result may have the
/// thread's [`Precision`](super::Precision).
pub fn linear_activate<B: OscarBackend>(
    layer: &Linear<B>,
    activation: Activation,
    input: Tensor<B, 2>,
) -> Tensor<B, 2> {
    match activation {
        Activation::Gelu => {
            let (weight, bias) = linear::weight_and_bias(layer);
            linear_gelu(input, weight, bias)
        }
        other => activate(other, linear::linear(layer, input)),
    }
}

/// `gelu(x W + b)`, the step of [`linear_activate`].
pub(super) fn linear_gelu<B: OscarBackend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 2> {
    let inputs = [primitive(x), primitive(weight), primitive(bias)];
    tensor(B::apply(LinearGelu, inputs))
}

#[derive(Debug)]
struct LinearGelu;

impl<B: Kernels> Operation<B, 3> for LinearGelu {
    /// Factors of the product, the product, and the bias.
    type Saved = (Factors<B>, Tensor<B, 2>, Tensor<B, 1>);

    fn infer(self, [x, weight, bias]: [FloatTensor<B>; 3]) -> FloatTensor<B> {
        let product = Factors::infer(x, weight, WeightOrder::InputFirst);
        primitive(B::bias_gelu(product, tensor(bias)))
    }

    fn forward(self, [x, weight, bias]: [FloatTensor<B>; 3]) -> (FloatTensor<B>, Self::Saved) {
        let (product, factors) = Factors::multiply(x, weight, WeightOrder::InputFirst);
        let bias = tensor(bias);
        let output = B::bias_gelu(product.clone(), bias.clone());
        (primitive(output), (factors, product, bias))
    }

    fn backward(
        (factors, product, bias): Self::Saved,
        grad: FloatTensor<B>,
        [by_x, by_weight, by_bias]: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        let (grad, bias_grad) = B::bias_gelu_backward(product, bias, tensor(grad));
        let [by_x, by_weight] = factors.backward(grad, [by_x, by_weight]);
        [by_x, by_weight, by_bias.then(|| primitive(bias_grad))]
    }
}

/// [`Kernels::bias_gelu`] in Burn's operations.
pub(super) fn bias_gelu<B: Backend>(product: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, 2> {
    let dtype = product.dtype();
    to(activation::gelu(to_f32(product) + bias.unsqueeze()), dtype)
}

/// [`Kernels::bias_gelu_backward`] in Burn's operations.
pub(super) fn bias_gelu_backward<B: Backend>(
    product: Tensor<B, 2>,
    bias: Tensor<B, 1>,
    grad: Tensor<B, 2>,
) -> (Tensor<B, 2>, Tensor<B, 1>) {
    // 1 / sqrt(2 pi)
    const DENSITY: f64 = 0.398_942_280_401_432_7;
    let dtype = grad.dtype();
    let x = to_f32(product) + bias.unsqueeze();
    let cdf = x.clone().mul_scalar(FRAC_1_SQRT_2).erf();
    let cdf = cdf.mul_scalar(0.5).add_scalar(0.5);
    let density = (x.clone() * x.clone()).mul_scalar(-0.5).exp();
    let grad = to_f32(grad) * (cdf + x * density.mul_scalar(DENSITY));
    let bias_grad = linear::column_sums(grad.clone());
    (to(grad, dtype), bias_grad)
}

/// GELU in Burn's operations, with the gradient that follows from them: Burn's own has that of the
/// tanh approximation on some backends.
#[cfg(test)]
pub(super) fn gelu_oracle<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let erf = x.clone().mul_scalar(FRAC_1_SQRT_2).erf();
    (erf + 1.0) * x * 0.5
}
