//! The operations beside the same in Burn's own, at Oscar base's sizes, forward and
//! backward, in turn: `cargo bench -p oscar-core --bench ops`. With the features `tch`, `wgpu` and
//! `cuda` on their first devices, too.

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::time::Instant;

use burn::backend::Autodiff;
use burn::module::Param;
use burn::nn::{DropoutConfig, LayerNormConfig, Linear};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Distribution, Tensor, activation};
use burn_flex::{Flex, FlexDevice};
use oscar_core::config::Activation;
use oscar_core::ops::{self, AdamWStep, Kernels};

const BATCH: usize = 8;
const SEQ: usize = 85;
const HIDDEN: usize = 768;
const HEADS: usize = 12;
const INNER: usize = 3072;
const ROUNDS: usize = 15;

fn random<B: Backend, const D: usize>(shape: [usize; D], device: &B::Device) -> Tensor<B, D> {
    Tensor::random(shape, Distribution::Normal(0.0, 0.02), device).require_grad()
}

fn wait<B: Backend>(device: &B::Device) {
    B::sync(device).expect("the device works");
}

/// Seconds of a forward and backward pass.
fn pass<B: AutodiffBackend, const D: usize>(
    operation: &dyn Fn() -> Tensor<B, D>,
    device: &B::Device,
) -> f64 {
    wait::<B>(device);
    let start = Instant::now();
    let _ = operation().sum().backward();
    wait::<B>(device);
    start.elapsed().as_secs_f64()
}

fn compare<B: AutodiffBackend, const D: usize>(
    name: &str,
    device: &B::Device,
    plain: &dyn Fn() -> Tensor<B, D>,
    fused: &dyn Fn() -> Tensor<B, D>,
) {
    report(name, &mut || pass(plain, device), &mut || {
        pass(fused, device)
    });
}

/// Times both in turn and prints medians and the median of the ratios.
fn report(name: &str, plain: &mut dyn FnMut() -> f64, fused: &mut dyn FnMut() -> f64) {
    let (mut plains, mut fuseds, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (plain, fused) = (plain(), fused());
        // The first round warms up.
        if round > 0 {
            plains.push(plain * 1e3);
            fuseds.push(fused * 1e3);
            ratios.push(plain / fused);
        }
    }
    let [plain, fused, ratio] = [plains, fuseds, ratios].map(median);
    println!("{name:<28} {plain:>9.2} ms {fused:>9.2} ms {ratio:>7.2}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    table::<Flex>("flex", &FlexDevice);
    #[cfg(feature = "tch")]
    if let Some(found) = oscar_core::devices::libtorch::devices().first() {
        table::<burn_tch::LibTorch>(&format!("tch, {}", found.name), &found.device);
    }
    #[cfg(feature = "wgpu")]
    match oscar_core::devices::vulkan::devices() {
        Ok(found) => {
            table::<burn_wgpu::Wgpu>(&format!("wgpu, {}", found[0].name), &found[0].device);
        }
        Err(missing) => println!("{missing}"),
    }
    #[cfg(feature = "cuda")]
    match oscar_core::devices::cuda::devices() {
        Ok(found) => {
            table::<burn_cuda::Cuda>(&format!("cuda, {}", found[0].name), &found[0].device);
        }
        Err(missing) => println!("{missing}"),
    }
}

fn table<I: Kernels>(name: &str, device: &I::Device) {
    let rows = BATCH * SEQ;
    println!("{name:<28} {:>12} {:>12} {:>7}", "plain", "fused", "ratio");

    let x = random::<Autodiff<I>, _>([rows, HIDDEN], device);
    let layer = linear(HIDDEN, device);
    compare("linear", device, &|| layer.forward(x.clone()), &|| {
        ops::linear(&layer, x.clone())
    });

    let up = linear(INNER, device);
    compare(
        "linear, GELU",
        device,
        &|| activation::gelu(up.forward(x.clone())),
        &|| ops::linear_activate(&up, Activation::Gelu, x.clone()),
    );

    let residual = random::<Autodiff<I>, _>([rows, HIDDEN], device);
    let norm = LayerNormConfig::new(HIDDEN)
        .with_epsilon(1e-12)
        .init(device);
    let dropout = DropoutConfig::new(0.1).init();
    compare(
        "linear, dropout, residual, norm",
        device,
        &|| norm.forward(dropout.forward(layer.forward(x.clone())) + residual.clone()),
        &|| {
            let constants = (1e-12, 0.1);
            ops::linear_residual_norm(&layer, &norm, constants, x.clone(), residual.clone())
        },
    );

    let scores = random::<Autodiff<I>, _>([BATCH, HEADS, SEQ, SEQ], device);
    let mask = Tensor::<Autodiff<I>, 4>::zeros([BATCH, 1, 1, SEQ], device);
    compare(
        "masked softmax, dropout",
        device,
        &|| {
            dropout.forward(activation::softmax(
                scores.clone() * 0.125 + mask.clone(),
                3,
            ))
        },
        &|| ops::attention_probabilities(scores.clone(), mask.clone(), 0.125, 0.1),
    );

    let heads = random::<Autodiff<I>, _>([BATCH, HEADS, SEQ, HIDDEN / HEADS], device);
    compare(
        "merge heads",
        device,
        &|| heads.clone().swap_dims(1, 2).reshape([BATCH, SEQ, HIDDEN]),
        &|| ops::merge_heads(heads.clone()),
    );

    adamw::<I>(HIDDEN * INNER, device);
    println!();
}

/// A layer of `HIDDEN` inputs.
fn linear<I: Kernels>(outputs: usize, device: &I::Device) -> Linear<Autodiff<I>> {
    Linear {
        weight: Param::from_tensor(random([HIDDEN, outputs], device)),
        bias: Some(Param::from_tensor(random([outputs], device))),
    }
}

/// A step of the optimiser on a gradient and on parameter and moments.
type Update<I> = fn(Tensor<I, 1>, [Tensor<I, 1>; 3], AdamWStep) -> [Tensor<I, 1>; 3];

/// The update of [`AdamWStep`] in Burn's operations.
fn burn_adamw<I: Backend>(
    grad: Tensor<I, 1>,
    [parameter, first, second]: [Tensor<I, 1>; 3],
    step: AdamWStep,
) -> [Tensor<I, 1>; 3] {
    let second = second * step.beta2 + grad.clone() * grad.clone() * (1.0 - step.beta2);
    let first = first * step.beta1 + grad * (1.0 - step.beta1);
    let change = first.clone() / (second.clone().sqrt() + step.epsilon) * step.step_size;
    [(parameter - change) * step.decay, first, second]
}

fn adamw<I: Kernels>(len: usize, device: &I::Device) {
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        step_size: 1e-5,
        decay: 0.999,
    };
    let timed = |update: Update<I>| {
        let values = || Tensor::<I, 1>::ones([len], device);
        let mut state = Some([values(), values(), values()]);
        let grad = values();
        move || {
            let before = state.take().expect("put back below");
            wait::<I>(device);
            let start = Instant::now();
            state = Some(update(grad.clone(), before, step));
            wait::<I>(device);
            start.elapsed().as_secs_f64()
        }
    };
    let mut plain = timed(burn_adamw);
    let mut fused = timed(I::adamw);
    report("AdamW step, 2.4 M values", &mut plain, &mut fused);
}
