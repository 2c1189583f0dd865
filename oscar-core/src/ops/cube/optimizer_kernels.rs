//! The kernels of [`optimizer`](super::optimizer). They take sequences of tensors, and give each cube a
//! share of one of them.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

use super::kernels::sum_units;
use crate::ops::optimizer::CLIP_EPSILON;

/// The largest finite number.
const LARGEST: f32 = f32::MAX;

/// The sum of the squares of each share.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn sums_of_squares(
    tensors: &Sequence<Array<f32>>,
    sums: &mut Array<f32>,
    first_sum: usize,
    #[comptime] share: usize,
    #[comptime] units: u32,
) {
    let mut shared = SharedMemory::<f32>::new(units as usize);
    let mut sum = 0.0f32.runtime();
    let mut first = 0usize.runtime();
    #[unroll]
    for number in 0..tensors.len() {
        let x = tensors.index(number);
        let end_share = first + (x.len() + share - 1) / share;
        if CUBE_POS >= first && CUBE_POS < end_share {
            let start = (CUBE_POS - first) * share;
            let end = min(start + share, x.len());
            let mut index = start + UNIT_POS as usize;
            while index < end {
                sum += x[index] * x[index];
                index += units as usize;
            }
        }
        first = end_share;
    }
    let sum = sum_units(sum, &mut shared, units);
    if UNIT_POS == 0u32 && CUBE_POS < first {
        sums[first_sum + CUBE_POS] = sum;
    }
}

/// The root of the sum of all values, by one cube.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn root_of_sum(
    x: &Array<f32>,
    root: &mut Array<f32>,
    len: usize,
    #[comptime] units: u32,
) {
    let mut shared = SharedMemory::<f32>::new(units as usize);
    let mut sum = 0.0f32.runtime();
    let mut index = UNIT_POS as usize;
    while index < len {
        sum += x[index];
        index += units as usize;
    }
    let sum = sum_units(sum, &mut shared, units);
    if UNIT_POS == 0u32 {
        root[0] = sum.sqrt();
    }
}

/// Copies all values to where they come in order, by one cube: they are few.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn copy_all(
    tensors: &Sequence<Array<f32>>,
    all: &mut Array<f32>,
    start: usize,
    #[comptime] units: u32,
) {
    let mut first = start;
    #[unroll]
    for number in 0..tensors.len() {
        let x = tensors.index(number);
        let mut index = UNIT_POS as usize;
        while index < x.len() {
            all[first + index] = x[index];
            index += units as usize;
        }
        first += x.len();
    }
}

/// Factor of gradients of this norm.
#[cube]
fn clip_factor(norm: f32, max_norm: f32) -> f32 {
    // As the CPU does it: NaN stays NaN.
    let factor = max_norm * (1.0f32 / (norm + CLIP_EPSILON as f32));
    select(factor > 1.0f32, 1.0f32, factor)
}

/// Scales all tensors by one factor.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn scale_down(
    tensors: &mut Sequence<Array<f32>>,
    norm: &Array<f32>,
    max_norm: f32,
    #[comptime] share: usize,
    #[comptime] units: u32,
) {
    let factor = clip_factor(norm[0], max_norm);
    let mut first = 0usize.runtime();
    #[unroll]
    for number in 0..tensors.len() {
        let x = tensors.index_mut(number);
        let end_share = first + (x.len() + share - 1) / share;
        if CUBE_POS >= first && CUBE_POS < end_share {
            let start = (CUBE_POS - first) * share;
            let end = min(start + share, x.len());
            let mut index = start + UNIT_POS as usize;
            while index < end {
                x[index] = x[index] * factor;
                index += units as usize;
            }
        }
        first = end_share;
    }
}

/// [`AdamWStep`](crate::ops::AdamWStep) on the device, as far as it is the same for all parameters.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct AdamWConstants {
    beta1: f32,
    /// 1 - beta1, rounded once.
    rest1: f32,
    beta2: f32,
    rest2: f32,
    max_norm: f32,
}

/// Parameters and moments after a step, in place, unless a checked value is not finite.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(super) fn adamw(
    parameters: &mut Sequence<Array<f32>>,
    exp_avgs: &mut Sequence<Array<f32>>,
    exp_avg_sqs: &mut Sequence<Array<f32>>,
    grads: &Sequence<Array<f32>>,
    checked: &Sequence<Array<f32>>,
    step_sizes: &Sequence<f32>,
    epsilons: &Sequence<f32>,
    decays: &Sequence<f32>,
    step: AdamWConstants,
    #[comptime] clips: bool,
    #[comptime] share: usize,
    #[comptime] units: u32,
) {
    // A tensor at most. SPIR-V knows no way out of a kernel from inside a loop.
    let mut broken = 0u32.runtime();
    #[unroll]
    for number in 0..checked.len() {
        let values = checked.index(number);
        let mut index = 0usize.runtime();
        while index < values.len() {
            // Not so for NaN either.
            if !(values[index].abs() <= LARGEST) {
                broken += 1u32;
            }
            index += 1usize;
        }
    }
    if broken > 0u32 {
        terminate!();
    }
    let mut factor = 1.0f32.runtime();
    if comptime!(clips) {
        factor = clip_factor(checked.index(0usize)[0], step.max_norm);
    }
    let mut first = 0usize.runtime();
    #[unroll]
    for number in 0..grads.len() {
        let grad = grads.index(number);
        let end_share = first + (grad.len() + share - 1) / share;
        if CUBE_POS >= first && CUBE_POS < end_share {
            let parameter = parameters.index_mut(number);
            let exp_avg = exp_avgs.index_mut(number);
            let exp_avg_sq = exp_avg_sqs.index_mut(number);
            let step_size = *step_sizes.index(number);
            let epsilon = *epsilons.index(number);
            let decay = *decays.index(number);
            let start = (CUBE_POS - first) * share;
            let end = min(start + share, grad.len());
            let mut index = start + UNIT_POS as usize;
            while index < end {
                let grad = grad[index] * factor;
                let average = exp_avg[index] * step.beta1 + grad * step.rest1;
                let square = exp_avg_sq[index] * step.beta2 + grad * grad * step.rest2;
                exp_avg[index] = average;
                exp_avg_sq[index] = square;
                let change = average / (square.sqrt() + epsilon) * step_size;
                parameter[index] = (parameter[index] - change) * decay;
                index += units as usize;
            }
        }
        first = end_share;
    }
}
