//! Products of bf16 operands: as near to f32 as their eight bits allow, and f32 where it is
//! promised.

use burn::backend::Autodiff;
use burn::tensor::{DType, Distribution, Tensor};
use burn_tch::LibTorch;

use super::DEVICE;
use crate::config::ModelConfig;
use crate::input::{AttentionMask, OscarInput};
use crate::model::{OscarForCaptioning, for_inference};
use crate::ops::activation::linear_gelu;
use crate::ops::linear::{WeightOrder, product_bias};
use crate::ops::residual_norm::residual_norm_of;
use crate::ops::{Kernels, Precision, attention_probabilities};

type B = Autodiff<LibTorch>;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &DEVICE).require_grad()
}

/// Half of a layer and the gradients of its inputs.
fn half_layer(inputs: &[Tensor<B, 2>; 4], vectors: &[Tensor<B, 1>; 4]) -> Vec<Tensor<LibTorch, 2>> {
    let [x, up, down, projection] = inputs;
    let [up_bias, bias, gamma, beta] = vectors;
    let inner = linear_gelu(x.clone(), up.clone(), up_bias.clone());
    let matrices = [inner, down.clone(), x.clone()];
    let norm = [bias.clone(), gamma.clone(), beta.clone()];
    let output = residual_norm_of(matrices, norm, 1e-12, 0.0);
    assert_eq!(output.dtype(), DType::F32);
    let grads = (output.clone() * projection.clone().detach())
        .sum()
        .backward();
    let mut results = vec![output.inner()];
    results.extend([x, up, down].map(|input| input.grad(&grads).unwrap()));
    results.extend(vectors.iter().map(|v| v.grad(&grads).unwrap().unsqueeze()));
    results
}

#[test]
fn half_a_layer_is_near_f32() {
    let inputs = [
        random([70, 32]),
        random([32, 64]),
        random([64, 32]),
        random([70, 32]),
    ];
    let vectors = [random([64]), random([32]), random([32]), random([32])];
    let wide = half_layer(&inputs, &vectors);
    let narrow = Precision::Bf16.scope(|| half_layer(&inputs, &vectors));
    for (index, (got, expected)) in narrow.into_iter().zip(wide).enumerate() {
        assert_eq!(got.dtype(), DType::F32, "{index}");
        let norm = |x: Tensor<LibTorch, 2>| -> f32 { x.powi_scalar(2).sum().sqrt().into_scalar() };
        let error = norm(got - expected.clone()) / norm(expected);
        assert!(error < 0.02, "result {index} is off by {error}");
        // The gradient of beta is the sum of the rows that come in, whatever was computed before.
        assert!(
            error > 0.0 || index == 7,
            "result {index} was not computed in bf16"
        );
    }
}

#[test]
fn the_scope_ends() {
    let (x, w, b) = (random([4, 8]), random([8, 8]), random([8]));
    let dtype = || product_bias(WeightOrder::InputFirst, [x.clone(), w.clone()], b.clone()).dtype();
    assert_eq!(Precision::Bf16.scope(dtype), DType::BF16);
    assert_eq!(dtype(), DType::F32);
}

/// Attention's probabilities and the gradient of its scores.
fn attention(scores: &Tensor<B, 4>, projection: &Tensor<B, 4>) -> [Tensor<LibTorch, 4>; 2] {
    let mask = Tensor::zeros([3, 1, 1, 19], &DEVICE);
    let output = attention_probabilities(scores.clone(), mask, 0.5, 0.0);
    let grads = (output.clone() * projection.clone()).sum().backward();
    [output.inner(), scores.grad(&grads).unwrap()]
}

#[test]
fn attention_is_near_f32() {
    let (scores, projection) = (random([3, 2, 5, 19]), random([3, 2, 5, 19]).detach());
    let narrow = Tensor::from_inner(scores.clone().inner().cast(DType::BF16)).require_grad();
    let got = attention(&narrow, &projection.clone().cast(DType::BF16));
    for (got, expected) in got.into_iter().zip(attention(&scores, &projection)) {
        assert_eq!(got.dtype(), DType::BF16);
        let norm = |x: Tensor<LibTorch, 4>| -> f32 { x.powi_scalar(2).sum().sqrt().into_scalar() };
        let error = norm(got.cast(DType::F32) - expected.clone()) / norm(expected);
        assert!(error > 0.0 && error < 0.02, "{error}");
    }
}

#[test]
fn products_of_few_rows_round_as_others() {
    let [x, weight] = [random([10, 100]), random([100, 200])];
    let [x, weight] = [x, weight].map(|x| x.inner().cast(DType::BF16));
    let got = LibTorch::product(x.clone(), weight.clone());
    assert_eq!(got.dtype(), DType::BF16);
    let [x, weight, got] = [x, weight, got].map(|x| x.cast(DType::F32));
    let expected = x.matmul(weight);
    let error: f32 = (got - expected.clone()).abs().max().into_scalar();
    let largest: f32 = expected.abs().max().into_scalar();
    assert!(error <= largest / 256.0, "off by {error} of {largest}");
}

#[test]
fn a_model_made_ready_computes_the_same() {
    let config = ModelConfig {
        vocab_size: 40,
        tie_weights: true,
        ..ModelConfig::tiny()
    };
    let model = OscarForCaptioning::<LibTorch>::new(&config, &DEVICE);
    let input = OscarInput {
        input_ids: Tensor::ones([8, 6], &DEVICE),
        token_type_ids: Tensor::zeros([8, 6], &DEVICE),
        position_ids: None,
        attention_mask: AttentionMask::Padding(Tensor::ones([8, 6], &DEVICE)),
        region_features: None,
        query_positions: None,
        packing: None,
    };
    let logits = |model: &OscarForCaptioning<LibTorch>| {
        let rows = Tensor::arange(0..48, &DEVICE);
        model.forward(input.clone(), rows).into_data()
    };
    let wide = logits(&model);
    Precision::Bf16.scope(|| {
        let expected = logits(&model);
        assert_ne!(wide, expected);
        assert_eq!(logits(&for_inference(model.clone())), expected);
        assert_eq!(logits(&model.for_inference()), expected);
    });
}
