//! The fused steps on tensors in this process's memory: rows over threads.

mod cached;
mod element;
mod few;
mod kernels;
mod math;
mod select;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, Tensor, TensorMetadata, TensorPrimitive};
use rayon::prelude::*;

use super::backend::AdamWStep;
use super::fused::{Dropped, NormGrads, NormOutput, NormParts, SavedNorm};
use super::plain;
pub(super) use cached::cached_attention;
pub(super) use element::Element;
pub(super) use few::product;
use kernels::{BLOCK, NormGrad, NormInput, NormSums};
pub(super) use select::top_k;

/// A backend whose tensors lie in this process's memory. The caller names the type of a tensor's
/// elements.
pub(super) trait HostBackend: Backend {
    /// Whether the tensor lies in row-major order, from the start of a buffer of exactly its size.
    fn is_dense(tensor: &FloatTensor<Self>) -> bool;

    /// The tensor so, copied if it must be.
    fn dense(tensor: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The values of a [`dense`](Self::dense) tensor.
    fn values<T: Element>(tensor: &FloatTensor<Self>) -> &[T];

    /// The values of a [`dense`](Self::dense) tensor, to be overwritten: first copied, if another
    /// tensor shares them.
    fn values_mut<T: Element>(tensor: &mut FloatTensor<Self>) -> &mut [T];

    /// A tensor of any values.
    fn any<T: Element>(shape: Shape) -> FloatTensor<Self>;
}

fn dense<H: HostBackend, const D: usize>(tensor: Tensor<H, D>) -> FloatTensor<H> {
    H::dense(tensor.into_primitive().tensor())
}

fn wrap<H: HostBackend, const D: usize>(tensor: FloatTensor<H>) -> Tensor<H, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

fn width<H: HostBackend>(tensor: &FloatTensor<H>) -> usize {
    tensor.shape().last().copied().unwrap_or(1)
}

pub(super) fn drop_out<T: Element, H: HostBackend, const D: usize>(
    x: Tensor<H, D>,
    dropped: &Dropped<H, D>,
) -> Tensor<H, D> {
    let dropout = dropped.key();
    if !dropout.is_active() {
        return x;
    }
    let x = dense(x);
    let mut out = H::any::<T>(x.shape());
    let block = BLOCK * 64;
    H::values_mut::<T>(&mut out)
        .par_chunks_mut(block)
        .zip(H::values::<T>(&x).par_chunks(block))
        .enumerate()
        .for_each(|(number, (out, x))| kernels::drop_out(x, dropout, number * block, out));
    wrap(out)
}

pub(super) fn add_bias<T: Element, H: HostBackend>(
    x: Tensor<H, 2>,
    bias: Tensor<H, 1>,
) -> Tensor<H, 2> {
    let (mut x, bias) = (dense(x), dense(bias));
    let bias = H::values(&bias);
    H::values_mut::<T>(&mut x)
        .par_chunks_mut(BLOCK * bias.len())
        .for_each(|rows| kernels::add_bias(rows, bias));
    wrap(x)
}

pub(super) fn column_sums<T: Element, H: HostBackend>(x: Tensor<H, 2>) -> Tensor<H, 1> {
    let x = dense(x);
    let width = width::<H>(&x);
    let partial: Vec<Vec<f32>> = H::values::<T>(&x)
        .par_chunks(BLOCK * width)
        .map(|rows| {
            let mut sums = vec![0.0; width];
            kernels::sum_rows(rows, &mut sums);
            sums
        })
        .collect();
    wrap(add_up::<H>(&partial, width))
}

/// The sum of the blocks' sums, in the order of the blocks.
fn add_up<H: HostBackend>(partial: &[Vec<f32>], width: usize) -> FloatTensor<H> {
    let mut total = H::any::<f32>(Shape::from([width]));
    let sums = H::values_mut(&mut total);
    sums.fill(0.0);
    for block in partial {
        kernels::sum_rows(block, sums);
    }
    total
}

pub(super) fn bias_gelu<T: Element, H: HostBackend>(
    product: Tensor<H, 2>,
    bias: Tensor<H, 1>,
) -> Tensor<H, 2> {
    let (product, bias) = (dense(product), dense(bias));
    let mut out = H::any::<T>(product.shape());
    let bias = H::values(&bias);
    let block = BLOCK * bias.len();
    H::values_mut::<T>(&mut out)
        .par_chunks_mut(block)
        .zip(H::values::<T>(&product).par_chunks(block))
        .for_each(|(out, rows)| kernels::bias_gelu(rows, bias, out));
    wrap(out)
}

pub(super) fn bias_gelu_backward<T: Element, H: HostBackend>(
    product: Tensor<H, 2>,
    bias: Tensor<H, 1>,
    grad: Tensor<H, 2>,
) -> (Tensor<H, 2>, Tensor<H, 1>) {
    let (product, bias, grad) = (dense(product), dense(bias), dense(grad));
    let mut out = H::any::<T>(product.shape());
    let bias = H::values(&bias);
    let block = BLOCK * bias.len();
    let inputs = H::values::<T>(&product)
        .par_chunks(block)
        .zip(H::values::<T>(&grad).par_chunks(block));
    let partial: Vec<Vec<f32>> = H::values_mut::<T>(&mut out)
        .par_chunks_mut(block)
        .zip(inputs)
        .map(|(out, (rows, grad))| {
            let mut bias_grad = vec![0.0; bias.len()];
            kernels::bias_gelu_backward(rows, bias, grad, out, &mut bias_grad);
            bias_grad
        })
        .collect();
    (wrap(out), wrap(add_up::<H>(&partial, bias.len())))
}

pub(super) fn merge_heads<T: Element, H: HostBackend>(x: Tensor<H, 4>) -> Tensor<H, 3> {
    // Already in the order wanted, as a gradient of split heads or LibTorch's attention may be.
    if H::is_dense(&x.clone().swap_dims(1, 2).into_primitive().tensor()) {
        return plain::merge_heads(x);
    }
    let [batch, heads, seq, size] = x.dims();
    let x = dense(x);
    let mut out = H::any::<T>(Shape::from([batch, seq, heads * size]));
    let values = H::values::<T>(&x);
    H::values_mut::<T>(&mut out)
        .par_chunks_mut((seq * heads * size).max(1))
        .enumerate()
        .for_each(|(row, out)| {
            for (position, out) in out.chunks_exact_mut(heads * size).enumerate() {
                for (head, out) in out.chunks_exact_mut(size).enumerate() {
                    let start = ((row * heads + head) * seq + position) * size;
                    out.copy_from_slice(&values[start..start + size]);
                }
            }
        });
    wrap(out)
}

pub(super) fn gather_rows<T: Element, H: HostBackend>(
    x: Tensor<H, 2>,
    index: &[u32],
) -> Tensor<H, 2> {
    let [_, width] = x.dims();
    let x = dense(x);
    let mut out = H::any::<T>(Shape::from([index.len(), width]));
    let values = H::values::<T>(&x);
    H::values_mut::<T>(&mut out)
        .par_chunks_mut((BLOCK * width).max(1))
        .zip(index.par_chunks(BLOCK))
        .for_each(|(out, index)| {
            for (out, row) in out.chunks_exact_mut(width).zip(index) {
                let start = *row as usize * width;
                match values.get(start..start + width) {
                    Some(row) => out.copy_from_slice(row),
                    None => out.fill(T::narrow(0.0)),
                }
            }
        });
    wrap(out)
}

pub(super) fn softmax<T: Element, H: HostBackend>(
    scores: Tensor<H, 4>,
    mask: Tensor<H, 4>,
    scale: f64,
) -> Tensor<H, 4> {
    let [_, heads, queries, keys] = scores.dims();
    let [_, _, mask_queries, _] = mask.dims();
    let (mut scores, mask) = (dense(scores), dense(mask));
    let (mask, scale) = (H::values(&mask), scale as f32);
    H::values_mut::<T>(&mut scores)
        .par_chunks_mut(BLOCK * keys)
        .enumerate()
        .for_each(|(block, rows)| {
            let mask_row = |row: usize| {
                let row = block * BLOCK + row;
                let (batch, query) = (row / (heads * queries), row % queries);
                (batch * mask_queries + query % mask_queries) * keys
            };
            kernels::masked_softmax(rows, keys, scale, mask, &mask_row);
        });
    wrap(scores)
}

pub(super) fn log_softmax<H: HostBackend>(x: Tensor<H, 2>) -> Tensor<H, 2> {
    let mut x = dense(x);
    let width = width::<H>(&x).max(1);
    H::values_mut::<f32>(&mut x)
        .par_chunks_mut(width)
        .for_each(kernels::log_softmax);
    wrap(x)
}

/// Writes the gradient by the scores in the place of the one by the (dropped) probabilities.
pub(super) fn softmax_backward<T: Element, H: HostBackend>(
    grad: Tensor<H, 4>,
    probabilities: Tensor<H, 4>,
    scale: f64,
    dropped: &Dropped<H, 4>,
) -> Tensor<H, 4> {
    let dropout = dropped.key();
    let (mut grad, probabilities) = (dense(grad), dense(probabilities));
    let width = width::<H>(&grad);
    let block = BLOCK * width;
    H::values_mut::<T>(&mut grad)
        .par_chunks_mut(block)
        .zip(H::values::<T>(&probabilities).par_chunks(block))
        .enumerate()
        .for_each(|(number, (grad, probabilities))| {
            let (first, scale) = (number * block, scale as f32);
            kernels::masked_softmax_backward(grad, probabilities, width, scale, dropout, first);
        });
    wrap(grad)
}

pub(super) fn residual_norm<T: Element, H: HostBackend>(
    product: Tensor<H, 2>,
    residual: Tensor<H, 2>,
    parts: &NormParts<H>,
) -> NormOutput<H> {
    let [rows, width] = product.dims();
    let [product, residual] = [product, residual].map(dense);
    let [bias, gamma, beta] = [&parts.bias, &parts.gamma, &parts.beta].map(|t| dense(t.clone()));
    let dropout = parts.dropped.key();
    let (mut out, mut normalized) = (
        H::any::<f32>(product.shape()),
        H::any::<f32>(product.shape()),
    );
    let mut inverse_std = H::any::<f32>(Shape::from([rows]));
    let block = BLOCK * width;
    let inputs = H::values::<T>(&product)
        .par_chunks(block)
        .zip(H::values(&residual).par_chunks(block));
    H::values_mut(&mut out)
        .par_chunks_mut(block)
        .zip(H::values_mut(&mut normalized).par_chunks_mut(block))
        .zip(H::values_mut(&mut inverse_std).par_chunks_mut(BLOCK))
        .zip(inputs)
        .enumerate()
        .for_each(
            |(number, (((out, normalized), inverse_std), (x, residual)))| {
                let input = NormInput {
                    x,
                    residual,
                    bias: H::values(&bias),
                    gamma: H::values(&gamma),
                    beta: H::values(&beta),
                    epsilon: parts.epsilon as f32,
                    dropout,
                    first: number * block,
                };
                kernels::residual_norm(&input, out, normalized, inverse_std);
            },
        );
    NormOutput {
        output: wrap(out),
        normalized: wrap(normalized),
        inverse_std: wrap(inverse_std),
    }
}

pub(super) fn residual_norm_backward<T: Element, H: HostBackend>(
    grad: Tensor<H, 2>,
    saved: &SavedNorm<H>,
) -> NormGrads<H> {
    let [_, width] = grad.dims();
    let [grad, normalized] = [grad, saved.normalized.clone()].map(dense);
    let [inverse_std, gamma] = [&saved.inverse_std, &saved.gamma].map(|t| dense(t.clone()));
    let dropout = saved.dropped.key();
    let block = BLOCK * width;
    let mut residual = H::any::<f32>(grad.shape());
    // Without dropout and in the same type both gradients are the same.
    let separate = dropout.is_active() || T::DTYPE != DType::F32;
    let mut branch = separate.then(|| H::any::<T>(grad.shape()));
    let branches: Vec<Option<&mut [T]>> = match &mut branch {
        Some(branch) => H::values_mut::<T>(branch)
            .chunks_mut(block)
            .map(Some)
            .collect(),
        None => H::values::<f32>(&grad)
            .chunks(block)
            .map(|_| None)
            .collect(),
    };
    let inputs = H::values(&grad)
        .par_chunks(block)
        .zip(H::values(&normalized).par_chunks(block));
    let partial: Vec<[Vec<f32>; 3]> = H::values_mut(&mut residual)
        .par_chunks_mut(block)
        .zip(branches)
        .zip(inputs)
        .zip(H::values(&inverse_std).par_chunks(BLOCK))
        .enumerate()
        .map(
            |(number, (((residual, branch), (grad, normalized)), inverse_std))| {
                let [mut bias, mut by_gamma, mut beta] = [(); 3].map(|()| vec![0.0; width]);
                let input = NormGrad {
                    grad,
                    normalized,
                    inverse_std,
                    gamma: H::values(&gamma),
                    dropout,
                    first: number * block,
                };
                let mut sums = NormSums {
                    bias: &mut bias,
                    gamma: &mut by_gamma,
                    beta: &mut beta,
                };
                kernels::residual_norm_backward(&input, residual, branch, &mut sums);
                [bias, by_gamma, beta]
            },
        )
        .collect();
    let mut sums = [(); 3].map(|()| Vec::new());
    for block in partial {
        for (sums, part) in sums.iter_mut().zip(block) {
            sums.push(part);
        }
    }
    let [bias, gamma, beta] = sums.map(|sums| wrap(add_up::<H>(&sums, width)));
    let residual: Tensor<H, 2> = wrap(residual);
    NormGrads {
        branch: branch.map_or_else(|| residual.clone(), wrap),
        residual,
        bias,
        gamma,
        beta,
    }
}

/// Values that one thread takes at a time, where there are no rows.
const CHUNK: usize = 1 << 16;

pub(super) fn sum_of_squares<H: HostBackend>(x: Tensor<H, 1>) -> Tensor<H, 1> {
    let x = dense(x);
    let partial: Vec<f32> = H::values(&x)
        .par_chunks(CHUNK)
        .map(kernels::sum_of_squares)
        .collect();
    let mut total = H::any::<f32>(Shape::from([1]));
    let sum: f64 = partial.into_iter().map(f64::from).sum();
    H::values_mut(&mut total)[0] = sum as f32;
    wrap(total)
}

/// In place where nobody else holds the tensor.
pub(super) fn scale<H: HostBackend>(x: Tensor<H, 1>, factor: Tensor<H, 1>) -> Tensor<H, 1> {
    let (mut x, factor) = (dense(x), dense(factor));
    let factor: f32 = H::values(&factor)[0];
    H::values_mut(&mut x)
        .par_chunks_mut(CHUNK)
        .for_each(|values| kernels::scale(values, factor));
    wrap(x)
}

/// Parameter and moments after a step, in place where nobody else holds them.
pub(super) fn adamw<H: HostBackend>(
    step: AdamWStep,
    updated: [Tensor<H, 1>; 3],
    grad: Tensor<H, 1>,
) -> [Tensor<H, 1>; 3] {
    let grad = dense(grad);
    let [mut parameter, mut exp_avg, mut exp_avg_sq] = updated.map(dense);
    H::values_mut(&mut parameter)
        .par_chunks_mut(CHUNK)
        .zip(H::values(&grad).par_chunks(CHUNK))
        .zip(H::values_mut(&mut exp_avg).par_chunks_mut(CHUNK))
        .zip(H::values_mut(&mut exp_avg_sq).par_chunks_mut(CHUNK))
        .for_each(|(((parameter, grad), first), second)| {
            kernels::adamw(step, parameter, grad, first, second);
        });
    [parameter, exp_avg, exp_avg_sq].map(wrap)
}
