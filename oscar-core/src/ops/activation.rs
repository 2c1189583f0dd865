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

/// `0.5 x (1 + tanh(y)) = x sigmoid(2 y)`, where `y = sqrt(2 / pi) (x + 0.044715 x³)`.
const GELU_NEW: [f32; 2] = [1.595_769_2, 0.071_354_814];

/// `x sigmoid(1.702 x)`
const QUICK_GELU: [f32; 2] = [1.702, 0.0];

/// Applies an activation function.
pub fn activate<B: Backend, const D: usize>(
    activation: Activation,
    input: Tensor<B, D>,
) -> Tensor<B, D> {
    match activation {
        Activation::Gelu => activation::gelu(input),
        Activation::Relu => activation::relu(input),
        Activation::Swish => activation::silu(input),
        Activation::GeluNew => sigmoid_gate(input, GELU_NEW),
        Activation::QuickGelu => sigmoid_gate(input, QUICK_GELU),
    }
}

/// `x sigmoid(s x + c x³)` in Burn's operations, where `gate` is `[s, c]`.
fn sigmoid_gate<B: Backend, const D: usize>(x: Tensor<B, D>, [s, c]: [f32; 2]) -> Tensor<B, D> {
    let slope = match c {
        0.0 => x.clone().mul_scalar(s),
        c => x.clone() * (x.clone() * x.clone()).mul_scalar(c).add_scalar(s),
    };
    x * activation::sigmoid(slope)
}

/// `activation(x W + b)` of rows, `[rows, d_input]` to `[rows, d_output]`. The result may have the
/// thread's [`Precision`](super::Precision).
pub fn linear_activate<B: OscarBackend>(
    layer: &Linear<B>,
    activation: Activation,
    input: Tensor<B, 2>,
) -> Tensor<B, 2> {
    match activation {
        Activation::Relu | Activation::Swish => activate(activation, linear::linear(layer, input)),
        activation => {
            let (weight, bias) = linear::weight_and_bias(layer);
            affine_activate([input, weight], bias, activation)
        }
    }
}

/// As [`linear_activate`], of rows and of a weight `[d_input, d_output]` that is not in a linear layer
/// of Burn's.
pub fn affine_activate<B: OscarBackend>(
    [input, weight]: [Tensor<B, 2>; 2],
    bias: Tensor<B, 1>,
    activation: Activation,
) -> Tensor<B, 2> {
    match (activation, gate(activation)) {
        (Activation::Gelu, _) => linear_gelu(input, weight, bias),
        (_, Some(gate)) => {
            let inputs = [primitive(input), primitive(weight), primitive(bias)];
            tensor(B::apply(LinearGate(gate), inputs))
        }
        _ => activate(activation, linear::affine(input, weight, bias)),
    }
}

/// The gate of an activation that [`Kernels::bias_gate`] computes.
pub(super) fn gate(activation: Activation) -> Option<[f32; 2]> {
    match activation {
        Activation::GeluNew => Some(GELU_NEW),
        Activation::QuickGelu => Some(QUICK_GELU),
        Activation::Gelu | Activation::Relu | Activation::Swish => None,
    }
}

/// A linear layer and [`Kernels::bias_gate`].
#[derive(Debug)]
pub(super) struct LinearGate(pub(super) [f32; 2]);

impl<B: Kernels> Operation<B, 3> for LinearGate {
    /// Factors of the product, the product, the bias, and the gate.
    type Saved = (Factors<B>, Tensor<B, 2>, Tensor<B, 1>, [f32; 2]);

    fn infer(self, [x, weight, bias]: [FloatTensor<B>; 3]) -> FloatTensor<B> {
        let product = Factors::infer(x, weight, WeightOrder::InputFirst);
        primitive(B::bias_gate(product, tensor(bias), self.0))
    }

    fn forward(self, [x, weight, bias]: [FloatTensor<B>; 3]) -> (FloatTensor<B>, Self::Saved) {
        let (product, factors) = Factors::multiply(x, weight, WeightOrder::InputFirst);
        let bias = tensor(bias);
        let output = B::bias_gate(product.clone(), bias.clone(), self.0);
        (primitive(output), (factors, product, bias, self.0))
    }

    fn backward(
        (factors, product, bias, gate): Self::Saved,
        grad: FloatTensor<B>,
        [by_x, by_weight, by_bias]: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        let (grad, bias_grad) = B::bias_gate_backward(product, bias, tensor(grad), gate);
        let [by_x, by_weight] = factors.backward(grad, [by_x, by_weight]);
        [by_x, by_weight, by_bias.then(|| primitive(bias_grad))]
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

/// A linear layer and [`Kernels::bias_gelu`].
#[derive(Debug)]
pub(super) struct LinearGelu;

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

/// [`Kernels::bias_gate`] in Burn's operations.
pub(super) fn bias_gate<B: Backend>(
    product: Tensor<B, 2>,
    bias: Tensor<B, 1>,
    gate: [f32; 2],
) -> Tensor<B, 2> {
    let dtype = product.dtype();
    to(
        sigmoid_gate(to_f32(product) + bias.unsqueeze(), gate),
        dtype,
    )
}

/// [`Kernels::bias_gate_backward`] in Burn's operations.
pub(super) fn bias_gate_backward<B: Backend>(
    product: Tensor<B, 2>,
    bias: Tensor<B, 1>,
    grad: Tensor<B, 2>,
    [s, c]: [f32; 2],
) -> (Tensor<B, 2>, Tensor<B, 1>) {
    let dtype = grad.dtype();
    let x = to_f32(product) + bias.unsqueeze();
    let square = x.clone() * x.clone();
    let sigmoid = activation::sigmoid(x.clone() * square.clone().mul_scalar(c).add_scalar(s));
    let slope = x * square.mul_scalar(3.0 * c).add_scalar(s);
    let rest = sigmoid.clone().neg().add_scalar(1.0);
    let grad = to_f32(grad) * (sigmoid * (slope * rest).add_scalar(1.0));
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
