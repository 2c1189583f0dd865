//! The fused steps on LibTorch: this crate's loops on the CPU, composed operations on GPUs.
//!
//! LibTorch multiplies the matrices. Its own steps between them are no faster than ours, and their
//! dropout draws and keeps a mask.

use burn::tensor::{DType, Shape, Tensor, TensorMetadata};
use burn_tch::{LibTorch, LibTorchDevice, TchTensor};
use tch::{Device, Kind};

use super::backend::{AdamWStep, TopK};
use super::fused::{Dropped, FusedOps, NormGrads, NormOutput, NormParts, SavedNorm};
use super::host::{self, HostBackend};
use super::precision::{to, wide};
use super::{composed, plain};

impl HostBackend for LibTorch {
    fn dense(tensor: TchTensor) -> TchTensor {
        match tensor.tensor.is_contiguous() {
            true => tensor,
            false => TchTensor::new(tensor.tensor.contiguous()),
        }
    }

    fn values(tensor: &TchTensor) -> &[f32] {
        let len = tensor.tensor.numel();
        debug_assert_eq!(tensor.dtype(), DType::F32);
        if len == 0 {
            return &[];
        }
        // SAFETY: a contiguous tensor of `len` floats in this process's memory, which the borrow
        // keeps alive; nobody writes to a tensor that is shared.
        unsafe { std::slice::from_raw_parts(tensor.tensor.data_ptr().cast(), len) }
    }

    fn values_mut(tensor: &mut TchTensor) -> &mut [f32] {
        if !tensor.can_mut() {
            *tensor = TchTensor::new(tensor.tensor.copy());
        }
        let len = tensor.tensor.numel();
        debug_assert_eq!(tensor.dtype(), DType::F32);
        if len == 0 {
            return &mut [];
        }
        // SAFETY: as above, and no other tensor shares the memory.
        unsafe { std::slice::from_raw_parts_mut(tensor.tensor.data_ptr().cast(), len) }
    }

    fn any(shape: Shape) -> TchTensor {
        let size: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        TchTensor::new(tch::Tensor::empty(size, (Kind::Float, Device::Cpu)))
    }
}

/// Whether the tensor lies in this process's memory.
fn on_host<const D: usize>(x: &Tensor<LibTorch, D>) -> bool {
    x.device() == LibTorchDevice::Cpu
}

impl FusedOps for LibTorch {
    fn draw<const D: usize>(
        shape: [usize; D],
        probability: f64,
        device: &LibTorchDevice,
    ) -> Dropped<Self, D> {
        match device {
            LibTorchDevice::Cpu => host::draw(probability),
            device => composed::draw(shape, probability, device),
        }
    }

    fn drop_out<const D: usize>(x: Tensor<Self, D>, dropped: &Dropped<Self, D>) -> Tensor<Self, D> {
        match dropped {
            Dropped::Key(_) => {
                let dtype = x.dtype();
                to(host::drop_out(wide(x), dropped), dtype)
            }
            Dropped::None | Dropped::Mask(_) => composed::drop_out(x, dropped),
        }
    }

    fn add_bias(x: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        match on_host(&x) && x.dtype() == DType::F32 {
            true => host::add_bias(x, bias),
            false => composed::add_bias(x, bias),
        }
    }

    fn column_sums(x: Tensor<Self, 2>) -> Tensor<Self, 1> {
        match on_host(&x) {
            true => host::column_sums(wide(x)),
            false => composed::column_sums(x),
        }
    }

    fn bias_gelu(product: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        match on_host(&product) {
            true => {
                let dtype = product.dtype();
                to(host::bias_gelu(wide(product), bias), dtype)
            }
            false => composed::bias_gelu(product, bias),
        }
    }

    fn bias_gelu_backward(
        product: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        grad: Tensor<Self, 2>,
    ) -> (Tensor<Self, 2>, Tensor<Self, 1>) {
        if !on_host(&product) {
            return composed::bias_gelu_backward(product, bias, grad);
        }
        let dtype = grad.dtype();
        let (grad, bias) = host::bias_gelu_backward(wide(product), bias, wide(grad));
        (to(grad, dtype), bias)
    }

    fn merge_heads(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        plain::merge_heads(x)
    }

    fn masked_softmax(
        scores: Tensor<Self, 4>,
        mask: Tensor<Self, 4>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        if !on_host(&scores) {
            return composed::softmax(scores, mask, scale);
        }
        let dtype = scores.dtype();
        to(host::softmax(wide(scores), mask, scale), dtype)
    }

    fn masked_softmax_backward(
        grad: Tensor<Self, 4>,
        probabilities: Tensor<Self, 4>,
        scale: f64,
        dropped: &Dropped<Self, 4>,
    ) -> Tensor<Self, 4> {
        if !on_host(&grad) {
            return composed::softmax_backward(grad, probabilities, scale, dropped);
        }
        let dtype = grad.dtype();
        let grad = host::softmax_backward(wide(grad), wide(probabilities), scale, dropped);
        to(grad, dtype)
    }

    fn residual_norm(
        product: Tensor<Self, 2>,
        residual: Tensor<Self, 2>,
        parts: &NormParts<Self>,
    ) -> NormOutput<Self> {
        match on_host(&product) {
            true => host::residual_norm(wide(product), residual, parts),
            false => composed::residual_norm(product, residual, parts),
        }
    }

    fn residual_norm_backward(grad: Tensor<Self, 2>, saved: &SavedNorm<Self>) -> NormGrads<Self> {
        if !on_host(&grad) {
            return composed::residual_norm_backward(grad, saved);
        }
        let mut grads = host::residual_norm_backward(grad, saved);
        grads.branch = to(grads.branch, saved.product_dtype);
        grads
    }

    fn top_k(x: Tensor<Self, 2>, k: usize) -> TopK {
        match on_host(&x) {
            true => host::top_k(wide(x), k),
            false => composed::top_k(x, k),
        }
    }

    fn adamw(
        step: AdamWStep,
        parameter: Tensor<Self, 1>,
        grad: Tensor<Self, 1>,
        exp_avg: Tensor<Self, 1>,
        exp_avg_sq: Tensor<Self, 1>,
    ) -> [Tensor<Self, 1>; 3] {
        match on_host(&parameter) {
            true => host::adamw(step, [parameter, exp_avg, exp_avg_sq], grad),
            false => plain::adamw(step, parameter, grad, exp_avg, exp_avg_sq),
        }
    }
}
