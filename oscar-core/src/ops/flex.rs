//! The fused steps on Burn's CPU backend.

use burn::tensor::{Shape, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice, FlexTensor};

use super::backend::{AdamWStep, RowIndex, TopK};
use super::cached::{AttentionParams, CaptionKeyValues, KeyValue};
use super::fused::{Dropped, Kernels, NormGrads, NormOutput, NormParts, SavedNorm};
use super::host::{self, Element, HostBackend};

impl HostBackend for Flex {
    fn is_dense(tensor: &FlexTensor) -> bool {
        tensor.is_contiguous()
            && tensor.layout().start_offset() == 0
            && tensor.bytes().len() == tensor.layout().num_elements() * tensor.dtype().size()
    }

    fn dense(tensor: FlexTensor) -> FlexTensor {
        match Self::is_dense(&tensor) {
            true => tensor,
            false => FlexTensor::from_data(tensor.into_data()),
        }
    }

    fn values<T: Element>(tensor: &FlexTensor) -> &[T] {
        tensor.storage()
    }

    fn values_mut<T: Element>(tensor: &mut FlexTensor) -> &mut [T] {
        tensor.storage_mut()
    }

    fn any<T: Element>(shape: Shape) -> FlexTensor {
        let zeros = vec![T::narrow(0.0); shape.num_elements()];
        FlexTensor::from_data(TensorData::new(zeros, shape))
    }
}

impl Kernels for Flex {
    fn product(x: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        host::product::<f32, Self>(x, weight)
    }

    fn draw<const D: usize>(_: [usize; D], probability: f64, _: &FlexDevice) -> Dropped<Self, D> {
        Dropped::by_key(probability)
    }

    fn drop_out<const D: usize>(x: Tensor<Self, D>, dropped: &Dropped<Self, D>) -> Tensor<Self, D> {
        host::drop_out::<f32, Self, D>(x, dropped)
    }

    fn add_bias(x: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        host::add_bias::<f32, Self>(x, bias)
    }

    fn column_sums(x: Tensor<Self, 2>) -> Tensor<Self, 1> {
        host::column_sums::<f32, Self>(x)
    }

    fn bias_gelu(product: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        host::bias_gelu::<f32, Self>(product, bias)
    }

    fn bias_gelu_backward(
        product: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        grad: Tensor<Self, 2>,
    ) -> (Tensor<Self, 2>, Tensor<Self, 1>) {
        host::bias_gelu_backward::<f32, Self>(product, bias, grad)
    }

    fn merge_heads(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        host::merge_heads::<f32, Self>(x)
    }

    fn masked_softmax(
        scores: Tensor<Self, 4>,
        mask: Tensor<Self, 4>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        host::softmax::<f32, Self>(scores, mask, scale)
    }

    fn cached_attention(
        query: Tensor<Self, 3>,
        shared: &KeyValue<Self>,
        own: &CaptionKeyValues<'_, Self>,
        reading: &AttentionParams<Self>,
    ) -> Tensor<Self, 3> {
        host::cached_attention::<f32, Self>(query, shared, own, reading)
    }

    fn masked_softmax_backward(
        grad: Tensor<Self, 4>,
        probabilities: Tensor<Self, 4>,
        scale: f64,
        dropped: &Dropped<Self, 4>,
    ) -> Tensor<Self, 4> {
        host::softmax_backward::<f32, Self>(grad, probabilities, scale, dropped)
    }

    fn residual_norm(
        product: Tensor<Self, 2>,
        residual: Tensor<Self, 2>,
        parts: &NormParts<Self>,
    ) -> NormOutput<Self> {
        host::residual_norm::<f32, Self>(product, residual, parts)
    }

    fn residual_norm_backward(grad: Tensor<Self, 2>, saved: &SavedNorm<Self>) -> NormGrads<Self> {
        host::residual_norm_backward::<f32, Self>(grad, saved)
    }

    fn gather_rows(x: Tensor<Self, 2>, index: &RowIndex<Self>) -> Tensor<Self, 2> {
        host::gather_rows::<f32, Self>(x, &index.host)
    }

    fn log_softmax(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        host::log_softmax(x)
    }

    fn top_k(x: Tensor<Self, 2>, k: usize) -> TopK {
        host::top_k(x, k)
    }

    fn sum_of_squares(x: Tensor<Self, 1>) -> Tensor<Self, 1> {
        host::sum_of_squares(x)
    }

    fn scale(x: Tensor<Self, 1>, factor: Tensor<Self, 1>) -> Tensor<Self, 1> {
        host::scale(x, factor)
    }

    fn adamw(
        step: AdamWStep,
        parameter: Tensor<Self, 1>,
        grad: Tensor<Self, 1>,
        exp_avg: Tensor<Self, 1>,
        exp_avg_sq: Tensor<Self, 1>,
    ) -> [Tensor<Self, 1>; 3] {
        host::adamw(step, [parameter, exp_avg, exp_avg_sq], grad)
    }
}
