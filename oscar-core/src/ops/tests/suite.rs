//! The operations of a backend against their oracles, gradients included.

use burn::backend::Autodiff;
use burn::tensor::{Distribution, Int, Tensor, TensorData, backend::Backend};

use super::norm::EPSILON;
use super::{DEVICE, Inner};
use crate::config::Activation;
use crate::ops::activation::{activate, affine_activate, gelu_oracle, linear_gelu};
use crate::ops::linear::WeightOrder;
use crate::ops::residual_norm::residual_norm_of;
use crate::ops::{
    self, AttentionParams, CaptionKeyValues, ConvolutionParams, Kernels, KeyValue, RowIndex,
    WordPositions, attention_probabilities, cached_attention, convolution, gather, linear, loss,
    top_k,
};

pub(super) type B = Autodiff<Inner>;

pub(super) fn random<const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &DEVICE)
}

pub(super) fn assert_close<T: Backend, const D: usize>(
    name: &str,
    got: Tensor<T, D>,
    expected: Tensor<T, D>,
) {
    assert_eq!(got.dims(), expected.dims(), "{name}");
    let (got, expected) = (got.into_data(), expected.into_data());
    let largest = expected.iter::<f32>().fold(1.0_f32, |a, b| a.max(b.abs()));
    for (index, (got, expected)) in got.iter::<f32>().zip(expected.iter::<f32>()).enumerate() {
        let error = (got - expected).abs();
        assert!(
            error <= 4e-6 * largest,
            "{name}[{index}]: {got}, expected {expected}"
        );
    }
}

/// Compares outputs, and gradients of `<output, projection>` by every input.
pub(super) fn compare<const N: usize, const D: usize, const O: usize>(
    inputs: [Tensor<B, D>; N],
    vectors: Vec<Tensor<B, 1>>,
    fused: impl Fn([Tensor<B, D>; N], Vec<Tensor<B, 1>>) -> Tensor<B, O>,
    plain: impl Fn([Tensor<B, D>; N], Vec<Tensor<B, 1>>) -> Tensor<B, O>,
) {
    let inputs = inputs.map(|input| input.detach().require_grad());
    let vectors: Vec<_> = vectors
        .into_iter()
        .map(|v| v.detach().require_grad())
        .collect();
    let got = fused(inputs.clone(), vectors.clone());
    let expected = plain(inputs.clone(), vectors.clone());
    assert_close("output", got.clone(), expected.clone());
    let projection = got.random_like(Distribution::Normal(0.0, 1.0));
    let got = (got * projection.clone()).sum().backward();
    let expected = (expected * projection).sum().backward();
    for (index, input) in inputs.iter().enumerate() {
        let grads = [&got, &expected].map(|grads| input.grad(grads).expect("a gradient"));
        let [got, expected] = grads;
        assert_close(&format!("gradient of input {index}"), got, expected);
    }
    for (index, vector) in vectors.iter().enumerate() {
        let grads = [&got, &expected].map(|grads| vector.grad(grads).expect("a gradient"));
        let [got, expected] = grads;
        assert_close(&format!("gradient of vector {index}"), got, expected);
    }
}

/// Numbers of rows around the size of a block, and widths around that of a vector.
pub(super) const SIZES: [(usize, usize, usize); 5] = [
    (1, 3, 5),
    (7, 16, 48),
    (64, 33, 17),
    (65, 48, 32),
    (200, 128, 20),
];

#[test]
fn linear_is_linear() {
    for (rows, from, to) in SIZES {
        compare(
            [random([rows, from])],
            vec![random([to]), random([from * to])],
            |[x], v| {
                let weight = v[1].clone().reshape([from, to]);
                linear::product_bias(WeightOrder::InputFirst, [x, weight], v[0].clone())
            },
            |[x], v| linear::oracle(x, v[1].clone().reshape([from, to]), v[0].clone()),
        );
        compare(
            [random([rows, from])],
            vec![random([to]), random([from * to])],
            |[x], v| ops::tied_linear(x, v[1].clone().reshape([to, from]), v[0].clone()),
            |[x], v| {
                let matrix = v[1].clone().reshape([to, from]);
                linear::oracle(x, matrix.transpose(), v[0].clone())
            },
        );
    }
}

#[test]
fn products_of_few_rows_are_products() {
    for rows in [1, 5, 24, 64, 65] {
        for (inner, width) in [(3, 5), (8, 64), (100, 130), (70, 1200)] {
            let (x, weight) = (
                random([rows, inner]).inner(),
                random([inner, width]).inner(),
            );
            let name = format!("{rows}, {inner}, {width}");
            let expected = x.clone().matmul(weight.clone());
            assert_close(
                &name,
                Inner::product(x.clone(), weight.clone()),
                expected.clone(),
            );
            let turned = weight.transpose().reshape([inner * width]);
            let turned = turned.reshape([width, inner]).transpose();
            assert_close(&name, Inner::product(x, turned), expected);
        }
    }
}

#[test]
fn kept_keys_are_read_as_by_products() {
    // Two images with three captions each, after steps of one caption and of three.
    let (heads, size) = (3, 20);
    let keys = |rows: usize, len: usize| KeyValue {
        key: random([rows, len, heads * size]).inner(),
        value: random([rows, len, heads * size]).inner(),
    };
    for (tokens, positions) in [(1, 5), (2, 37)] {
        let shared = keys(2, positions);
        let steps = [keys(2, 2), keys(6, 1), keys(6, tokens)];
        let words = 2 + tokens;
        let of_row = |row: u32| {
            let newest = (0..tokens as u32).map(move |token| (2, row * tokens as u32 + token));
            [(0, row / 3 * 2), (1, (row + 2) % 6)]
                .into_iter()
                .chain(newest)
        };
        let places = (0..6).flat_map(of_row).collect();
        let places = WordPositions::new(words, places, [4, 6, 6 * tokens], &DEVICE);
        let own = CaptionKeyValues {
            steps: &steps,
            positions: &places,
        };
        let query = random([6, tokens, heads * size]).inner();
        let reading = AttentionParams {
            mask: random([6, 1, tokens, positions + words]).inner(),
            heads,
            scale: 0.3,
            dropout: 0.0,
        };
        let got = <Inner as Kernels>::cached_attention(query.clone(), &shared, &own, &reading);
        let gathered = cached_attention::by_products(query.clone(), &shared, &own, &reading);
        assert_close("what is gathered", gathered, got.clone());

        // The same with what is each row's own side by side, and nothing elsewhere.
        let side_by_side = |of: fn(&KeyValue<Inner>) -> &Tensor<Inner, 3>| {
            let rows = (0..6).map(|row| {
                let of_row = of_row(row).map(|(step, at)| {
                    let step = of(&steps[step as usize]).clone();
                    let [rows, tokens, width] = step.dims();
                    step.reshape([1, rows * tokens, width])
                        .narrow(1, at as usize, 1)
                });
                Tensor::cat(of_row.collect(), 1)
            });
            Tensor::cat(rows.collect(), 0)
        };
        let together = [KeyValue {
            key: side_by_side(|step| &step.key),
            value: side_by_side(|step| &step.value),
        }];
        let in_order = (0..6 * words as u32).map(|at| (0, at)).collect();
        let own = CaptionKeyValues {
            steps: &together,
            positions: &WordPositions::new(words, in_order, [6 * words], &DEVICE),
        };
        let expected = cached_attention::by_products(query, &shared, &own, &reading);
        assert_close("what is read", got, expected);
    }
}

#[test]
fn convolutions_are_those_over_planes() {
    // Kernel, stride, dilation, groups, channels in and out: among them groups of 1, 8, 20 and 80
    // channels, and rows of fewer cells than are summed at once.
    let cases = [
        [1, 1, 1, 1, 5, 7],
        [1, 2, 1, 1, 6, 4],
        [3, 1, 1, 1, 5, 7],
        [3, 1, 2, 1, 8, 6],
        [3, 2, 1, 1, 4, 9],
        [7, 2, 1, 1, 3, 8],
        [3, 1, 1, 4, 12, 32],
        [3, 2, 1, 5, 5, 5],
        [3, 1, 2, 2, 6, 40],
        [3, 2, 1, 2, 10, 160],
    ];
    for [kernel, stride, dilation, groups, channels, out] in cases {
        for width in [3, 7, 16] {
            let random_inner = |shape: [usize; 4]| {
                Tensor::<Inner, 4>::random(shape, Distribution::Normal(0.0, 1.0), &DEVICE)
            };
            let x = random_inner([2, 9, width, channels]);
            let params = ConvolutionParams {
                weight: random_inner([kernel, kernel, channels / groups, out]),
                bias: random([out]).inner(),
                stride,
                dilation,
                groups,
            };
            let plain = ops::convolution::by_planes(x.clone(), &params, None, false);
            let residual = random_inner(plain.dims());
            let joined =
                ops::convolution::by_planes(x.clone(), &params, Some(residual.clone()), true);
            assert_close("plain", convolution(x.clone(), &params, None, false), plain);
            assert_close(
                "joined",
                convolution(x, &params, Some(residual), true),
                joined,
            );
        }
    }
}

#[test]
fn cross_entropy_is_that_of_burn() {
    for (rows, classes) in [(1, 1), (3, 17), (70, 600)] {
        let labels: Vec<i32> = (0..rows).map(|row| (row * 7 % classes) as i32).collect();
        let labels = TensorData::new(labels, [rows]);
        let labels = Tensor::<B, 1, Int>::from_data(labels, &DEVICE);
        compare(
            [random([rows, classes]) * 9.0],
            Vec::new(),
            |[logits], _| loss::cross_entropy_rows(logits, labels.clone()),
            |[logits], _| loss::cross_entropy_oracle(logits, labels.clone()),
        );
    }
}

#[test]
fn log_softmax_is_the_logarithm_of_softmax() {
    for (rows, width) in [(1, 1), (5, 300), (2, 1000)] {
        let x = random([rows, width]).inner() * 5.0;
        let expected = top_k::burn_log_softmax(x.clone());
        assert_close("rows", <Inner as Kernels>::log_softmax(x), expected);
    }
}

#[test]
fn activations_with_a_sigmoid_are_those_of_linear() {
    for activation in [Activation::GeluNew, Activation::QuickGelu] {
        for (rows, from, to) in SIZES {
            compare(
                [random([rows, from])],
                vec![random([to]), random([from * to])],
                |[x], v| {
                    let weight = v[1].clone().reshape([from, to]);
                    affine_activate([x, weight], v[0].clone(), activation)
                },
                |[x], v| {
                    let weight = v[1].clone().reshape([from, to]);
                    activate(activation, linear::oracle(x, weight, v[0].clone()))
                },
            );
        }
    }
}

#[test]
fn linear_gelu_is_gelu_of_linear() {
    for (rows, from, to) in SIZES {
        compare(
            [random([rows, from])],
            vec![random([to]), random([from * to])],
            |[x], v| linear_gelu(x, v[1].clone().reshape([from, to]), v[0].clone()),
            |[x], v| {
                let weight = v[1].clone().reshape([from, to]);
                gelu_oracle(linear::oracle(x, weight, v[0].clone()))
            },
        );
    }
}

#[test]
fn rows_are_gathered_and_their_gradients_returned() {
    let (rows, width) = (130, 33);
    // Each second row, last first, and then one that does not exist.
    let index: Vec<u32> = (0..rows / 2)
        .rev()
        .map(|row| row * 2)
        .chain([rows])
        .collect();
    let mut back = vec![index.len() as u32; rows as usize];
    for (at, row) in index.iter().enumerate().take(index.len() - 1) {
        back[*row as usize] = at as u32;
    }
    let [index, back] = [index, back].map(|rows| RowIndex::<B>::new(rows, &DEVICE));
    compare(
        [random([rows as usize, width])],
        Vec::new(),
        |[x], _| ops::gather_rows(x, &index, &back),
        |[x], _| gather::select_rows(x, &index),
    );
}

#[test]
fn inputs_that_are_views_are_read_rightly() {
    let weight = random([40, 24]);
    compare(
        [random([24, 60])],
        vec![random([24])],
        |[x], v| {
            linear_gelu(
                x.swap_dims(0, 1).narrow(1, 0, 24),
                weight.clone().narrow(0, 8, 24),
                v[0].clone(),
            )
        },
        |[x], v| {
            let x = x.swap_dims(0, 1).narrow(1, 0, 24);
            gelu_oracle(linear::oracle(
                x,
                weight.clone().narrow(0, 8, 24),
                v[0].clone(),
            ))
        },
    );
}

/// Share of zeros, and the mean of the values that are not.
fn zeros_and_mean(values: &[f32]) -> (f64, f64) {
    let kept: Vec<f64> = values
        .iter()
        .filter(|v| **v != 0.0)
        .map(|v| f64::from(*v))
        .collect();
    let zeros = values.len() - kept.len();
    (
        zeros as f64 / values.len() as f64,
        kept.iter().sum::<f64>() / kept.len() as f64,
    )
}

#[test]
fn attention_dropout_keeps_its_share_and_its_mask_in_the_gradient() {
    let scores = Tensor::<B, 4>::zeros([8, 4, 32, 50], &DEVICE).require_grad();
    let mask = Tensor::<B, 4>::zeros([8, 1, 1, 50], &DEVICE);
    let run = || attention_probabilities(scores.clone(), mask.clone(), 1.0, 0.1);
    let output = run();
    let values: Vec<f32> = output.clone().into_data().iter::<f32>().collect();
    let (zeros, mean) = zeros_and_mean(&values);
    assert!((zeros - 0.1).abs() < 0.005, "{zeros}");
    assert!((mean - 0.02 / 0.9).abs() < 1e-6, "{mean}");

    // d/ds of sum(w * dropout(softmax(s))) with the mask that the forward pass drew.
    let weights = output.random_like(Distribution::Normal(0.0, 1.0));
    let grads = (output * weights.clone()).sum().backward();
    let got = scores.grad(&grads).expect("a gradient");
    let factors: Vec<f32> = values
        .iter()
        .map(|v| if *v == 0.0 { 0.0 } else { 1.0 / 0.9 })
        .collect();
    let factors = burn::tensor::TensorData::new(factors, [8, 4, 32, 50]);
    let factors = Tensor::<Inner, 4>::from_data(factors, &DEVICE);
    let inner = weights.inner() * factors;
    let expected = (inner.clone() - inner.mean_dim(3)) / 50.0;
    assert_close("gradient", got, expected);

    // Another call draws another mask.
    let other: Vec<f32> = run().into_data().iter::<f32>().collect();
    assert_ne!(values, other);
}

#[test]
fn branch_dropout_keeps_its_share_and_its_mask_in_the_gradient() {
    let (rows, width) = (300, 64);
    // With residual 0 and a branch of equal rows, the bias alone decides what a row looks like.
    let x = Tensor::<B, 2>::zeros([rows, 8], &DEVICE);
    let residual = Tensor::<B, 2>::zeros([rows, width], &DEVICE).require_grad();
    let bias = Tensor::<B, 1>::ones([width], &DEVICE).require_grad();
    let matrices = [x, Tensor::zeros([8, width], &DEVICE), residual.clone()];
    let [gamma, beta] = [
        Tensor::ones([width], &DEVICE),
        Tensor::zeros([width], &DEVICE),
    ];
    let output = residual_norm_of(matrices, [bias.clone(), gamma, beta], EPSILON, 0.1);
    let values: Vec<f32> = output.clone().into_data().iter::<f32>().collect();
    let dropped: Vec<bool> = values.iter().map(|v| *v < 0.0).collect();
    let share = dropped.iter().filter(|d| **d).count() as f64 / dropped.len() as f64;
    assert!((share - 0.1).abs() < 0.01, "{share}");

    let projection = output.random_like(Distribution::Normal(0.0, 1.0));
    let grads = (output * projection).sum().backward();
    let by_residual = residual.grad(&grads).expect("a gradient");
    let by_residual: Vec<f32> = by_residual.into_data().iter::<f32>().collect();
    let mut expected = vec![0.0_f32; width];
    for (index, (grad, dropped)) in by_residual.iter().zip(&dropped).enumerate() {
        if !dropped {
            expected[index % width] += grad / 0.9;
        }
    }
    let expected = Tensor::<Inner, 1>::from_floats(expected.as_slice(), &DEVICE);
    assert_close(
        "gradient of the bias",
        bias.grad(&grads).expect("a gradient"),
        expected,
    );
}

#[test]
fn dropout_keeps_its_share_and_its_mask_in_the_gradient() {
    let x = Tensor::<B, 3>::ones([7, 50, 33], &DEVICE).require_grad();
    let output = ops::dropout(x.clone(), 0.25);
    let values: Vec<f32> = output.clone().into_data().iter::<f32>().collect();
    let (zeros, mean) = zeros_and_mean(&values);
    assert!((zeros - 0.25).abs() < 0.02, "{zeros}");
    assert!((mean - 1.0 / 0.75).abs() < 1e-6, "{mean}");
    let grads = output.clone().sum().backward();
    assert_close("gradient", x.grad(&grads).unwrap(), output.inner());
    let kept = ops::dropout(x.clone(), 0.0);
    assert_close("none dropped", kept, x.clone());
    let inferred = ops::dropout(x.clone().inner(), 0.25);
    assert_close("without gradients", inferred, x.inner());
}

#[test]
fn the_largest_of_each_row() {
    let x: Tensor<B, 2> = random([7, 61]);
    for k in [0, 1, 5, 61, 80] {
        let got = <Inner as Kernels>::top_k(x.clone().inner(), k);
        assert_eq!(got, top_k::repeated_maximum(x.clone().inner(), k), "{k}");
        // Where gradients are computed, they are found in the same way.
        assert_eq!(got, ops::top_k(x.clone(), k), "{k}");
        assert_eq!(got.entries.len(), 7 * k.min(61));
    }
    // Not only contiguous rows; of equal values the first.
    let x = Tensor::<Inner, 2>::from_floats([[1.0, 3.0], [3.0, 3.0], [2.0, 0.0]], &DEVICE);
    let found = <Inner as Kernels>::top_k(x.transpose(), 2);
    let rows: Vec<_> = found.rows().collect();
    assert_eq!(rows, [&[(1, 3.0), (2, 2.0)], &[(0, 3.0), (1, 3.0)]]);
}
