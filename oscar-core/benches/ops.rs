//! Fused operations beside what they mean in Burn's own, at Oscar base's sizes, forward and
//! backward, in turn: `cargo bench -p oscar-core --bench ops`. With the features `tch`, `wgpu` and
//! `cuda` on their first devices, too.

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::time::Instant;

use burn::backend::Autodiff;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Distribution, Tensor, activation};
use burn_flex::{Flex, FlexDevice};
use oscar_core::ops::{AdamWStep, Kernels, OscarBackend, ResidualNorm, plain};

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

    let (x, weight, bias) = (
        random::<Autodiff<I>, _>([rows, HIDDEN], device),
        random::<Autodiff<I>, _>([HIDDEN, HIDDEN], device),
        random::<Autodiff<I>, _>([HIDDEN], device),
    );
    compare(
        "linear",
        device,
        &|| plain::linear(x.clone(), weight.clone(), bias.clone()),
        &|| Autodiff::<I>::linear_bias(x.clone(), weight.clone(), bias.clone()),
    );

    let (up, up_bias) = (
        random::<Autodiff<I>, _>([HIDDEN, INNER], device),
        random::<Autodiff<I>, _>([INNER], device),
    );
    compare(
        "linear, GELU",
        device,
        &|| activation::gelu(plain::linear(x.clone(), up.clone(), up_bias.clone())),
        &|| Autodiff::<I>::linear_gelu(x.clone(), up.clone(), up_bias.clone()),
    );

    let residual = random::<Autodiff<I>, _>([rows, HIDDEN], device);
    let (gamma, beta) = (
        random::<Autodiff<I>, _>([HIDDEN], device),
        random::<Autodiff<I>, _>([HIDDEN], device),
    );
    let norm = || ResidualNorm {
        weight: weight.clone(),
        bias: bias.clone(),
        gamma: gamma.clone(),
        beta: beta.clone(),
        epsilon: 1e-12,
        dropout: 0.1,
    };
    compare(
        "linear, dropout, residual, norm",
        device,
        &|| plain::linear_residual_norm(x.clone(), norm(), residual.clone()),
        &|| Autodiff::<I>::linear_residual_norm(x.clone(), norm(), residual.clone()),
    );

    let scores = random::<Autodiff<I>, _>([BATCH, HEADS, SEQ, SEQ], device);
    let mask = Tensor::<Autodiff<I>, 4>::zeros([BATCH, 1, 1, SEQ], device);
    compare(
        "masked softmax, dropout",
        device,
        &|| plain::attention_probabilities(scores.clone(), mask.clone(), 0.125, 0.1),
        &|| Autodiff::<I>::attention_probabilities(scores.clone(), mask.clone(), 0.125, 0.1),
    );

    let heads = random::<Autodiff<I>, _>([BATCH, HEADS, SEQ, HIDDEN / HEADS], device);
    compare(
        "merge heads",
        device,
        &|| plain::merge_heads(heads.clone()),
        &|| Autodiff::<I>::merge_heads(heads.clone()),
    );

    adamw::<I>(HIDDEN * INNER, device);
    println!();
}

/// A step of the optimiser on parameter, gradient and moments.
type Update<I> = fn(AdamWStep, [Tensor<I, 1>; 4]) -> [Tensor<I, 1>; 3];

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
            let [parameter, first, second] = state.take().expect("put back below");
            wait::<I>(device);
            let start = Instant::now();
            state = Some(update(step, [parameter, grad.clone(), first, second]));
            wait::<I>(device);
            start.elapsed().as_secs_f64()
        }
    };
    let mut plain = timed(|step, [p, g, m, v]| plain::adamw(step, p, g, m, v));
    let mut fused = timed(|step, [p, g, m, v]| I::adamw(step, p, g, m, v));
    report("AdamW step, 2.4 M values", &mut plain, &mut fused);
}
