//! LibTorch: this crate's loops on the CPU, Burn's operations on GPUs.
//!
//! LibTorch multiplies the matrices. Its own steps between them are no faster than ours, and its
//! dropout keeps a mask.

use burn::tensor::{DType, Shape, Tensor, TensorMetadata};
use burn_tch::{LibTorch, LibTorchDevice, TchTensor};
use half::bf16;
use tch::{Device, Kind};

use super::{Element, HostBackend, host_dtype, host_kernels};
use crate::ops::backend::{primitive, tensor};
use crate::ops::kernels::*;
use crate::ops::precision::to;
use crate::ops::*;

impl HostBackend for LibTorch {
    const FEW_ROWS: usize = 24;

    fn is_host(device: &LibTorchDevice) -> bool {
        *device == LibTorchDevice::Cpu
    }

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
        assert_eq!(tensor.dtype(), T::dtype());
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
        assert_eq!(tensor.dtype(), T::dtype());
        if len == 0 {
            return &mut [];
        }
        // SAFETY: as above, and no other tensor shares the memory.
        unsafe { std::slice::from_raw_parts_mut(tensor.tensor.data_ptr().cast(), len) }
    }

    fn allocate<T: Element>(shape: Shape) -> TchTensor {
        let size: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        let kind = match T::dtype() {
            DType::BF16 => Kind::BFloat16,
            _ => Kind::Float,
        };
        TchTensor::new(tch::Tensor::empty(size, (kind, Device::Cpu)))
    }
}

for_each_kernel!(host_kernels (LibTorch) {
    fn attention(
        query_key_value: [Tensor<Self, 4>; 3],
        mask: Tensor<Self, 4>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        let mask = primitive(to(mask, query_key_value[0].dtype())).tensor;
        let [query, key, value] = query_key_value.map(|x| primitive(x).tensor);
        let output = tch::Tensor::scaled_dot_product_attention(
            &query,
            &key,
            &value,
            Some(&mask),
            0.0,
            false,
            scale,
            false,
        );
        tensor(TchTensor::new(output))
    }
});
