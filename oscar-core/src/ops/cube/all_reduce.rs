//! Sums over the GPUs of a process by NCCL, through CubeCL's collective.
//!
//! What is summed stays on the devices, and the host does not wait: the sums follow the kernels that
//! wrote their inputs, and the kernels that read them follow the sums.

use burn::tensor::backend::DeviceOps;
use burn::tensor::{DType, Shape, Tensor, TensorMetadata};
use burn_cubecl::cubecl;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use cubecl::prelude::Runtime;
use cubecl::server::{ReduceOperation, ServerCommunication};

use super::CubeOps;
use crate::ops::AllReduce;
use crate::ops::backend::{primitive, tensor};

/// The sum, where the runtime has one and its library can be loaded.
pub(super) fn of_runtime<B: CubeOps>() -> Option<AllReduce<B>> {
    let has_collective =
        <<B::Runtime as Runtime>::Server as ServerCommunication>::SERVER_COMM_ENABLED;
    #[cfg(feature = "cuda")]
    let has_library = crate::devices::cuda::has_nccl();
    #[cfg(not(feature = "cuda"))]
    let has_library = false;
    (has_collective && has_library).then_some(all_reduce::<B>)
}

fn all_reduce<B: CubeOps>(values: Vec<Tensor<B, 1>>, devices: &[B::Device]) -> Vec<Tensor<B, 1>> {
    let devices: Vec<_> = devices.iter().map(DeviceOps::id).collect();
    let outputs = values.iter().map(|values| (values.shape(), DType::F32));
    let outputs: Vec<(Shape, DType)> = outputs.collect();
    let values = values.into_iter().map(primitive).collect();
    let sums = B::run_many("oscar_all_reduce", values, outputs, move |values| {
        let values: Vec<_> = values.into_iter().map(into_contiguous).collect();
        let sums: Vec<_> = values
            .iter()
            .map(|values| {
                let (client, device) = (values.client.clone(), values.device.clone());
                let sum = empty_device_contiguous_dtype(client, device, values.shape(), DType::F32);
                values.client.clone().all_reduce(
                    values.handle.clone(),
                    sum.handle.clone(),
                    DType::F32.into(),
                    devices.clone(),
                    ReduceOperation::Sum,
                );
                sum
            })
            .collect();
        // What is launched from here on waits for the sums; until then `values` are not given back.
        values[0].client.sync_collective();
        sums
    });
    sums.into_iter().map(tensor).collect()
}
