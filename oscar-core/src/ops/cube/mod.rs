//! The fused steps on backends whose kernels CubeCL compiles: CUDA, Vulkan, Metal.
//!
//! Dropout is a function of a key and the element's index, as on the CPU, so the same seed drops the
//! same elements on every backend, and nothing is kept for the gradient.

#[cfg(feature = "tuned")]
mod fusion;
mod kernels;
mod launch;

use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape, Tensor, TensorMetadata, TensorPrimitive};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::backend::{AdamWStep, RowIndex, TopK};
use super::fused::{Dropped, Kernels, NormGrads, NormOutput, NormParts, SavedNorm};
use super::precision::to_f32;
use super::{composed, plain};

/// A backend that can run kernels of this crate.
pub trait CubeOps: Backend {
    /// What compiles and runs them.
    type Runtime: CubeRuntime;

    /// Whether Burn joins element-wise operations to those around them, so that a kernel of ours
    /// would only stand between.
    const JOINS: bool;

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
    ) -> [FloatTensor<Self>; O];
}

impl<R, F, I, T> CubeOps for CubeBackend<R, F, I, T>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    type Runtime = R;

    const JOINS: bool = false;

    fn argument(tensor: CubeTensor<R>) -> CubeTensor<R> {
        tensor
    }

    fn run<const N: usize, const O: usize>(
        _: &'static str,
        inputs: [CubeTensor<R>; N],
        _: [(Shape, DType); O],
        kernel: impl Fn([CubeTensor<R>; N]) -> [CubeTensor<R>; O] + Send + Sync + 'static,
    ) -> [CubeTensor<R>; O] {
        kernel(inputs)
    }
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

fn wrap<B: Backend, const D: usize>(tensor: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

/// Shape and type of a result that is like this tensor.
fn like<B: Backend>(tensor: &FloatTensor<B>) -> (Shape, DType) {
    (tensor.shape(), tensor.dtype())
}

impl<B: CubeOps> Kernels for B {
    fn draw<const D: usize>(_: [usize; D], probability: f64, _: &B::Device) -> Dropped<B, D> {
        Dropped::by_key(probability)
    }

    fn drop_out<const D: usize>(x: Tensor<B, D>, dropped: &Dropped<B, D>) -> Tensor<B, D> {
        let Dropped::Key(dropout) = *dropped else {
            return x;
        };
        let x = primitive(x);
        let out = [like::<B>(&x)];
        let [out] = B::run("oscar_drop_out", [x], out, move |[x]| {
            [launch::drop_out(x, dropout)]
        });
        wrap(out)
    }

    fn bias_gelu(product: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, 2> {
        if B::JOINS {
            return composed::bias_gelu(product, bias);
        }
        let inputs = [primitive(product), primitive(bias)];
        let out = [like::<B>(&inputs[0])];
        let [out] = B::run("oscar_bias_gelu", inputs, out, |[product, bias]| {
            [launch::bias_gelu(product, bias)]
        });
        wrap(out)
    }

    fn bias_gelu_backward(
        product: Tensor<B, 2>,
        bias: Tensor<B, 1>,
        grad: Tensor<B, 2>,
    ) -> (Tensor<B, 2>, Tensor<B, 1>) {
        if B::JOINS {
            return composed::bias_gelu_backward(product, bias, grad);
        }
        let [rows, width] = product.dims();
        let inputs = [primitive(product), primitive(bias), primitive(grad)];
        let sums = Shape::from([launch::blocks(rows), width]);
        let outputs = [like::<B>(&inputs[2]), (sums, DType::F32)];
        let [out, sums] = B::run("oscar_bias_gelu_backward", inputs, outputs, |inputs| {
            launch::bias_gelu_backward(inputs)
        });
        (wrap(out), composed::column_sums(wrap(sums)))
    }

    fn masked_softmax(scores: Tensor<B, 4>, mask: Tensor<B, 4>, scale: f64) -> Tensor<B, 4> {
        let inputs = [primitive(scores), primitive(mask)];
        let out = [like::<B>(&inputs[0])];
        let [out] = B::run(
            "oscar_masked_softmax",
            inputs,
            out,
            move |[scores, mask]| [launch::masked_softmax(scores, mask, scale as f32)],
        );
        wrap(out)
    }

    fn masked_softmax_backward(
        grad: Tensor<B, 4>,
        probabilities: Tensor<B, 4>,
        scale: f64,
        dropped: &Dropped<B, 4>,
    ) -> Tensor<B, 4> {
        let dropout = dropped.key();
        let inputs = [primitive(grad), primitive(probabilities)];
        let out = [like::<B>(&inputs[0])];
        let name = "oscar_masked_softmax_backward";
        let [out] = B::run(name, inputs, out, move |inputs| {
            [launch::masked_softmax_backward(
                inputs,
                scale as f32,
                dropout,
            )]
        });
        wrap(out)
    }

    fn residual_norm(
        product: Tensor<B, 2>,
        residual: Tensor<B, 2>,
        parts: &NormParts<B>,
    ) -> NormOutput<B> {
        let (epsilon, dropout) = (parts.epsilon as f32, parts.dropped.key());
        let [rows, _] = residual.dims();
        let vectors = [&parts.bias, &parts.gamma, &parts.beta];
        let [bias, gamma, beta] = vectors.map(|vector| primitive(vector.clone()));
        let inputs = [primitive(product), primitive(residual), bias, gamma, beta];
        let full = like::<B>(&inputs[1]);
        let outputs = [full.clone(), full, (Shape::from([rows]), DType::F32)];
        let [output, normalized, inverse_std] =
            B::run("oscar_residual_norm", inputs, outputs, move |inputs| {
                launch::residual_norm(inputs, epsilon, dropout)
            });
        NormOutput {
            output: wrap(output),
            normalized: wrap(normalized),
            inverse_std: wrap(inverse_std),
        }
    }

    fn residual_norm_backward(grad: Tensor<B, 2>, saved: &SavedNorm<B>) -> NormGrads<B> {
        let (dropout, dtype) = (saved.dropped.key(), saved.product_dtype);
        let [rows, width] = grad.dims();
        let inputs = [
            primitive(grad),
            primitive(saved.normalized.clone()),
            primitive(saved.inverse_std.clone()),
            primitive(saved.gamma.clone()),
        ];
        let (shape, wide) = like::<B>(&inputs[0]);
        let sums = Shape::from([launch::blocks(rows), 3 * width]);
        let outputs = [(shape.clone(), wide), (shape, dtype), (sums, DType::F32)];
        let name = "oscar_residual_norm_backward";
        let [residual, branch, sums] = B::run(name, inputs, outputs, move |inputs| {
            launch::residual_norm_backward(inputs, dropout, dtype)
        });
        let sums: Tensor<B, 1> = composed::column_sums(wrap(sums));
        let [bias, gamma, beta] = [0, 1, 2].map(|part| sums.clone().narrow(0, part * width, width));
        NormGrads {
            branch: wrap(branch),
            residual: wrap(residual),
            bias,
            gamma,
            beta,
        }
    }

    fn gather_rows(x: Tensor<B, 2>, index: &RowIndex<B>) -> Tensor<B, 2> {
        let [_, width] = x.dims();
        let [rows] = index.device.dims();
        let inputs = [
            primitive(x),
            B::argument(index.device.clone().into_primitive()),
        ];
        let out = [(Shape::from([rows, width]), inputs[0].dtype())];
        let [out] = B::run("oscar_gather_rows", inputs, out, |[x, index]| {
            [launch::gather_rows(x, index)]
        });
        wrap(out)
    }

    /// One kernel and one reading, where composed operations read twice per value.
    fn top_k(x: Tensor<B, 2>, k: usize) -> TopK {
        let [rows, columns] = x.dims();
        let k = k.min(columns);
        let out = [(Shape::from([rows, 2, k]), DType::F32)];
        let [out] = B::run("oscar_top_k", [primitive(to_f32(x))], out, move |[x]| {
            [launch::top_k(x, k)]
        });
        let found: Vec<f32> = wrap::<B, 3>(out).into_data().iter::<f32>().collect();
        let entries = found.chunks_exact((2 * k).max(1)).flat_map(|row| {
            let (columns, values) = row.split_at(k);
            columns
                .iter()
                .map(|column| *column as u32)
                .zip(values.iter().copied())
        });
        TopK {
            k,
            entries: entries.collect(),
        }
    }

    /// A sum of a few sums, since one number after the other loses digits.
    fn sum_of_squares(x: Tensor<B, 1>) -> Tensor<B, 1> {
        let [len] = x.dims();
        let out = [(Shape::from([launch::parts(len)]), DType::F32)];
        let [sums] = B::run("oscar_sums_of_squares", [primitive(x)], out, |[x]| {
            [launch::sums_of_squares(x)]
        });
        wrap::<B, 1>(sums).sum()
    }

    fn adamw(
        step: AdamWStep,
        parameter: Tensor<B, 1>,
        grad: Tensor<B, 1>,
        exp_avg: Tensor<B, 1>,
        exp_avg_sq: Tensor<B, 1>,
    ) -> [Tensor<B, 1>; 3] {
        if B::JOINS {
            return plain::adamw(step, parameter, grad, exp_avg, exp_avg_sq);
        }
        let inputs = [parameter, grad, exp_avg, exp_avg_sq].map(primitive);
        let out = like::<B>(&inputs[0]);
        let outputs = [out.clone(), out.clone(), out];
        B::run("oscar_adamw", inputs, outputs, move |inputs| {
            launch::adamw(inputs, step)
        })
        .map(wrap)
    }
}
