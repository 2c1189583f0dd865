//! How each half of a layer ends: linear layer, dropout, residual, LayerNorm.

use burn::nn::{LayerNorm, Linear};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Tensor};

use super::backend::{Operation, OscarBackend, primitive, tensor};
use super::dropout::{self, DropoutMask};
use super::kernels::Kernels;
use super::linear::{self, Factors, WeightOrder, column_sums};
use super::precision::{to, to_f32};

/// `LayerNorm(residual + dropout(x W + b))` of rows. The epsilon is an argument because Burn's
/// LayerNorm does not give its own.
///
/// # Shapes
///
/// - input: `[rows, d_input]`
/// - residual and output: `[rows, hidden]`, f32
pub fn linear_residual_norm<B: OscarBackend>(
    layer: &Linear<B>,
    norm: &LayerNorm<B>,
    (epsilon, dropout): (f64, f64),
    input: Tensor<B, 2>,
    residual: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let (weight, bias) = linear::weight_and_bias(layer);
    let [gamma, beta] = gamma_and_beta(norm);
    residual_norm_of(
        [input, weight, residual],
        [bias, gamma, beta],
        epsilon,
        dropout,
    )
}

/// Gamma and beta `[width]`.
pub(super) fn gamma_and_beta<B: Backend>(norm: &LayerNorm<B>) -> [Tensor<B, 1>; 2] {
    let gamma = norm.gamma.val();
    let beta = match &norm.beta {
        Some(beta) => beta.val(),
        None => gamma.zeros_like(),
    };
    [gamma, beta]
}

/// [`linear_residual_norm`] of tensors: of `x`, `weight` `[d_input, hidden]` and `residual`, and of
/// bias, gamma and beta, each `[hidden]`.
pub(super) fn residual_norm_of<B: OscarBackend>(
    [x, weight, residual]: [Tensor<B, 2>; 3],
    vectors: [Tensor<B, 1>; 3],
    epsilon: f64,
    dropout: f64,
) -> Tensor<B, 2> {
    let operation = LinearResidualNorm {
        epsilon,
        dropout: DropoutMask::new::<B>(residual.dims(), dropout, &residual.device()),
    };
    let [x, weight, residual] = [x, weight, residual].map(primitive);
    let [bias, gamma, beta] = vectors.map(primitive);
    let inputs = [x, weight, bias, residual, gamma, beta];
    tensor(B::apply(operation, inputs))
}

#[derive(Debug)]
pub(super) struct LinearResidualNorm<B: Backend> {
    pub(super) epsilon: f64,
    pub(super) dropout: DropoutMask<B, 2>,
}

impl<B: Kernels> Operation<B, 6> for LinearResidualNorm<B> {
    type Saved = (Factors<B>, SavedNorm<B>);

    fn infer(self, inputs: [FloatTensor<B>; 6]) -> FloatTensor<B> {
        let [x, weight, bias, residual, gamma, beta] = inputs;
        let product = Factors::infer(x, weight, WeightOrder::InputFirst);
        let params = self.params([bias, gamma, beta]);
        primitive(B::residual_norm(product, tensor(residual), &params).output)
    }

    fn forward(self, inputs: [FloatTensor<B>; 6]) -> (FloatTensor<B>, Self::Saved) {
        let [x, weight, bias, residual, gamma, beta] = inputs;
        let (product, factors) = Factors::multiply(x, weight, WeightOrder::InputFirst);
        let product_dtype = product.dtype();
        let params = self.params([bias, gamma, beta]);
        let normed = B::residual_norm(product, tensor(residual), &params);
        let saved = SavedNorm {
            normalized: normed.normalized,
            inverse_std: normed.inverse_std,
            gamma: params.gamma,
            dropout: params.dropout,
            product_dtype,
        };
        (primitive(normed.output), (factors, saved))
    }

    fn backward(
        (factors, saved): Self::Saved,
        grad: FloatTensor<B>,
        wanted: [bool; 6],
    ) -> [Option<FloatTensor<B>>; 6] {
        let grads = B::residual_norm_backward(tensor(grad), &saved);
        Self::gradients(factors, grads, wanted)
    }
}

impl<B: Kernels> LinearResidualNorm<B> {
    /// The gradients by the inputs that are wanted, from those of the LayerNorm.
    pub(super) fn gradients(
        factors: Factors<B>,
        grads: NormGrads<B>,
        [x, weight, bias, residual, gamma, beta]: [bool; 6],
    ) -> [Option<FloatTensor<B>>; 6] {
        let [x, weight] = factors.backward(grads.branch, [x, weight]);
        [
            x,
            weight,
            bias.then(|| primitive(grads.bias)),
            residual.then(|| primitive(grads.residual)),
            gamma.then(|| primitive(grads.gamma)),
            beta.then(|| primitive(grads.beta)),
        ]
    }

    fn params(self, vectors: [FloatTensor<B>; 3]) -> NormParams<B> {
        let [bias, gamma, beta] = vectors.map(tensor);
        NormParams {
            bias,
            gamma,
            beta,
            epsilon: self.epsilon,
            dropout: self.dropout,
        }
    }
}

/// LayerNorm of rows `[rows, width]`, f32, by Burn's layer and epsilon of `norm`. On devices where launches
/// are costly it is one operation, elsewhere Burn's own.
pub fn layer_norm<B: OscarBackend>(
    (norm, epsilon): (&LayerNorm<B>, f64),
    x: Tensor<B, 2>,
) -> Tensor<B, 2> {
    match &norm.beta {
        Some(beta) if <B::Kernels as Kernels>::has_costly_launches(&x.device()) => {
            layer_norm_of(x, [norm.gamma.val(), beta.val()], epsilon)
        }
        _ => norm.forward(x),
    }
}

/// [`layer_norm`] by gamma and beta `[width]`, as one operation.
pub(super) fn layer_norm_of<B: OscarBackend>(
    x: Tensor<B, 2>,
    [gamma, beta]: [Tensor<B, 1>; 2],
    epsilon: f64,
) -> Tensor<B, 2> {
    let inputs = [primitive(x), primitive(gamma), primitive(beta)];
    tensor(B::apply(LayerNormRows(epsilon), inputs))
}

#[derive(Debug)]
struct LayerNormRows(f64);

impl<B: Kernels> Operation<B, 3> for LayerNormRows {
    type Saved = SavedNorm<B>;

    fn forward(self, [x, gamma, beta]: [FloatTensor<B>; 3]) -> (FloatTensor<B>, SavedNorm<B>) {
        let gamma = tensor::<B, 1>(gamma);
        let vectors = [gamma.clone(), tensor(beta)];
        let NormOutput {
            output,
            normalized,
            inverse_std,
        } = <B as Kernels>::layer_norm(tensor(x), vectors, self.0);
        let saved = SavedNorm {
            normalized,
            inverse_std,
            gamma,
            dropout: DropoutMask::None,
            product_dtype: DType::F32,
        };
        (primitive(output), saved)
    }

    fn backward(
        saved: SavedNorm<B>,
        grad: FloatTensor<B>,
        [x, gamma, beta]: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        let grads = B::residual_norm_backward(tensor(grad), &saved);
        [
            x.then(|| primitive(grads.residual)),
            gamma.then(|| primitive(grads.gamma)),
            beta.then(|| primitive(grads.beta)),
        ]
    }
}

/// Arguments of [`Kernels::residual_norm`] beside its two matrices; vectors are `[width]`.
#[derive(Clone, Debug)]
pub struct NormParams<B: Backend> {
    /// Added to the branch before its dropout.
    pub bias: Tensor<B, 1>,
    /// Multiplied with the normalised rows.
    pub gamma: Tensor<B, 1>,
    /// Added to them.
    pub beta: Tensor<B, 1>,
    /// Added to the variance.
    pub epsilon: f64,
    /// Elements of the branch that are dropped.
    pub dropout: DropoutMask<B, 2>,
}

/// Results of [`Kernels::residual_norm`], all f32.
#[derive(Clone, Debug)]
pub struct NormOutput<B: Backend> {
    /// `[rows, width]`
    pub output: Tensor<B, 2>,
    /// The rows less their mean, over σ: `[rows, width]`.
    pub normalized: Tensor<B, 2>,
    /// 1/σ of each row: `[rows]`.
    pub inverse_std: Tensor<B, 1>,
}

/// Arguments of [`Kernels::residual_norm_backward`] beside the gradient.
#[derive(Clone, Debug)]
pub struct SavedNorm<B: Backend> {
    /// As in [`NormOutput`].
    pub normalized: Tensor<B, 2>,
    /// As in [`NormOutput`].
    pub inverse_std: Tensor<B, 1>,
    /// As in [`NormParams`].
    pub gamma: Tensor<B, 1>,
    /// As in [`NormParams`].
    pub dropout: DropoutMask<B, 2>,
    /// Type of the product, and of its gradient.
    pub product_dtype: DType,
}

/// Results of [`Kernels::residual_norm_backward`].
#[derive(Clone, Debug)]
pub struct NormGrads<B: Backend> {
    /// By the product, `[rows, width]`.
    pub branch: Tensor<B, 2>,
    /// By the residual, `[rows, width]`, f32.
    pub residual: Tensor<B, 2>,
    /// `[width]`
    pub bias: Tensor<B, 1>,
    /// `[width]`
    pub gamma: Tensor<B, 1>,
    /// `[width]`
    pub beta: Tensor<B, 1>,
}

/// [`Kernels::layer_norm`] as the kernel of a branch of zeros.
pub(super) fn layer_norm_by_residual<B: Kernels>(
    x: Tensor<B, 2>,
    [gamma, beta]: [Tensor<B, 1>; 2],
    epsilon: f64,
) -> NormOutput<B> {
    let params = NormParams {
        bias: Tensor::zeros([x.dims()[1]], &x.device()),
        gamma,
        beta,
        epsilon,
        dropout: DropoutMask::None,
    };
    B::residual_norm(Tensor::zeros(x.dims(), &x.device()), x, &params)
}

/// [`Kernels::residual_norm`] in Burn's operations, which differentiate themselves.
pub(super) fn residual_norm<B: Backend>(
    product: Tensor<B, 2>,
    residual: Tensor<B, 2>,
    params: &NormParams<B>,
) -> NormOutput<B> {
    let [rows, _] = product.dims();
    let branch = to_f32(product) + params.bias.clone().unsqueeze();
    let sum = dropout::apply_dropout(branch, &params.dropout) + residual;
    let centred = sum.clone() - sum.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    let inverse_std = variance.add_scalar(params.epsilon).sqrt().recip();
    let normalized = centred * inverse_std.clone();
    NormOutput {
        output: normalized.clone() * params.gamma.clone().unsqueeze()
            + params.beta.clone().unsqueeze(),
        normalized,
        inverse_std: inverse_std.reshape([rows]),
    }
}

/// [`Kernels::residual_norm_backward`] in Burn's operations.
pub(super) fn residual_norm_backward<B: Backend>(
    grad: Tensor<B, 2>,
    saved: &SavedNorm<B>,
) -> NormGrads<B> {
    let [rows, _] = grad.dims();
    let normalized = saved.normalized.clone();
    let scaled = grad.clone() * saved.gamma.clone().unsqueeze();
    let mean = scaled.clone().mean_dim(1);
    let slope = (scaled.clone() * normalized.clone()).mean_dim(1);
    let residual =
        (scaled - mean - normalized.clone() * slope) * saved.inverse_std.clone().reshape([rows, 1]);
    let branch = dropout::apply_dropout(residual.clone(), &saved.dropout);
    NormGrads {
        bias: column_sums(branch.clone()),
        branch: to(branch, saved.product_dtype),
        residual,
        gamma: column_sums(grad.clone() * normalized),
        beta: column_sums(grad),
    }
}

/// The same, without dropout, by Burn's linear layer and LayerNorm, which differentiate themselves.
#[cfg(test)]
pub(super) fn oracle<B: Backend>(
    [x, weight, residual]: [Tensor<B, 2>; 3],
    [bias, gamma, beta]: [Tensor<B, 1>; 3],
    epsilon: f64,
) -> Tensor<B, 2> {
    let sum = linear::oracle(x, weight, bias) + residual;
    let beta = Some(primitive(beta));
    tensor(B::layer_norm(
        primitive(sum),
        primitive(gamma),
        beta,
        epsilon,
    ))
}
