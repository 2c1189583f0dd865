//! Burn's CPU backend.

use burn::tensor::{DType, Shape, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice, FlexTensor};
use half::bf16;

use super::{Element, HostBackend, host_dtype, host_kernels};
use crate::ops::kernels::*;
use crate::ops::*;

impl HostBackend for Flex {
    const FEW_ROWS: usize = 64;

    fn is_host(_: &FlexDevice) -> bool {
        true
    }

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

    fn allocate<T: Element>(shape: Shape) -> FlexTensor {
        let zeros = vec![T::from_f32(0.0); shape.num_elements()];
        FlexTensor::from_data(TensorData::new(zeros, shape))
    }
}

for_each_kernel!(host_kernels (Flex) {
    fn convolution(
        x: Tensor<Self, 4>,
        params: &ConvolutionParams<Self>,
        residual: Option<Tensor<Self, 4>>,
        rectify: bool,
    ) -> Tensor<Self, 4> {
        match host_dtype(&x) {
            Some(DType::F32) => super::convolution::convolution(x, params, residual, rectify),
            _ => crate::ops::convolution::by_planes(x, params, residual, rectify),
        }
    }
});
