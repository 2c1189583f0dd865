//! The kernels on tensors in this process's memory: rows over threads, f32 and bf16. Each passes once
//! over memory where Burn's operations pass many times; bf16 is computed in f32.
//!
//! What is summed over rows is summed per block of [`BLOCK`] rows and then over the blocks, whatever
//! the number of threads: results do not depend on it.

mod attention;
mod cached_attention;
mod convolution;
mod element;
mod flex;
#[cfg(feature = "tch")]
mod libtorch;
mod linear;
mod math;
mod optimizer;
mod residual_norm;
mod rows;
mod small_m_gemm;

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, Tensor, TensorMetadata};
use rayon::prelude::*;

use super::backend::{primitive, tensor as wrap};
use attention::{
    cross_entropy_backward, log_softmax, masked_softmax, masked_softmax_backward, merge_heads,
};
use cached_attention::cached_attention;
use convolution::finish_rows;
use element::Element;
use linear::{add_bias, bias_gate, bias_gate_backward, bias_gelu, bias_gelu_backward, column_sums};
use optimizer::{adamw, scale, sum_of_squares};
use residual_norm::{residual_norm, residual_norm_backward};
use rows::{apply_dropout, gather_rows, top_k};
use small_m_gemm::product;

/// Rows that one thread takes at a time.
const BLOCK: usize = 64;

/// A backend whose tensors may be in this process's memory. The caller names the type of a tensor's
/// elements.
trait HostBackend: Backend {
    /// Most rows for which a product that reads the matrix once, in its order, is faster than the
    /// backend's own.
    const FEW_ROWS: usize;

    /// Whether this device's tensors are in this process's memory.
    fn is_host(device: &Self::Device) -> bool;

    /// Whether the tensor is in row-major order, from the start of a buffer of exactly its size.
    fn is_dense(tensor: &FloatTensor<Self>) -> bool;

    /// The tensor in that layout, copied if it has another.
    fn dense(tensor: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The values of a [`dense`](Self::dense) tensor.
    fn values<T: Element>(tensor: &FloatTensor<Self>) -> &[T];

    /// The values of a [`dense`](Self::dense) tensor, to be overwritten: copied first, if another
    /// tensor shares them.
    fn values_mut<T: Element>(tensor: &mut FloatTensor<Self>) -> &mut [T];

    /// A dense tensor of unspecified values.
    fn allocate<T: Element>(shape: Shape) -> FloatTensor<Self>;
}

/// Implements [`Kernels`](super::kernels::Kernels) for a backend, by `for_each_kernel`: each kernel is
/// the function of this module for the type of its first argument, or Burn's operations where that is
/// not in this process's memory or has another type. Items in braces are added.
macro_rules! host_kernels {
    (($Backend:ty) { $($own:item)* } $(
        $(#[$doc:meta])*
        fn $name:ident $(<const $D:ident: usize>)? (
            $first:ident: $First:ty $(, $argument:ident: $Argument:ty)*
        ) -> $Output:ty = $default:path;
    )*) => {
        impl Kernels for $Backend {
            fn has_keyed_dropout(device: &Self::Device) -> bool {
                Self::is_host(device)
            }

            $(
                fn $name $(<const $D: usize>)? (
                    $first: $First $(, $argument: $Argument)*
                ) -> $Output {
                    match host_dtype(&$first) {
                        Some(DType::F32) => {
                            host::$name::<f32, Self $(, $D)?>($first $(, $argument)*)
                        }
                        Some(DType::BF16) => {
                            host::$name::<bf16, Self $(, $D)?>($first $(, $argument)*)
                        }
                        _ => $default($first $(, $argument)*),
                    }
                }
            )*

            $($own)*
        }
    };
}
use host_kernels;

/// The type of the elements, if they are in this process's memory.
fn host_dtype<H: HostBackend, const D: usize>(tensor: &Tensor<H, D>) -> Option<DType> {
    H::is_host(&tensor.device()).then(|| tensor.dtype())
}

fn dense<H: HostBackend, const D: usize>(tensor: Tensor<H, D>) -> FloatTensor<H> {
    H::dense(primitive(tensor))
}

/// The size of the last axis.
fn width<H: HostBackend>(tensor: &FloatTensor<H>) -> usize {
    tensor.shape().last().copied().unwrap_or(1)
}

/// A vector of these values.
fn vector<H: HostBackend>(values: &[f32]) -> Tensor<H, 1> {
    let mut vector = H::allocate::<f32>(Shape::from([values.len()]));
    H::values_mut(&mut vector).copy_from_slice(values);
    wrap(vector)
}

/// Compiles functions for AVX-512, AVX2 and the baseline; the processor decides at run time.
macro_rules! simd {
    ($($function:item)*) => { $(
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        $function
    )* };
}
use simd;

/// Calls `work` on each block of [`BLOCK`] rows of `values`, over threads, with the range of the block's
/// values.
fn for_each_block<T: Send>(
    values: &mut [T],
    width: usize,
    work: impl Fn(Range<usize>, &mut [T]) + Sync,
) {
    let size = (BLOCK * width).max(1);
    let blocks = values.par_chunks_mut(size).enumerate();
    blocks.for_each(|(number, block)| {
        let start = number * size;
        work(start..start + block.len(), block);
    });
}

/// Sums over rows: `work` adds those of each block, with its number, to zeros `[width]`.
fn sum_blocks<I: Send>(
    blocks: impl IndexedParallelIterator<Item = I>,
    width: usize,
    work: impl Fn(usize, I, &mut [f32]) + Sync,
) -> Vec<f32> {
    let of_block = |(number, block)| {
        let mut sums = vec![0.0; width];
        work(number, block, &mut sums);
        sums
    };
    let blocks: Vec<Vec<f32>> = blocks.enumerate().map(of_block).collect();
    let mut total = vec![0.0; width];
    for sums in &blocks {
        linear::sum_rows(sums, &mut total);
    }
    total
}
