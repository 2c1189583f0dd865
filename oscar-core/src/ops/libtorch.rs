//! The fused steps on LibTorch: this crate's loops on the CPU, composed operations on GPUs.
//!
//! LibTorch multiplies the matrices. Its own steps between them are no faster than ours, and their
//! dropout draws and keeps a mask.

use burn::tensor::{DType, Shape, Tensor, TensorMetadata, TensorPrimitive, activation};
use burn_tch::{LibTorch, LibTorchDevice, TchTensor};
use half::bf16;
use tch::{Device, Kind};

use super::backend::{AdamWStep, RowIndex, TopK};
use super::cached::{self, AttentionParams, CaptionKeyValues, KeyValue};
use super::fused::{Dropped, Kernels, NormGrads, NormOutput, NormParts, SavedNorm};
use super::host::{self, Element, HostBackend};
use super::precision::{to, to_f32};
use super::{composed, plain};

impl HostBackend for LibTorch {
    fn is_dense(tensor: &TchTensor) -> bool {
        tensor.tensor.is_contiguous()
    }

    fn dense(tensor: TchTensor) -> TchTensor {
        match Self::is_dense(&tensor) {
            true => tensor,
            false => TchTensor::new(tensor.tensor.contiguous()),
        }
    }

    fn values<T: Element>(tensor: &TchTensor) -> &[T] {
        let len = tensor.tensor.numel();
        assert_eq!(tensor.dtype(), T::DTYPE);
        if len == 0 {
            return &[];
        }
        // SAFETY: a contiguous tensor of `len` numbers of this type in this process's memory, which
        // the borrow keeps alive; nobody writes to a tensor that is shared.
        unsafe { std::slice::from_raw_parts(tensor.tensor.data_ptr().cast(), len) }
    }

    fn values_mut<T: Element>(tensor: &mut TchTensor) -> &mut [T] {
        if !tensor.can_mut() {
            *tensor = TchTensor::new(tensor.tensor.copy());
        }
        let len = tensor.tensor.numel();
        assert_eq!(tensor.dtype(), T::DTYPE);
        if len == 0 {
            return &mut [];
        }
        // SAFETY: as above, and no other tensor shares the memory.
        unsafe { std::slice::from_raw_parts_mut(tensor.tensor.data_ptr().cast(), len) }
    }

    fn any<T: Element>(shape: Shape) -> TchTensor {
        let size: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        let kind = match T::DTYPE {
            DType::BF16 => Kind::BFloat16,
            _ => Kind::Float,
        };
        TchTensor::new(tch::Tensor::empty(size, (kind, Device::Cpu)))
    }
}

/// What a step is to run on.
enum On {
    /// This process's memory, f32.
    Wide,
    /// This process's memory, bf16.
    Narrow,
    /// A GPU, or another type.
    Elsewhere,
}

fn place<const D: usize>(x: &Tensor<LibTorch, D>) -> On {
    match (x.device(), x.dtype()) {
        (LibTorchDevice::Cpu, DType::F32) => On::Wide,
        (LibTorchDevice::Cpu, DType::BF16) => On::Narrow,
        _ => On::Elsewhere,
    }
}

/// A step of `host` in the type of its first operand, or the composed one.
macro_rules! step {
    ($first:expr, $name:ident($($argument:expr),*)) => {
        match place(&$first) {
            On::Wide => host::$name::<f32, Self>($($argument),*),
            On::Narrow => host::$name::<bf16, Self>($($argument),*),
            On::Elsewhere => composed::$name($($argument),*),
        }
    };
}

impl Kernels for LibTorch {
    fn product(x: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        match place(&x) {
            On::Wide => host::product::<f32, Self>(x, weight),
            On::Narrow => host::product::<bf16, Self>(x, weight),
            On::Elsewhere => x.matmul(weight),
        }
    }

    fn draw<const D: usize>(
        shape: [usize; D],
        probability: f64,
        device: &LibTorchDevice,
    ) -> Dropped<Self, D> {
        match device {
            LibTorchDevice::Cpu => Dropped::by_key(probability),
            device => composed::draw(shape, probability, device),
        }
    }

    fn drop_out<const D: usize>(x: Tensor<Self, D>, dropped: &Dropped<Self, D>) -> Tensor<Self, D> {
        match place(&x) {
            On::Wide => host::drop_out::<f32, Self, D>(x, dropped),
            On::Narrow => host::drop_out::<bf16, Self, D>(x, dropped),
            On::Elsewhere => composed::drop_out(x, dropped),
        }
    }

    fn add_bias(x: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        step!(x, add_bias(x, bias))
    }

    fn column_sums(x: Tensor<Self, 2>) -> Tensor<Self, 1> {
        step!(x, column_sums(x))
    }

    fn bias_gelu(product: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        step!(product, bias_gelu(product, bias))
    }

    fn bias_gelu_backward(
        product: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        grad: Tensor<Self, 2>,
    ) -> (Tensor<Self, 2>, Tensor<Self, 1>) {
        step!(product, bias_gelu_backward(product, bias, grad))
    }

    fn merge_heads(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        match place(&x) {
            On::Wide => host::merge_heads::<f32, Self>(x),
            On::Narrow => host::merge_heads::<bf16, Self>(x),
            On::Elsewhere => plain::merge_heads(x),
        }
    }

    fn masked_softmax(
        scores: Tensor<Self, 4>,
        mask: Tensor<Self, 4>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        step!(scores, softmax(scores, mask, scale))
    }

    fn attention(
        inputs: [Tensor<Self, 4>; 3],
        mask: Tensor<Self, 4>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        let mask = to(mask, inputs[0].dtype());
        let [query, key, value, mask] = [&inputs[0], &inputs[1], &inputs[2], &mask]
            .map(|tensor| tensor.clone().into_primitive().tensor().tensor);
        let read = tch::Tensor::scaled_dot_product_attention(
            &query,
            &key,
            &value,
            Some(&mask),
            0.0,
            false,
            scale,
            false,
        );
        Tensor::from_primitive(TensorPrimitive::Float(TchTensor::new(read)))
    }

    fn cached_attention(
        query: Tensor<Self, 3>,
        shared: &KeyValue<Self>,
        own: &CaptionKeyValues<'_, Self>,
        reading: &AttentionParams<Self>,
    ) -> Tensor<Self, 3> {
        match place(&query) {
            On::Wide => host::cached_attention::<f32, Self>(query, shared, own, reading),
            On::Narrow => host::cached_attention::<bf16, Self>(query, shared, own, reading),
            On::Elsewhere => cached::cached_attention(query, shared, own, reading),
        }
    }

    fn masked_softmax_backward(
        grad: Tensor<Self, 4>,
        probabilities: Tensor<Self, 4>,
        scale: f64,
        dropped: &Dropped<Self, 4>,
    ) -> Tensor<Self, 4> {
        step!(grad, softmax_backward(grad, probabilities, scale, dropped))
    }

    fn residual_norm(
        product: Tensor<Self, 2>,
        residual: Tensor<Self, 2>,
        parts: &NormParts<Self>,
    ) -> NormOutput<Self> {
        step!(product, residual_norm(product, residual, parts))
    }

    fn residual_norm_backward(grad: Tensor<Self, 2>, saved: &SavedNorm<Self>) -> NormGrads<Self> {
        match (place(&grad), saved.product_dtype) {
            (On::Wide, DType::F32) => host::residual_norm_backward::<f32, Self>(grad, saved),
            (On::Wide, DType::BF16) => host::residual_norm_backward::<bf16, Self>(grad, saved),
            _ => composed::residual_norm_backward(grad, saved),
        }
    }

    fn gather_rows(x: Tensor<Self, 2>, index: &RowIndex<Self>) -> Tensor<Self, 2> {
        match place(&x) {
            On::Wide => host::gather_rows::<f32, Self>(x, &index.host),
            On::Narrow => host::gather_rows::<bf16, Self>(x, &index.host),
            On::Elsewhere => composed::gather_rows(x, index),
        }
    }

    fn log_softmax(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        match place(&x) {
            On::Wide => host::log_softmax(x),
            On::Narrow | On::Elsewhere => activation::log_softmax(x, 1),
        }
    }

    fn top_k(x: Tensor<Self, 2>, k: usize) -> TopK {
        match place(&x) {
            On::Wide | On::Narrow => host::top_k(to_f32(x), k),
            On::Elsewhere => composed::top_k(x, k),
        }
    }

    fn sum_of_squares(x: Tensor<Self, 1>) -> Tensor<Self, 1> {
        match place(&x) {
            On::Wide => host::sum_of_squares(x),
            On::Narrow | On::Elsewhere => composed::sum_of_squares(x),
        }
    }

    fn scale(x: Tensor<Self, 1>, factor: Tensor<Self, 1>) -> Tensor<Self, 1> {
        match place(&x) {
            On::Wide => host::scale(x, factor),
            On::Narrow | On::Elsewhere => composed::scale(x, factor),
        }
    }

    fn adamw(
        step: AdamWStep,
        parameter: Tensor<Self, 1>,
        grad: Tensor<Self, 1>,
        exp_avg: Tensor<Self, 1>,
        exp_avg_sq: Tensor<Self, 1>,
    ) -> [Tensor<Self, 1>; 3] {
        match place(&parameter) {
            On::Wide => host::adamw(step, [parameter, exp_avg, exp_avg_sq], grad),
            _ => plain::adamw(step, parameter, grad, exp_avg, exp_avg_sq),
        }
    }
}
