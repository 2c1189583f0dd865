//! The kernels on backends that CubeCL compiles for: CUDA, Vulkan, Metal.
//!
//! Dropout is a function of a key and the element's index, as on the CPU, so the same seed drops the
//! same elements on every backend, and nothing is kept for the gradient.

mod all_reduce;
mod attend_backward_kernels;
mod attend_kernels;
mod attention;
#[cfg(feature = "tuned")]
mod fusion;
mod head_kernels;
mod heads;
mod kernels;
mod launch;
mod norm;
mod norm_kernels;
mod optimizer;
mod optimizer_kernels;
mod softmax;
mod softmax_kernels;
mod sum_kernels;
mod sums;
mod tile_kernels;

use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::cubecl::prelude::ComputeClient;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::backend::{primitive, tensor};
use super::kernels::Kernels;
use super::precision::to_f32;
use super::shapes::{block_rows, check_shape};
use super::{
    AdamWUpdate, AllReduce, Attended, DropoutMask, Guard, HeadLayout, NormGrads, NormOutput,
    NormParams, RowAttention, RowIndex, SavedNorm,
};
use super::{TopK, Updated, self_attention};
use launch::{Grid, addresses, drop_key, is_empty, launch};

/// A backend that can run kernels of this crate.
pub trait CubeOps: Backend {
    /// Compiles and runs them.
    type Runtime: CubeRuntime;

    /// Launches on this device.
    fn client(device: &Self::Device) -> ComputeClient<Self::Runtime>;

    /// An integer tensor as an argument of [`run`](Self::run).
    fn argument(tensor: IntTensor<Self>) -> FloatTensor<Self>;

    /// Runs `kernel`, which gives tensors of these shapes and types; at once, or when its results
    /// are needed. All calls of one `name` do the same to inputs of the same shapes.
    fn run<const I: usize, const O: usize>(
        name: &'static str,
        inputs: [FloatTensor<Self>; I],
        outputs: [(Shape, DType); O],
        kernel: impl Fn([CubeTensor<Self::Runtime>; I]) -> [CubeTensor<Self::Runtime>; O]
        + Send
        + Sync
        + 'static,
    ) -> [FloatTensor<Self>; O] {
        let outputs = Self::run_many(name, inputs.into(), outputs.into(), move |inputs| {
            let inputs = inputs.try_into().ok().expect("as many tensors as given");
            kernel(inputs).into()
        });
        outputs
            .try_into()
            .ok()
            .expect("as many tensors as described")
    }

    /// As [`run`](Self::run), for numbers of tensors that the program decides.
    fn run_many(
        name: &'static str,
        inputs: Vec<FloatTensor<Self>>,
        outputs: Vec<(Shape, DType)>,
        kernel: impl Fn(Vec<CubeTensor<Self::Runtime>>) -> Vec<CubeTensor<Self::Runtime>>
        + Send
        + Sync
        + 'static,
    ) -> Vec<FloatTensor<Self>>;
}

impl<R, F, I, T> CubeOps for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    type Runtime = R;

    fn client(device: &R::Device) -> ComputeClient<R> {
        R::client(device)
    }

    fn argument(tensor: CubeTensor<R>) -> CubeTensor<R> {
        tensor
    }

    fn run_many(
        _: &'static str,
        inputs: Vec<CubeTensor<R>>,
        _: Vec<(Shape, DType)>,
        kernel: impl Fn(Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> + Send + Sync + 'static,
    ) -> Vec<CubeTensor<R>> {
        kernel(inputs)
    }
}

/// Integers as an argument of [`CubeOps::run`], and their type.
fn argument<B: CubeOps>(numbers: Tensor<B, 1, Int>) -> (Tensor<B, 1>, DType) {
    let dtype = numbers.dtype();
    (tensor(B::argument(numbers.into_primitive())), dtype)
}

impl<B: CubeOps> Kernels for B {
    fn has_keyed_dropout(_: &B::Device) -> bool {
        true
    }

    fn apply_dropout<const D: usize>(x: Tensor<B, D>, mask: &DropoutMask<B, D>) -> Tensor<B, D> {
        let DropoutMask::Keyed(dropout) = *mask else {
            return x;
        };
        let (shape, dtype) = (x.dims(), x.dtype());
        let len = shape.iter().product();
        let [out] = launch!(
            apply_dropout(x: shape) -> (out: shape as dtype),
            Grid::Elements(len), |_| (len, drop_key(dropout), dtype.into())
        );
        tensor(out)
    }

    fn bias_gelu(product: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, 2> {
        let ([rows, width], dtype) = (product.dims(), product.dtype());
        let [out] = launch!(
            bias_gelu(product: [rows, width], bias: [width]) -> (out: [rows, width] as dtype),
            Grid::Elements(rows * width), |_| (rows * width, width, dtype.into())
        );
        tensor(out)
    }

    fn bias_gelu_backward(
        product: Tensor<B, 2>,
        bias: Tensor<B, 1>,
        grad: Tensor<B, 2>,
    ) -> (Tensor<B, 2>, Tensor<B, 1>) {
        let ([rows, width], dtype) = (product.dims(), grad.dtype());
        let block = block_rows(rows);
        let [out, sums] = launch!(
            bias_gelu_backward(product: [rows, width], bias: [width], grad: [rows, width])
                -> (out: [rows, width] as dtype, sums: [rows.div_ceil(block), width] as DType::F32),
            Grid::Columns(rows, width), |_| (rows, width, block, dtype.into())
        );
        (tensor(out), sums::column_sums(tensor(sums)))
    }

    fn column_sums(x: Tensor<B, 2>) -> Tensor<B, 1> {
        sums::column_sums(x)
    }

    fn three_column_sums(x: Tensor<B, 2>) -> [Tensor<B, 1>; 3] {
        sums::three_column_sums(x)
    }

    fn masked_softmax(scores: Tensor<B, 4>, mask: Tensor<B, 4>, scale: f64) -> Tensor<B, 4> {
        softmax::masked_softmax(scores, mask, scale)
    }

    fn dropped_softmax(
        scores: Tensor<B, 4>,
        mask: Tensor<B, 4>,
        scale: f64,
        dropout: &DropoutMask<B, 4>,
    ) -> [Tensor<B, 4>; 2] {
        softmax::dropped_softmax(scores, mask, scale, dropout)
    }

    fn masked_softmax_backward(
        grad: Tensor<B, 4>,
        probabilities: Tensor<B, 4>,
        scale: f64,
        mask: &DropoutMask<B, 4>,
    ) -> Tensor<B, 4> {
        softmax::masked_softmax_backward(grad, probabilities, scale, mask)
    }

    fn has_costly_launches(_: &B::Device) -> bool {
        true
    }

    fn join_columns(parts: [Tensor<B, 2>; 3]) -> Tensor<B, 2> {
        heads::join_columns(parts)
    }

    fn split_columns(x: Tensor<B, 2>) -> [Tensor<B, 2>; 3] {
        heads::split_columns(x)
    }

    fn rows_to_heads(x: Tensor<B, 2>, layout: &HeadLayout<B>) -> Tensor<B, 4> {
        heads::rows_to_heads(x, layout)
    }

    fn rows_to_three_heads(
        x: Tensor<B, 2>,
        biases: [Tensor<B, 1>; 3],
        layout: &HeadLayout<B>,
    ) -> [Tensor<B, 4>; 3] {
        heads::rows_to_three_heads(x, biases, layout)
    }

    fn heads_to_rows(x: Tensor<B, 4>, layout: &HeadLayout<B>) -> Tensor<B, 2> {
        heads::heads_to_rows(x, layout)
    }

    fn three_heads_to_rows(heads: [Tensor<B, 4>; 3], layout: &HeadLayout<B>) -> Tensor<B, 2> {
        heads::three_heads_to_rows(heads, layout)
    }

    fn layer_norm(x: Tensor<B, 2>, vectors: [Tensor<B, 1>; 2], epsilon: f64) -> NormOutput<B> {
        norm::layer_norm(x, vectors, epsilon)
    }

    fn cross_entropy(
        logits: Tensor<B, 2>,
        labels: Tensor<B, 1, Int>,
    ) -> (Tensor<B, 1>, Tensor<B, 2>) {
        softmax::cross_entropy(logits, labels)
    }

    fn cross_entropy_backward(
        logarithms: Tensor<B, 2>,
        labels: Tensor<B, 1, Int>,
        grad: Tensor<B, 1>,
    ) -> Tensor<B, 2> {
        softmax::cross_entropy_backward(logarithms, labels, grad)
    }

    fn attend_rows(
        x: Tensor<B, 2>,
        biases: [Tensor<B, 1>; 3],
        params: &RowAttention<B>,
    ) -> (Tensor<B, 2>, Attended<B>) {
        let [_, width] = x.dims();
        if !attention::fits(width / 3, &params.keys, &x.device()) {
            return self_attention::attend_rows(x, biases, params);
        }
        let tiles = attention::attend(x, biases, params);
        (tiles.output.clone(), Attended::Tiles(tiles))
    }

    fn attend_rows_backward(
        grad: Tensor<B, 2>,
        attended: Attended<B>,
        params: &RowAttention<B>,
    ) -> Tensor<B, 2> {
        match attended {
            Attended::Tiles(tiles) => attention::attend_backward(grad, tiles, params),
            attended => self_attention::attend_rows_backward(grad, attended, params),
        }
    }

    fn residual_norm(
        product: Tensor<B, 2>,
        residual: Tensor<B, 2>,
        params: &NormParams<B>,
    ) -> NormOutput<B> {
        norm::residual_norm(product, residual, params)
    }

    fn residual_norm_backward(grad: Tensor<B, 2>, saved: &SavedNorm<B>) -> NormGrads<B> {
        norm::residual_norm_backward(grad, None, saved)
    }

    fn residual_norm_backward_of_two(
        [first, second]: [Tensor<B, 2>; 2],
        saved: &SavedNorm<B>,
    ) -> NormGrads<B> {
        norm::residual_norm_backward(first, Some(second), saved)
    }

    fn gather_rows(x: Tensor<B, 2>, index: &RowIndex<B>) -> Tensor<B, 2> {
        let ([from, width], [rows], dtype) = (x.dims(), index.device.dims(), x.dtype());
        let (index, index_dtype) = argument(index.device.clone());
        let [out] = launch!(
            gather_rows(x: [from, width], index: [rows]) -> (out: [rows, width] as dtype),
            Grid::Elements(rows * width),
            |_| (rows * width, from, width, [dtype.into(), index_dtype.into()])
        );
        tensor(out)
    }

    /// One kernel and one copy to the host, where Burn's operations make two copies per value.
    fn top_k(x: Tensor<B, 2>, k: usize) -> TopK {
        let [rows, width] = x.dims();
        let (x, k) = (to_f32(x), k.min(width));
        let [out] = launch!(
            top_k(x: [rows, width]) -> (out: [rows, 2, k] as DType::F32),
            Grid::Rows(rows, width), |units| (rows, width, k, units)
        );
        let found: Vec<f32> = tensor::<B, 3>(out).into_data().iter::<f32>().collect();
        let entries = found.chunks_exact((2 * k).max(1)).flat_map(|row| {
            let (columns, values) = row.split_at(k);
            let columns = columns.iter().map(|column| *column as u32);
            columns.zip(values.iter().copied())
        });
        TopK {
            k,
            entries: entries.collect(),
        }
    }

    fn is_asynchronous(_: &B::Device) -> bool {
        true
    }

    fn all_reduce() -> Option<AllReduce<B>> {
        all_reduce::of_runtime::<B>()
    }

    fn collect(values: Vec<Tensor<B, 1>>) -> Tensor<B, 1> {
        optimizer::collect::<B>(values)
    }

    fn joint_norm(grads: Vec<FloatTensor<B>>) -> Tensor<B, 1> {
        optimizer::joint_norm::<B>(grads)
    }

    fn clip(grads: Vec<FloatTensor<B>>, norm: Tensor<B, 1>, max_norm: f64) -> Vec<FloatTensor<B>> {
        optimizer::clip::<B>(grads, norm, max_norm)
    }

    fn adamw_all(updates: Vec<AdamWUpdate<B>>, guard: &Guard<B>) -> Vec<Updated<B>> {
        optimizer::adamw_all::<B>(updates, guard)
    }
}
