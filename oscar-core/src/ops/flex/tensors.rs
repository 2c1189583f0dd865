//! The fused operations as plain functions on tensors of the CPU backend: rows over threads.

use burn::tensor::{Distribution, Shape, Tensor, TensorData, TensorMetadata, TensorPrimitive};
use burn_flex::{Flex, FlexDevice, FlexTensor};
use rayon::prelude::*;

use crate::ops::backend::AdamWStep;
use crate::ops::kernels::{self, BLOCK, Dropout, NormGrad, NormInput, NormSums};

pub(super) fn plain<const D: usize>(tensor: Tensor<Flex, D>) -> FlexTensor {
    tensor.into_primitive().tensor()
}

pub(super) fn wrap<const D: usize>(tensor: FlexTensor) -> Tensor<Flex, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

/// The tensor in row-major order, from the start of a buffer of exactly its size.
pub(super) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    let whole = tensor.is_contiguous()
        && tensor.layout().start_offset() == 0
        && tensor.bytes().len() == tensor.layout().num_elements() * size_of::<f32>();
    match whole {
        true => tensor,
        false => FlexTensor::from_data(tensor.into_data()),
    }
}

/// The values of a [`contiguous`] tensor.
pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.storage()
}

pub(super) fn from_values(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

pub(super) fn last_dim(tensor: &FlexTensor) -> usize {
    tensor.shape().last().copied().unwrap_or(1)
}

pub(super) fn matmul(lhs: FlexTensor, rhs: FlexTensor) -> FlexTensor {
    <Flex as burn::tensor::ops::FloatTensorOps<Flex>>::float_matmul(lhs, rhs)
}

/// A key from Burn's generator, so that `B::seed` decides which elements are dropped.
pub(super) fn draw(probability: f64) -> Dropout {
    if probability == 0.0 {
        return Dropout::new(0.0, [0, 0]);
    }
    let numbers = Tensor::<Flex, 1>::random([4], Distribution::Uniform(0.0, 65_536.0), &FlexDevice);
    let halves: Vec<u32> = numbers
        .into_data()
        .iter::<f32>()
        .map(|x| x as u32)
        .collect();
    Dropout::new(
        probability,
        [halves[0] << 16 ^ halves[1], halves[2] << 16 ^ halves[3]],
    )
}

pub(super) fn linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
    let mut product = matmul(x, weight);
    let bias = contiguous(bias);
    let bias = values(&bias);
    product
        .storage_mut::<f32>()
        .par_chunks_mut(BLOCK * bias.len())
        .for_each(|rows| kernels::add_bias(rows, bias));
    product
}

pub(super) fn gelu(product: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let (rows, bias) = (values(product), values(bias));
    let mut out = vec![0.0; rows.len()];
    let block = BLOCK * bias.len();
    out.par_chunks_mut(block)
        .zip(rows.par_chunks(block))
        .for_each(|(out, rows)| kernels::bias_gelu(rows, bias, out));
    from_values(out, product.shape())
}

/// Gradients by the product and by the bias.
pub(super) fn gelu_backward(
    product: &FlexTensor,
    bias: &FlexTensor,
    grad: &FlexTensor,
) -> (FlexTensor, FlexTensor) {
    let (rows, bias) = (values(product), values(bias));
    let mut out = vec![0.0; rows.len()];
    let block = BLOCK * bias.len();
    let partial: Vec<Vec<f32>> = out
        .par_chunks_mut(block)
        .zip(rows.par_chunks(block).zip(values(grad).par_chunks(block)))
        .map(|(out, (rows, grad))| {
            let mut bias_grad = vec![0.0; bias.len()];
            kernels::bias_gelu_backward(rows, bias, grad, out, &mut bias_grad);
            bias_grad
        })
        .collect();
    (
        from_values(out, product.shape()),
        add_up(partial, bias.len()),
    )
}

pub(super) fn column_sums(rows: &FlexTensor) -> FlexTensor {
    let width = last_dim(rows);
    let partial: Vec<Vec<f32>> = values(rows)
        .par_chunks(BLOCK * width)
        .map(|rows| {
            let mut sums = vec![0.0; width];
            kernels::sum_rows(rows, &mut sums);
            sums
        })
        .collect();
    add_up(partial, width)
}

/// The sum of the blocks' sums, in the order of the blocks.
pub(super) fn add_up(partial: Vec<Vec<f32>>, width: usize) -> FlexTensor {
    let mut total = vec![0.0; width];
    for sums in &partial {
        kernels::sum_rows(sums, &mut total);
    }
    from_values(total, Shape::from([width]))
}

/// A view: nothing is copied.
pub(super) fn split_heads(x: FlexTensor, heads: usize) -> FlexTensor {
    let [batch, seq, width] = x.shape().dims();
    x.reshape(Shape::from([batch, seq, heads, width / heads]))
        .transpose(1, 2)
}

pub(super) fn merge_heads(x: FlexTensor) -> FlexTensor {
    let [batch, heads, seq, size] = x.shape().dims();
    let shape = Shape::from([batch, seq, heads * size]);
    // Already in the order wanted, as a gradient of split heads may be.
    let swapped = x.transpose(1, 2);
    if swapped.is_contiguous() {
        return swapped.reshape(shape);
    }
    let x = contiguous(x);
    let x = values(&x);
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(seq * heads * size)
        .enumerate()
        .for_each(|(row, out)| {
            for (position, out) in out.chunks_exact_mut(heads * size).enumerate() {
                for (head, out) in out.chunks_exact_mut(size).enumerate() {
                    let start = ((row * heads + head) * seq + position) * size;
                    out.copy_from_slice(&x[start..start + size]);
                }
            }
        });
    from_values(out, shape)
}

pub(super) fn softmax(scores: FlexTensor, mask: &FlexTensor, scale: f32) -> FlexTensor {
    let [_, heads, queries, keys] = scores.shape().dims();
    let [_, _, mask_queries, _] = mask.shape().dims();
    let mask = values(mask);
    let mut scores = contiguous(scores);
    scores
        .storage_mut::<f32>()
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
    scores
}

/// Gradient by the scores, in the place of the one by the (dropped) probabilities.
pub(super) fn softmax_backward(
    mut grad: FlexTensor,
    probabilities: &FlexTensor,
    scale: f32,
    dropout: Dropout,
) -> FlexTensor {
    let width = last_dim(&grad);
    let block = BLOCK * width;
    grad.storage_mut::<f32>()
        .par_chunks_mut(block)
        .zip(values(probabilities).par_chunks(block))
        .enumerate()
        .for_each(|(number, (grad, probabilities))| {
            let first = number * block;
            kernels::masked_softmax_backward(grad, probabilities, width, scale, dropout, first);
        });
    grad
}

pub(super) fn drop_out(tensor: &FlexTensor, dropout: Dropout) -> FlexTensor {
    let input = values(tensor);
    let mut out = vec![0.0; input.len()];
    let block = BLOCK * 64;
    out.par_chunks_mut(block)
        .zip(input.par_chunks(block))
        .enumerate()
        .for_each(|(number, (out, input))| kernels::drop_out(input, dropout, number * block, out));
    from_values(out, tensor.shape())
}

/// Everything a residual norm needs beside its two inputs.
pub(super) struct NormParts {
    pub bias: FlexTensor,
    pub gamma: FlexTensor,
    pub beta: FlexTensor,
    pub epsilon: f32,
    pub dropout: Dropout,
}

/// Output, normalised rows and 1/σ.
pub(super) fn residual_norm(
    product: &FlexTensor,
    residual: &FlexTensor,
    parts: &NormParts,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let x = values(product);
    let width = last_dim(product);
    let rows = x.len() / width;
    let (mut out, mut normalized) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let mut inverse_std = vec![0.0; rows];
    let block = BLOCK * width;
    out.par_chunks_mut(block)
        .zip(normalized.par_chunks_mut(block))
        .zip(inverse_std.par_chunks_mut(BLOCK))
        .zip(x.par_chunks(block).zip(values(residual).par_chunks(block)))
        .enumerate()
        .for_each(
            |(number, (((out, normalized), inverse_std), (x, residual)))| {
                let input = NormInput {
                    x,
                    residual,
                    bias: values(&parts.bias),
                    gamma: values(&parts.gamma),
                    beta: values(&parts.beta),
                    epsilon: parts.epsilon,
                    dropout: parts.dropout,
                    first: number * block,
                };
                kernels::residual_norm(&input, out, normalized, inverse_std);
            },
        );
    (
        from_values(out, product.shape()),
        from_values(normalized, product.shape()),
        from_values(inverse_std, Shape::from([rows])),
    )
}

/// Gradients of a residual norm.
pub(super) struct NormGrads {
    pub branch: FlexTensor,
    pub residual: FlexTensor,
    pub bias: FlexTensor,
    pub gamma: FlexTensor,
    pub beta: FlexTensor,
}

/// What a residual norm keeps for its gradients.
#[derive(Clone, Debug)]
pub(super) struct SavedNorm {
    pub x: FlexTensor,
    pub weight: FlexTensor,
    pub normalized: FlexTensor,
    pub inverse_std: FlexTensor,
    pub gamma: FlexTensor,
    pub dropout: Dropout,
}

pub(super) fn residual_norm_backward(grad: &FlexTensor, saved: &SavedNorm) -> NormGrads {
    let width = last_dim(grad);
    let block = BLOCK * width;
    let len = values(grad).len();
    let mut residual = vec![0.0; len];
    // Without dropout both gradients are the same.
    let mut branch = vec![0.0; if saved.dropout.is_active() { len } else { 0 }];
    let branches: Vec<Option<&mut [f32]>> = match saved.dropout.is_active() {
        true => branch.chunks_mut(block).map(Some).collect(),
        false => (0..len.div_ceil(block)).map(|_| None).collect(),
    };
    let partial: Vec<[Vec<f32>; 3]> = residual
        .par_chunks_mut(block)
        .zip(branches)
        .zip(
            values(grad)
                .par_chunks(block)
                .zip(values(&saved.normalized).par_chunks(block)),
        )
        .zip(values(&saved.inverse_std).par_chunks(BLOCK))
        .enumerate()
        .map(
            |(number, (((residual, branch), (grad, normalized)), inverse_std))| {
                let [mut bias, mut gamma, mut beta] = [(); 3].map(|()| vec![0.0; width]);
                let input = NormGrad {
                    grad,
                    normalized,
                    inverse_std,
                    gamma: values(&saved.gamma),
                    dropout: saved.dropout,
                    first: number * block,
                };
                let mut sums = NormSums {
                    bias: &mut bias,
                    gamma: &mut gamma,
                    beta: &mut beta,
                };
                kernels::residual_norm_backward(&input, residual, branch, &mut sums);
                [bias, gamma, beta]
            },
        )
        .collect();
    let mut sums = [(); 3].map(|()| Vec::new());
    for block in partial {
        for (sums, part) in sums.iter_mut().zip(block) {
            sums.push(part);
        }
    }
    let [bias, gamma, beta] = sums.map(|sums| add_up(sums, width));
    let residual = from_values(residual, grad.shape());
    let branch = match saved.dropout.is_active() {
        true => from_values(branch, grad.shape()),
        false => residual.clone(),
    };
    NormGrads {
        branch,
        residual,
        bias,
        gamma,
        beta,
    }
}

/// Parameter and moments after a step.
pub(super) fn adamw(
    step: AdamWStep,
    mut tensors: [FlexTensor; 3],
    grad: &FlexTensor,
) -> [FlexTensor; 3] {
    /// Values that one thread takes at a time.
    const CHUNK: usize = 1 << 16;
    let [parameter, exp_avg, exp_avg_sq] = &mut tensors;
    parameter
        .storage_mut::<f32>()
        .par_chunks_mut(CHUNK)
        .zip(values(grad).par_chunks(CHUNK))
        .zip(exp_avg.storage_mut::<f32>().par_chunks_mut(CHUNK))
        .zip(exp_avg_sq.storage_mut::<f32>().par_chunks_mut(CHUNK))
        .for_each(|(((parameter, grad), first), second)| {
            kernels::adamw(step, parameter, grad, first, second);
        });
    tensors
}
