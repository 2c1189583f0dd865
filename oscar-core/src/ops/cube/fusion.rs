//! Kernels of this crate in the stream of operations that Burn fuses and runs later.

use std::fmt;

use burn::tensor::{DType, Shape};
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

    const FUSES: bool = true;

    fn argument(tensor: FusionTensor<FusionCubeRuntime<R>>) -> FusionTensor<FusionCubeRuntime<R>> {
        tensor
    }

    fn run<const N: usize, const O: usize>(
        name: &'static str,
        inputs: [FusionTensor<FusionCubeRuntime<R>>; N],
        outputs: [(Shape, DType); O],
        kernel: impl Fn([CubeTensor<R>; N]) -> [CubeTensor<R>; O] + Send + Sync + 'static,
    ) -> [FusionTensor<FusionCubeRuntime<R>>; O] {
        let streams = OperationStreams::with_inputs(&inputs);
        let client = inputs[0].client.clone();
        let inputs = inputs.map(FusionTensor::into_ir);
        let outputs = outputs
            .map(|(shape, dtype)| TensorIr::uninit(client.create_empty_handle(), shape, dtype));
        let ir = CustomOpIr::new(name, &inputs, &outputs);
        let step = Step {
            ir: ir.clone(),
            kernel,
        };
        let outputs = client.register(streams, OperationIr::Custom(ir), step);
        outputs.try_into().expect("as many tensors as described")
    }
}

/// A kernel that waits for its turn.
struct Step<K, const N: usize, const O: usize> {
    ir: CustomOpIr,
    kernel: K,
}

impl<K, const N: usize, const O: usize> fmt::Debug for Step<K, N, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ir.fmt(f)
    }
}

type Handle<R> = <FusionCubeRuntime<R> as FusionRuntime>::FusionHandle;

/// Any backend of this runtime: handles are the same for all types of numbers.
type Handles<R> = CubeBackend<R, f32, i32, u32>;

impl<R, K, const N: usize, const O: usize> Operation<FusionCubeRuntime<R>> for Step<K, N, O>
where
    R: CubeRuntime,
    K: Fn([CubeTensor<R>; N]) -> [CubeTensor<R>; O] + Send + Sync,
{
    fn execute(&self, handles: &mut HandleContainer<Handle<R>>) {
        let (inputs, outputs) = self.ir.as_fixed::<N, O>();
        let inputs = inputs
            .each_ref()
            .map(|input| handles.get_float_tensor::<Handles<R>>(input));
        for (output, tensor) in outputs.iter().zip((self.kernel)(inputs)) {
            handles.register_float_tensor::<Handles<R>>(&output.id, tensor);
        }
    }
}
