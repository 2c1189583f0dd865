//! The bodies of [`Kernels`](super::Kernels) for backends that do no better: Burn's own operations.
//!
//! Gradients are written by hand, which keeps less than the graph of the composed operations would,
//! and is exact where Burn's are not (its GELU has the gradient of the tanh approximation on some
//! backends).

use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Int, Tensor, activation};

use super::backend::{RowIndex, TopK};
use super::fused::{Dropped, NormGrads, NormOutput, NormParts, SavedNorm};
use super::precision::{to, to_f32};
use super::random;

/// A mask by Burn's generator.
pub(super) fn draw<B: Backend, const D: usize>(
    shape: [usize; D],
    probability: f64,
    device: &B::Device,
) -> Dropped<B, D> {
    if probability == 0.0 {
        return Dropped::None;
    }
    let _turn = random::turn::<B>(device);
    let kept = Tensor::random(shape, Distribution::Bernoulli(1.0 - probability), device);
    Dropped::Mask(kept.mul_scalar(1.0 / (1.0 - probability)))
}

pub(super) fn drop_out<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    dropped: &Dropped<B, D>,
) -> Tensor<B, D> {
    match dropped {
        Dropped::Mask(mask) => {
            let dtype = x.dtype();
            to(to_f32(x) * mask.clone(), dtype)
        }
        // Keys are drawn by the backends that read them.
        Dropped::None | Dropped::Key(_) => x,
    }
}

pub(super) fn add_bias<B: Backend>(x: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, 2> {
    let dtype = x.dtype();
    to(to_f32(x) + bias.unsqueeze(), dtype)
}

pub(super) fn column_sums<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 1> {
    let [_, width] = x.dims();
    to_f32(x).sum_dim(0).reshape([width])
}

pub(super) fn bias_gelu<B: Backend>(product: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, 2> {
    let dtype = product.dtype();
    to(activation::gelu(to_f32(product) + bias.unsqueeze()), dtype)
}

pub(super) fn bias_gelu_backward<B: Backend>(
    product: Tensor<B, 2>,
    bias: Tensor<B, 1>,
    grad: Tensor<B, 2>,
) -> (Tensor<B, 2>, Tensor<B, 1>) {
    // 1 / sqrt(2 pi)
    const DENSITY: f64 = 0.398_942_280_401_432_7;
    let dtype = grad.dtype();
    let x = to_f32(product) + bias.unsqueeze();
    let cdf = x
        .clone()
        .mul_scalar(std::f64::consts::FRAC_1_SQRT_2)
        .erf()
        .mul_scalar(0.5)
        .add_scalar(0.5);
    let density = (x.clone() * x.clone())
        .mul_scalar(-0.5)
        .exp()
        .mul_scalar(DENSITY);
    let grad = to_f32(grad) * (cdf + x * density);
    let bias_grad = column_sums(grad.clone());
    (to(grad, dtype), bias_grad)
}

pub(super) fn softmax<B: Backend>(
    scores: Tensor<B, 4>,
    mask: Tensor<B, 4>,
    scale: f64,
) -> Tensor<B, 4> {
    let dtype = scores.dtype();
    let scores = to_f32(scores).mul_scalar(scale) + mask;
    to(activation::softmax(scores, 3), dtype)
}

pub(super) fn softmax_backward<B: Backend>(
    grad: Tensor<B, 4>,
    probabilities: Tensor<B, 4>,
    scale: f64,
    dropped: &Dropped<B, 4>,
) -> Tensor<B, 4> {
    let dtype = grad.dtype();
    let grad = drop_out(to_f32(grad), dropped);
    let probabilities = to_f32(probabilities);
    let mean = (grad.clone() * probabilities.clone()).sum_dim(3);
    to(((grad - mean) * probabilities).mul_scalar(scale), dtype)
}

pub(super) fn residual_norm<B: Backend>(
    product: Tensor<B, 2>,
    residual: Tensor<B, 2>,
    parts: &NormParts<B>,
) -> NormOutput<B> {
    let [rows, _] = product.dims();
    let branch = to_f32(product) + parts.bias.clone().unsqueeze();
    let sum = drop_out(branch, &parts.dropped) + residual;
    let centred = sum.clone() - sum.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    let inverse_std = variance.add_scalar(parts.epsilon).sqrt().recip();
    let normalized = centred * inverse_std.clone();
    NormOutput {
        output: normalized.clone() * parts.gamma.clone().unsqueeze()
            + parts.beta.clone().unsqueeze(),
        normalized,
        inverse_std: inverse_std.reshape([rows]),
    }
}

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
    let branch = drop_out(residual.clone(), &saved.dropped);
    NormGrads {
        bias: column_sums(branch.clone()),
        branch: to(branch, saved.product_dtype),
        residual,
        gamma: column_sums(grad.clone() * normalized),
        beta: column_sums(grad),
    }
}

pub(super) fn gather_rows<B: Backend>(x: Tensor<B, 2>, index: &RowIndex<B>) -> Tensor<B, 2> {
    let [_, width] = x.dims();
    let zeros = Tensor::zeros([1, width], (&x.device(), x.dtype()));
    Tensor::cat(vec![x, zeros], 0).select(0, index.device.clone())
}

/// The largest, `k` times, each time without those before: not by sorting, since a row is a
/// vocabulary, and `k` is small.
pub(super) fn top_k<B: Backend>(x: Tensor<B, 2>, k: usize) -> TopK {
    let [rows, columns] = x.dims();
    let k = k.min(columns);
    let numbers = Tensor::<B, 1, Int>::arange(0..columns as i64, &x.device()).unsqueeze::<2>();
    let mut left = x;
    let mut found = Vec::with_capacity(k);
    for _ in 0..k {
        let (value, column) = left.clone().max_dim_with_indices(1);
        let taken = numbers.clone().equal(column.clone());
        left = left.mask_fill(taken, f32::NEG_INFINITY);
        let columns = column.into_data().iter::<i64>().collect::<Vec<_>>();
        let values = value.into_data().iter::<f32>().collect::<Vec<_>>();
        found.push((columns, values));
    }
    let entries = (0..rows).flat_map(|row| {
        let of_row = |(columns, values): &(Vec<i64>, Vec<f32>)| (columns[row] as u32, values[row]);
        found.iter().map(of_row).collect::<Vec<_>>()
    });
    TopK {
        k,
        entries: entries.collect(),
    }
}

pub(super) fn sum_of_squares<B: Backend>(x: Tensor<B, 1>) -> Tensor<B, 1> {
    (x.clone() * x).sum()
}

pub(super) fn scale<B: Backend>(x: Tensor<B, 1>, factor: Tensor<B, 1>) -> Tensor<B, 1> {
    x * factor
}
