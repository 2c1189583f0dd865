//! Kernels of this crate, where Vulkan or Metal has a device; software is enough.

use burn::tensor::{Distribution, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use burn_wgpu::{Wgpu as Inner, WgpuDevice};

use crate::ops::Kernels;
use crate::ops::random::{keys, restore};

const DEVICE: WgpuDevice = WgpuDevice::DefaultDevice;

#[path = "suite.rs"]
mod suite;

#[test]
fn the_same_elements_are_dropped_as_on_the_cpu() {
    let shape = [300, 70];
    let x = Tensor::<Flex, 2>::random(shape, Distribution::Normal(0.0, 1.0), &FlexDevice);
    let start = keys();
    let dropped = Flex::draw(shape, 0.2, &FlexDevice);
    let expected = Flex::drop_out(x.clone(), &dropped).into_data();
    let values = |data: TensorData| data.iter::<f32>().collect::<Vec<_>>();
    restore(start);
    let dropped = Inner::draw(shape, 0.2, &DEVICE);
    let x = Tensor::<Inner, 2>::from_data(x.into_data(), &DEVICE);
    let got = Inner::drop_out(x, &dropped).into_data();
    assert_eq!(values(got), values(expected));
}
