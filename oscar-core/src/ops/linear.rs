//! Linear layers: products of matrices with a bias.

use burn::nn::Linear;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Tensor};

use super::backend::{Operation, OscarBackend, primitive, tensor};
use super::kernels::Kernels;
use super::precision::{operand, to, to_f32};

/// `x W + b` of rows, `[rows, d_input]` to `[rows, d_output]`.
pub fn linear<B: OscarBackend>(layer: &Linear<B>, input: Tensor<B, 2>) -> Tensor<B, 2> {
    to_f32(linear_low_precision(layer, input))
}

/// As [`linear`], but the result may have the thread's [`Precision`](super::Precision): it is for
/// another operation of this module.
pub(crate) fn linear_low_precision<B: OscarBackend>(
    layer: &Linear<B>,
    input: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let (weight, bias) = weight_and_bias(layer);
    product_bias(WeightOrder::InputFirst, [input, weight], bias)
}

/// `x W + b` of rows, `[rows, d_input]` to `[rows, d_output]`, of a `weight` `[d_input, d_output]` that
/// is not in a linear layer of Burn's: one whose files have it in this order, too.
pub fn affine<B: OscarBackend>(
    input: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 2> {
    to_f32(product_bias(WeightOrder::InputFirst, [input, weight], bias))
}

/// `x Mᵀ + b` of rows, `[rows, d_input]` to `[rows, d_output]`: an output layer whose `matrix`
/// `[d_output, d_input]` is an embedding, and has its gradient in that order in memory.
pub fn tied_linear<B: OscarBackend>(
    input: Tensor<B, 2>,
    matrix: Tensor<B, 2>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 2> {
    to_f32(product_bias(
        WeightOrder::OutputFirst,
        [input, matrix],
        bias,
    ))
}

/// Weight `[d_input, d_output]` and bias `[d_output]`.
pub(super) fn weight_and_bias<B: Backend>(layer: &Linear<B>) -> (Tensor<B, 2>, Tensor<B, 1>) {
    let weight = layer.weight.val();
    let bias = match &layer.bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([weight.dims()[1]], &weight.device()),
    };
    (weight, bias)
}

pub(super) fn product_bias<B: OscarBackend>(
    order: WeightOrder,
    factors: [Tensor<B, 2>; 2],
    bias: Tensor<B, 1>,
) -> Tensor<B, 2> {
    let [x, weight] = factors.map(primitive);
    tensor(B::apply(ProductBias(order), [x, weight, primitive(bias)]))
}

#[derive(Debug)]
struct ProductBias(WeightOrder);

impl<B: Kernels> Operation<B, 3> for ProductBias {
    type Saved = Factors<B>;

    fn infer(self, [x, weight, bias]: [FloatTensor<B>; 3]) -> FloatTensor<B> {
        let product = Factors::infer(x, weight, self.0);
        primitive(B::add_bias(product, tensor(bias)))
    }

    fn forward(self, [x, weight, bias]: [FloatTensor<B>; 3]) -> (FloatTensor<B>, Factors<B>) {
        let (product, factors) = Factors::multiply(x, weight, self.0);
        (primitive(B::add_bias(product, tensor(bias))), factors)
    }

    fn backward(
        factors: Factors<B>,
        grad: FloatTensor<B>,
        [x, weight, bias]: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        let grad = tensor(grad);
        let bias = bias.then(|| primitive(B::column_sums(grad.clone())));
        let [x, weight] = factors.backward(grad, [x, weight]);
        [x, weight, bias]
    }
}

/// Which axis of a weight comes first.
#[derive(Clone, Copy, Debug)]
pub(super) enum WeightOrder {
    InputFirst,
    OutputFirst,
}

/// The factors of a product as they were multiplied, and the types that their gradients have.
#[derive(Clone, Debug)]
pub(super) struct Factors<B: Backend> {
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    order: WeightOrder,
    dtypes: [DType; 2],
}

impl WeightOrder {
    /// `[d_input, d_output]`
    fn input_first<B: Backend>(self, weight: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::InputFirst => weight,
            Self::OutputFirst => weight.transpose(),
        }
    }
}

impl<B: Kernels> Factors<B> {
    /// The product of `x` and `weight` in the precision of the thread.
    pub(super) fn multiply(
        x: FloatTensor<B>,
        weight: FloatTensor<B>,
        order: WeightOrder,
    ) -> (Tensor<B, 2>, Self) {
        let factors = [x, weight].map(tensor::<B, 2>);
        let dtypes = factors.each_ref().map(Tensor::dtype);
        let [x, weight] = factors.map(operand);
        let product = x.clone().matmul(order.input_first(weight.clone()));
        let factors = Self {
            x,
            weight,
            order,
            dtypes,
        };
        (product, factors)
    }

    /// As [`multiply`](Self::multiply), where no gradient is computed.
    pub(super) fn infer(
        x: FloatTensor<B>,
        weight: FloatTensor<B>,
        order: WeightOrder,
    ) -> Tensor<B, 2> {
        let [x, weight] = [x, weight].map(|factor| operand(tensor(factor)));
        B::product(x, order.input_first(weight))
    }

    /// The gradients of `x` and `weight`, those that are wanted, from the one by the product.
    pub(super) fn backward(
        self,
        grad: Tensor<B, 2>,
        [by_x, by_weight]: [bool; 2],
    ) -> [Option<FloatTensor<B>>; 2] {
        let by_weight = by_weight.then(|| {
            let product = match self.order {
                WeightOrder::InputFirst => self.x.transpose().matmul(grad.clone()),
                WeightOrder::OutputFirst => grad.clone().transpose().matmul(self.x),
            };
            primitive(to(product, self.dtypes[1]))
        });
        let by_x = by_x.then(|| {
            let product = grad.matmul(match self.order {
                WeightOrder::InputFirst => self.weight.transpose(),
                WeightOrder::OutputFirst => self.weight,
            });
            primitive(to(product, self.dtypes[0]))
        });
        [by_x, by_weight]
    }
}

/// [`Kernels::add_bias`] in Burn's operations.
pub(super) fn add_bias<B: Backend>(x: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, 2> {
    let dtype = x.dtype();
    to(to_f32(x) + bias.unsqueeze(), dtype)
}

/// [`Kernels::column_sums`] in Burn's operations.
pub(super) fn column_sums<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 1> {
    let [_, width] = x.dims();
    to_f32(x).sum_dim(0).reshape([width])
}

/// The same in Burn's operations, which differentiate themselves.
#[cfg(test)]
pub(super) fn oracle<B: Backend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 2> {
    burn::tensor::module::linear(x, weight, Some(bias))
}
