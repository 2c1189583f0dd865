//! Fused operations beside what they mean in Burn's own, at Oscar base's sizes, forward and
//! backward, in turn: `cargo bench -p oscar-core --bench ops`.

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::time::Instant;

use burn::backend::Autodiff;
use burn::tensor::{Distribution, Tensor, activation};
use burn_flex::{Flex, FlexDevice};
use oscar_core::ops::{AdamWStep, FusedOps, OscarBackend, ResidualNorm, plain};

type B = Autodiff<Flex>;

const BATCH: usize = 8;
const SEQ: usize = 85;
const HIDDEN: usize = 768;
const HEADS: usize = 12;
const INNER: usize = 3072;
const ROUNDS: usize = 15;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
    Tensor::random(shape, Distribution::Normal(0.0, 0.02), &FlexDevice).require_grad()
}

/// Seconds of a forward and backward pass.
fn pass<const D: usize>(operation: &dyn Fn() -> Tensor<B, D>) -> f64 {
    let start = Instant::now();
    let _ = operation().sum().backward();
    start.elapsed().as_secs_f64()
}

fn compare<const D: usize>(
    name: &str,
    plain: &dyn Fn() -> Tensor<B, D>,
    fused: &dyn Fn() -> Tensor<B, D>,
) {
    report(name, &mut || pass(plain), &mut || pass(fused));
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
    let rows = BATCH * SEQ;
    println!(
        "{:<28} {:>12} {:>12} {:>7}",
        "forward and backward", "plain", "fused", "ratio"
    );

    let (x, weight, bias) = (
        random([rows, HIDDEN]),
        random([HIDDEN, HIDDEN]),
        random([HIDDEN]),
    );
    compare(
        "linear",
        &|| plain::linear(x.clone(), weight.clone(), bias.clone()),
        &|| B::linear_bias(x.clone(), weight.clone(), bias.clone()),
    );

    let (up, up_bias) = (random([HIDDEN, INNER]), random([INNER]));
    compare(
        "linear, GELU",
        &|| activation::gelu(plain::linear(x.clone(), up.clone(), up_bias.clone())),
        &|| B::linear_gelu(x.clone(), up.clone(), up_bias.clone()),
    );

    let residual = random([rows, HIDDEN]);
    let (gamma, beta) = (random([HIDDEN]), random([HIDDEN]));
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
        &|| plain::linear_residual_norm(x.clone(), norm(), residual.clone()),
        &|| B::linear_residual_norm(x.clone(), norm(), residual.clone()),
    );

    let scores = random([BATCH, HEADS, SEQ, SEQ]);
    let mask = Tensor::<B, 4>::zeros([BATCH, 1, 1, SEQ], &FlexDevice);
    compare(
        "masked softmax, dropout",
        &|| plain::attention_probabilities(scores.clone(), mask.clone(), 0.125, 0.1),
        &|| B::attention_probabilities(scores.clone(), mask.clone(), 0.125, 0.1),
    );

    let heads = random([BATCH, HEADS, SEQ, HIDDEN / HEADS]);
    compare(
        "merge heads",
        &|| plain::merge_heads(heads.clone()),
        &|| B::merge_heads(heads.clone()),
    );

    adamw(HIDDEN * INNER);
}

fn adamw(len: usize) {
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        step_size: 1e-5,
        decay: 0.999,
    };
    type Update = fn(AdamWStep, [Tensor<Flex, 1>; 4]) -> [Tensor<Flex, 1>; 3];
    let timed = |update: Update| {
        let values = || Tensor::<Flex, 1>::ones([len], &FlexDevice);
        let mut state = Some([values(), values(), values()]);
        let grad = values();
        move || {
            let [parameter, first, second] = state.take().expect("put back below");
            let start = Instant::now();
            state = Some(update(step, [parameter, grad.clone(), first, second]));
            start.elapsed().as_secs_f64()
        }
    };
    let mut plain = timed(|step, [p, g, m, v]| plain::adamw(step, p, g, m, v));
    let mut fused = timed(|step, [p, g, m, v]| Flex::adamw(step, p, g, m, v));
    report("AdamW step, 2.4 M values", &mut plain, &mut fused);
}
