//! Kernels of this crate in the stream of operations that Burn fuses and runs later.

use std::fmt;

use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::prelude::{ComputeClient, Runtime};
use burn_cubecl::fusion::FusionCubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use burn_fusion::stream::{Operation, OperationStreams};
use burn_fusion::{Fusion, FusionRuntime, FusionTensor};
use burn_ir::{CustomOpIr, HandleContainer, OperationIr, TensorIr};

use super::CubeOps;

impl<R, F, I, T> CubeOps for Fusion<CubeBackend<R, F, I, T>>
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

    fn argument(tensor: FusionTensor<FusionCubeRuntime<R>>) -> FusionTensor<FusionCubeRuntime<R>> {
        tensor
    }

    fn run_many(
        name: &'static str,
        inputs: Vec<FusionTensor<FusionCubeRuntime<R>>>,
        outputs: Vec<(Shape, DType)>,
        kernel: impl Fn(Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> + Send + Sync + 'static,
    ) -> Vec<FusionTensor<FusionCubeRuntime<R>>> {
        let streams = OperationStreams::with_inputs(&inputs);
        let client = inputs[0].client.clone();
        let inputs: Vec<_> = inputs.into_iter().map(FusionTensor::into_ir).collect();
        let outputs: Vec<_> = outputs
            .into_iter()
            .map(|(shape, dtype)| TensorIr::uninit(client.create_empty_handle(), shape, dtype))
            .collect();
        let ir = CustomOpIr::new(name, &inputs, &outputs);
        let step = Step {
            ir: ir.clone(),
            kernel,
        };
        client.register(streams, OperationIr::Custom(ir), step)
    }
}

/// A kernel that waits for its turn.
struct Step<K> {
    ir: CustomOpIr,
    kernel: K,
}

impl<K> fmt::Debug for Step<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ir.fmt(f)
    }
}

type Handle<R> = <FusionCubeRuntime<R> as FusionRuntime>::FusionHandle;

/// Any backend of this runtime: handles are the same for all types of numbers.
type Handles<R> = CubeBackend<R, f32, i32, u32>;

impl<R, K> Operation<FusionCubeRuntime<R>> for Step<K>
where
    R: CubeRuntime,
    K: Fn(Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> + Send + Sync,
{
    fn execute(&self, handles: &mut HandleContainer<Handle<R>>) {
        let inputs = self.ir.inputs.iter();
        let inputs = inputs.map(|input| handles.get_float_tensor::<Handles<R>>(input));
        let outputs = (self.kernel)(inputs.collect());
        for (output, tensor) in self.ir.outputs.iter().zip(outputs) {
            handles.register_float_tensor::<Handles<R>>(&output.id, tensor);
        }
    }
}
