//! The optimiser's kernels. Each takes as many tensors as a launch may have arguments, and gives each
//! cube a share of one of them.
//!
//! Whether an update is made is decided where it is made: each unit looks at the values that have to
//! be finite, so that the host need not wait for them.

use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, Tensor, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::CubeOps;
use super::launch::addresses;
use super::optimizer_kernels as kernels;
use crate::ops::backend::{primitive, tensor};
use crate::ops::optimizer::{AdamWStep, AdamWUpdate, Guard, Updated};
use crate::ops::shapes::check_shape;

/// Values of a cube's share.
const SHARE: usize = 1 << 14;

/// Units of a cube.
const UNITS: u32 = 256;

/// Tensors of a launch at most. Arguments of a kernel have 4 KiB: an address, and two numbers, for each
/// tensor.
const TENSORS: usize = 128;

/// Shares of `len` values.
fn shares(len: usize) -> usize {
    len.div_ceil(SHARE)
}

/// Tensors of which `each` belong together that a launch takes, beside `others` and the kernel's scalars.
fn group<R: CubeRuntime>(client: &ComputeClient<R>, each: usize, others: usize) -> usize {
    let bindings = client.properties().hardware.max_bindings as usize;
    (TENSORS.min(bindings.saturating_sub(others + 1)) / each).max(1)
}

/// A cube for each share. The second axis is for more of them than the first one has.
fn cubes(count: usize) -> (CubeCount, CubeDim) {
    const ACROSS: usize = 65_535;
    let (x, y) = (count.min(ACROSS), count.div_ceil(ACROSS));
    let count = CubeCount::Static(x as u32, y as u32, 1);
    (count, CubeDim::new_1d(UNITS))
}

pub(super) fn joint_norm<B: CubeOps>(grads: Vec<FloatTensor<B>>) -> Tensor<B, 1> {
    let outputs = vec![(Shape::from([1]), DType::F32)];
    let mut norm = B::run_many("oscar_joint_norm", grads, outputs, |grads| {
        let grads: Vec<_> = grads.into_iter().map(into_contiguous).collect();
        let (client, device) = (grads[0].client.clone(), grads[0].device.clone());
        let new = |len| {
            let (client, device) = (client.clone(), device.clone());
            empty_device_contiguous_dtype(client, device, Shape::from([len]), DType::F32)
        };
        let count = grads.iter().map(|grad| shares(values(grad))).sum();
        let (sums, norm) = (new(count), new(1));
        let mut first = 0;
        for grads in grads.chunks(group(&client, 1, 1)) {
            let shares: usize = grads.iter().map(|grad| shares(values(grad))).sum();
            let (count, dim) = cubes(shares);
            let addresses = addresses(&grads.iter().chain([&sums]).collect::<Vec<_>>());
            // SAFETY: no unit goes past the length of its tensor; the sums have a place for each share.
            unsafe {
                kernels::sums_of_squares::launch_unchecked(
                    &client,
                    count,
                    dim,
                    addresses,
                    sequence(grads),
                    sums.clone().into_array_arg(),
                    first,
                    SHARE,
                    UNITS,
                );
            }
            first += shares;
        }
        let (one, dim) = cubes(1);
        // SAFETY: no unit goes past the number of sums.
        unsafe {
            kernels::root_of_sum::launch_unchecked(
                &client,
                one,
                dim,
                addresses(&[&sums, &norm]),
                sums.into_array_arg(),
                norm.clone().into_array_arg(),
                first,
                UNITS,
            );
        }
        vec![norm]
    });
    tensor(norm.remove(0))
}

pub(super) fn collect<B: CubeOps>(values: Vec<Tensor<B, 1>>) -> Tensor<B, 1> {
    let len = values.iter().map(|value| value.dims()[0]).sum::<usize>();
    let outputs = vec![(Shape::from([len]), DType::F32)];
    let values: Vec<_> = values.into_iter().map(primitive).collect();
    let mut all = B::run_many("oscar_collect", values, outputs, move |values| {
        let values: Vec<_> = values.into_iter().map(into_contiguous).collect();
        let (client, device) = (values[0].client.clone(), values[0].device.clone());
        let shape = Shape::from([len]);
        let all = empty_device_contiguous_dtype(client.clone(), device, shape, DType::F32);
        let mut start = 0;
        for values in values.chunks(group(&client, 1, 1)) {
            let (one, dim) = cubes(1);
            let addresses = addresses(&values.iter().chain([&all]).collect::<Vec<_>>());
            // SAFETY: no unit goes past the length of a tensor; there is a place for each value.
            unsafe {
                kernels::copy_all::launch_unchecked(
                    &client,
                    one,
                    dim,
                    addresses,
                    sequence(values),
                    all.clone().into_array_arg(),
                    start,
                    UNITS,
                );
            }
            start += values.iter().map(self::values).sum::<usize>();
        }
        vec![all]
    });
    tensor(all.remove(0))
}

/// In place where nobody else holds the gradients.
pub(super) fn clip<B: CubeOps>(
    grads: Vec<FloatTensor<B>>,
    norm: Tensor<B, 1>,
    max_norm: f64,
) -> Vec<FloatTensor<B>> {
    let outputs = grads.iter().map(|grad| (grad.shape(), DType::F32));
    let outputs = outputs.collect();
    let inputs = [primitive(norm)].into_iter().chain(grads).collect();
    B::run_many("oscar_clip", inputs, outputs, move |inputs| {
        let mut inputs = inputs.into_iter();
        let norm = inputs.next().expect("the norm is the first one");
        let grads: Vec<_> = inputs.map(own).collect();
        let client = norm.client.clone();
        for grads in grads.chunks(group(&client, 1, 1)) {
            let (count, dim) = cubes(grads.iter().map(|grad| shares(values(grad))).sum());
            let addresses = addresses(&grads.iter().chain([&norm]).collect::<Vec<_>>());
            // SAFETY: no unit goes past the length of its tensor, which is nobody else's.
            unsafe {
                kernels::scale_down::launch_unchecked(
                    &client,
                    count,
                    dim,
                    addresses,
                    sequence(grads),
                    norm.clone().into_array_arg(),
                    max_norm as f32,
                    SHARE,
                    UNITS,
                );
            }
        }
        grads
    })
}

/// In place where nobody else holds the tensors.
pub(super) fn adamw_all<B: CubeOps>(
    updates: Vec<AdamWUpdate<B>>,
    guard: &Guard<B>,
) -> Vec<Updated<B>> {
    let Some(constants) = updates.first().map(|update| update.step) else {
        return Vec::new();
    };
    let (mut inputs, mut outputs, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    for update in updates {
        let shape = update.parameter.shape();
        let len = [shape.num_elements()];
        let [exp_avg, exp_avg_sq] = update.moments;
        check_shape("adamw", "gradient", &update.grad.shape(), &shape);
        check_shape("adamw", "exp_avg", &exp_avg.dims(), &len);
        check_shape("adamw", "exp_avg_sq", &exp_avg_sq.dims(), &len);
        let moments = [exp_avg, exp_avg_sq].map(primitive);
        outputs.push((shape, DType::F32));
        outputs.extend([(); 2].map(|()| (Shape::from(len), DType::F32)));
        inputs.push(update.parameter);
        inputs.extend(moments);
        inputs.push(update.grad);
        let AdamWStep {
            step_size,
            epsilon,
            decay,
            ..
        } = update.step;
        steps.push([step_size, epsilon, decay].map(|number| number as f32));
    }
    let max_norm = guard.clip.as_ref().map(|(_, max_norm)| *max_norm as f32);
    let norm = guard.clip.iter().map(|(norm, _)| norm.clone());
    let checked: Vec<_> = norm.chain(guard.finite.clone()).collect();
    // One tensor, however many values: a launch may take only a few.
    inputs.extend((!checked.is_empty()).then(|| primitive(collect::<B>(checked))));
    let count = steps.len();
    let mut updated = B::run_many("oscar_adamw", inputs, outputs, move |inputs| {
        run_adamw(inputs, &steps, max_norm, constants)
    })
    .into_iter();
    let mut next = || updated.next().expect("three for each update");
    (0..count)
        .map(|_| (next(), [tensor(next()), tensor(next())]))
        .collect()
}

/// Launches the updates: `inputs` are parameter, moments and gradient for each of `steps`, then a
/// tensor of values to check, if there are any; the first is the norm if gradients are clipped to
/// `max_norm`.
fn run_adamw<R: CubeRuntime>(
    inputs: Vec<CubeTensor<R>>,
    steps: &[[f32; 3]],
    max_norm: Option<f32>,
    constants: AdamWStep,
) -> Vec<CubeTensor<R>> {
    let mut inputs = inputs.into_iter();
    let (mut updated, mut grads) = (Vec::new(), Vec::new());
    for _ in steps {
        updated.extend(inputs.by_ref().take(3).map(own));
        grads.extend(inputs.next().map(into_contiguous));
    }
    let checked: Vec<_> = inputs.map(into_contiguous).collect();
    let client = grads[0].client.clone();
    let size = group(&client, 4, checked.len());
    let groups = steps
        .chunks(size)
        .zip(updated.chunks(3 * size))
        .zip(grads.chunks(size));
    for ((steps, updated), grads) in groups {
        let (count, dim) = cubes(grads.iter().map(|grad| shares(values(grad))).sum());
        let every = |which: usize| sequence(updated.iter().skip(which).step_by(3));
        let all: Vec<_> = updated.iter().chain(grads).chain(&checked).collect();
        let scalars = |which: usize| {
            let scalars = steps.iter().map(|step| step[which]);
            scalars.collect::<SequenceArg<R, f32>>()
        };
        // SAFETY: parameter, moments and gradient have the length they were checked for, and no unit
        // goes past it; those written are nobody else's.
        unsafe {
            kernels::adamw::launch_unchecked(
                &client,
                count,
                dim,
                addresses(&all),
                every(0),
                every(1),
                every(2),
                sequence(grads),
                sequence(&checked),
                scalars(0),
                scalars(1),
                scalars(2),
                kernels::AdamWConstantsLaunch::new(
                    constants.beta1 as f32,
                    (1.0 - constants.beta1) as f32,
                    constants.beta2 as f32,
                    (1.0 - constants.beta2) as f32,
                    max_norm.unwrap_or_default(),
                ),
                max_norm.is_some(),
                SHARE,
                UNITS,
            );
        }
    }
    updated
}

/// The tensor, dense, and nobody else's.
fn own<R: CubeRuntime>(tensor: CubeTensor<R>) -> CubeTensor<R> {
    let tensor = into_contiguous(tensor);
    match tensor.can_mut() {
        true => tensor,
        false => tensor.copy(),
    }
}

fn values<R: CubeRuntime>(tensor: &CubeTensor<R>) -> usize {
    tensor.shape().num_elements()
}

/// These tensors as one argument.
fn sequence<'a, R: CubeRuntime>(
    tensors: impl IntoIterator<Item = &'a CubeTensor<R>>,
) -> SequenceArg<R, Array<f32>> {
    let tensors = tensors.into_iter().cloned();
    tensors.map(CubeTensor::into_array_arg).collect()
}
