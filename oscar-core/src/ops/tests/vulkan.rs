//! Kernels of this crate, where Vulkan or Metal has a device; software is enough.

use burn::tensor::{Distribution, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use burn_wgpu::{Wgpu as Inner, WgpuDevice};

use crate::ops::backend::primitive;
use crate::ops::random::{keys, restore};
use crate::ops::{AdamWStep, AdamWUpdate, DropoutMask, Guard, Kernels};

const DEVICE: WgpuDevice = WgpuDevice::DefaultDevice;

#[path = "attention.rs"]
mod attention;
#[path = "norm.rs"]
mod norm;
#[path = "optimizer.rs"]
mod optimizer;
#[path = "suite.rs"]
mod suite;

#[test]
fn the_same_elements_are_dropped_as_on_the_cpu() {
    let shape = [300, 70];
    let x = Tensor::<Flex, 2>::random(shape, Distribution::Normal(0.0, 1.0), &FlexDevice);
    let start = keys();
    let mask = DropoutMask::sample(shape, 0.2, &FlexDevice);
    let expected = Flex::apply_dropout(x.clone(), &mask).into_data();
    let values = |data: TensorData| data.iter::<f32>().collect::<Vec<_>>();
    restore(start);
    let mask = DropoutMask::sample(shape, 0.2, &DEVICE);
    let x = Tensor::<Inner, 2>::from_data(x.into_data(), &DEVICE);
    let got = Inner::apply_dropout(x, &mask).into_data();
    assert_eq!(values(got), values(expected));
}

/// The CPU's loops would stop at the end of a slice; a kernel would read on.
#[test]
#[should_panic(expected = "bias_gelu: bias has shape [9], but must have [10]")]
fn an_operand_of_another_shape_is_refused() {
    let product = Tensor::<Inner, 2>::zeros([4, 10], &DEVICE);
    Inner::bias_gelu(product, Tensor::zeros([9], &DEVICE));
}

#[test]
#[should_panic(expected = "adamw: exp_avg_sq has shape [7], but must have [8]")]
fn moments_of_another_length_are_refused() {
    let zeros = |len: usize| Tensor::<Inner, 1>::zeros([len], &DEVICE);
    let update = AdamWUpdate {
        parameter: primitive(zeros(8)),
        grad: primitive(zeros(8)),
        moments: [zeros(8), zeros(7)],
        step: AdamWStep {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            step_size: 1e-3,
            decay: 1.0,
        },
    };
    Inner::adamw_all(vec![update], &Guard::default());
}

#[test]
#[should_panic(
    expected = "masked_softmax: mask has shape [1, 1, 1, 6], but must have [2, 1, 1, 6]"
)]
fn a_mask_of_another_batch_is_refused() {
    let scores = Tensor::<Inner, 4>::zeros([2, 3, 5, 6], &DEVICE);
    Inner::masked_softmax(scores, Tensor::zeros([1, 1, 1, 6], &DEVICE), 1.0);
}
