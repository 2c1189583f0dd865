//! The kernels in Burn's operations against those of the CPU backend, which the suite tests against
//! their oracles.

use burn::tensor::{DType, Distribution, Tensor};
use burn_flex::{Flex, FlexDevice};

use crate::ops::random::{keys, restore};
use crate::ops::{DropoutMask, Kernels, NormParams, SavedNorm};
use crate::ops::{activation, attention, dropout, residual_norm as norm};

fn random<const D: usize>(shape: [usize; D]) -> Tensor<Flex, D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &FlexDevice)
}

fn assert_close<const D: usize>(name: &str, got: Tensor<Flex, D>, expected: Tensor<Flex, D>) {
    let scale: f32 = expected.clone().abs().max().into_scalar().max(1.0);
    let error: f32 = (got - expected).abs().max().into_scalar();
    assert!(error <= 4e-6 * scale, "{name}: off by {error}");
}

#[test]
fn gelu() {
    let [product, grad] = [random([70, 48]), random([70, 48])];
    let bias = random([48]);
    assert_close(
        "output",
        activation::bias_gelu(product.clone(), bias.clone()),
        Flex::bias_gelu(product.clone(), bias.clone()),
    );
    let got = activation::bias_gelu_backward(product.clone(), bias.clone(), grad.clone());
    let expected = Flex::bias_gelu_backward(product, bias, grad);
    assert_close("gradient", got.0, expected.0);
    assert_close("gradient of the bias", got.1, expected.1);
}

#[test]
fn sigmoid_gate() {
    for gate in [[1.702, 0.0], [1.6, 0.07]] {
        let [product, grad] = [random([70, 48]), random([70, 48])];
        let bias = random([48]);
        assert_close(
            "output",
            activation::bias_gate(product.clone(), bias.clone(), gate),
            Flex::bias_gate(product.clone(), bias.clone(), gate),
        );
        let got = activation::bias_gate_backward(product.clone(), bias.clone(), grad.clone(), gate);
        let expected = Flex::bias_gate_backward(product, bias, grad, gate);
        assert_close("gradient", got.0, expected.0);
        assert_close("gradient of the bias", got.1, expected.1);
    }
}

#[test]
fn masked_softmax() {
    let [scores, grad] = [random([2, 3, 5, 17]), random([2, 3, 5, 17])];
    let mask = random([2, 1, 1, 17]);
    let got = attention::masked_softmax(scores.clone(), mask.clone(), 0.3);
    let expected = Flex::masked_softmax(scores, mask, 0.3);
    assert_close("output", got, expected.clone());
    let got =
        attention::masked_softmax_backward(grad.clone(), expected.clone(), 0.3, &DropoutMask::None);
    let expected = Flex::masked_softmax_backward(grad, expected, 0.3, &DropoutMask::None);
    assert_close("gradient", got, expected);
}

#[test]
fn residual_norm() {
    let [product, residual, grad] = [(); 3].map(|()| random([70, 48]));
    let [bias, gamma, beta] = [(); 3].map(|()| random([48]));
    let params = NormParams {
        bias,
        gamma: gamma.clone(),
        beta,
        epsilon: 1e-12,
        dropout: DropoutMask::None,
    };
    let got = norm::residual_norm(product.clone(), residual.clone(), &params);
    let expected = Flex::residual_norm(product, residual, &params);
    assert_close("output", got.output, expected.output);
    assert_close("normalized", got.normalized, expected.normalized.clone());
    assert_close("1/σ", got.inverse_std, expected.inverse_std.clone());
    let saved = SavedNorm {
        normalized: expected.normalized,
        inverse_std: expected.inverse_std,
        gamma,
        dropout: DropoutMask::None,
        product_dtype: DType::F32,
    };
    let got = norm::residual_norm_backward(grad.clone(), &saved);
    let expected = Flex::residual_norm_backward(grad, &saved);
    assert_close("by the branch", got.branch, expected.branch);
    assert_close("by the residual", got.residual, expected.residual);
    for (name, got, expected) in [
        ("by the bias", got.bias, expected.bias),
        ("by gamma", got.gamma, expected.gamma),
        ("by beta", got.beta, expected.beta),
    ] {
        assert_close(name, got, expected);
    }
}

/// A mask of the kind that devices without keyed dropout have.
fn stored<const D: usize>(shape: [usize; D], probability: f64) -> Tensor<Flex, D> {
    match DropoutMask::stored(shape, probability, &FlexDevice) {
        DropoutMask::Stored(mask) => mask,
        other => panic!("not stored: {other:?}"),
    }
}

#[test]
fn a_mask_drops_its_share_and_scales_the_rest() {
    let mask = stored([300, 50], 0.2);
    let x = random([300, 50]);
    let dropped = dropout::apply_dropout(x.clone(), &DropoutMask::Stored(mask.clone()));
    let zeros: f32 = mask.clone().equal_elem(0.0).float().mean().into_scalar();
    assert!((zeros - 0.2).abs() < 0.02, "{zeros}");
    let kept: f32 = mask.max().into_scalar();
    assert!((kept - 1.25).abs() < 1e-6, "{kept}");
    let zero = dropped.clone().equal_elem(0.0);
    assert_close("kept", dropped, (x * 1.25).mask_fill(zero, 0.0));
    let none = DropoutMask::<Flex, 2>::sample([3, 5], 0.0, &FlexDevice);
    assert!(matches!(none, DropoutMask::None));
}

#[test]
fn a_stored_mask_is_a_function_of_the_threads_keys() {
    let start = keys();
    let masks = [(); 2].map(|()| stored([30, 50], 0.2).into_data());
    assert_ne!(masks[0], masks[1]);
    restore(start);
    let again = [(); 2].map(|()| stored([30, 50], 0.2).into_data());
    assert_eq!(masks, again);
}
