//! LayerNorm against its oracles, gradients included, and the sums that the gradients of vectors are.

use burn::tensor::Tensor;
use burn::tensor::ops::ModuleOps;

use super::Inner;
use super::suite::{B, SIZES, assert_close, compare, random};
use crate::ops::activation::{LinearGelu, gelu_oracle};
use crate::ops::backend::{primitive, tensor};
use crate::ops::residual_norm::{self, layer_norm_of, residual_norm_of};
use crate::ops::{Kernels, feed_forward, linear, self_attention};

pub(super) const EPSILON: f64 = 1e-12;

/// Bias, gamma and beta; and the weight `[from, to]`.
fn norm(v: &[Tensor<B, 1>], from: usize, to: usize) -> ([Tensor<B, 1>; 3], Tensor<B, 2>) {
    let weight = v[3].clone().reshape([from, to]);
    ([v[0].clone(), v[1].clone(), v[2].clone()], weight)
}

#[test]
fn residual_norm_is_norm_of_the_sum() {
    for (rows, from, to) in SIZES {
        let vectors = vec![
            random([to]),
            random([to]),
            random([to]),
            random([from * to]),
        ];
        let residual = random([rows, to]).detach().require_grad();
        compare(
            [random([rows, from])],
            vectors,
            |[x], v| {
                let (vectors, weight) = norm(&v, from, to);
                residual_norm_of([x, weight, residual.clone()], vectors, EPSILON, 0.0)
            },
            |[x], v| {
                let (vectors, weight) = norm(&v, from, to);
                residual_norm::oracle([x, weight, residual.clone()], vectors, EPSILON)
            },
        );
        // The same with the residual as the input under test.
        let x = random([rows, from]);
        let v = [
            random([to]),
            random([to]),
            random([to]),
            random([from * to]),
        ];
        compare(
            [random([rows, to])],
            Vec::new(),
            |[residual], _| {
                let (vectors, weight) = norm(&v, from, to);
                residual_norm_of([x.clone(), weight, residual], vectors, EPSILON, 0.0)
            },
            |[residual], _| {
                let (vectors, weight) = norm(&v, from, to);
                residual_norm::oracle([x.clone(), weight, residual], vectors, EPSILON)
            },
        );
    }
}

#[test]
fn the_half_of_a_layer_is_its_operations() {
    for (rows, from, to) in SIZES {
        let vectors: Vec<_> = [to, to, to, from, to, to, to]
            .map(|len| random([len]))
            .into();
        let weights = [[to, to], [to, from], [from, to]];
        let weights = weights.map(|[a, b]| random([a * b]) / (a as f64).sqrt());
        let parts = |v: &[Tensor<B, 1>]| {
            let vector = |part: usize| v[part].clone();
            let weight = |part: usize, shape: [usize; 2]| v[7 + part].clone().reshape(shape);
            (
                (weight(0, [to, to]), [0, 1, 2].map(vector)),
                (weight(1, [to, from]), vector(3)),
                (weight(2, [from, to]), [4, 5, 6].map(vector)),
            )
        };
        compare(
            [random([rows, to]), random([rows, to])],
            vectors.into_iter().chain(weights).collect(),
            |matrices, v| {
                let (first, inner, last) = parts(&v);
                let constants = [(EPSILON, 0.0); 2];
                feed_forward::joined(LinearGelu, constants, matrices, first, inner, last)
            },
            |[context, hidden], v| {
                let (first, inner, last) = parts(&v);
                let normed = residual_norm::oracle([context, first.0, hidden], first.1, EPSILON);
                let inner = gelu_oracle(linear::oracle(normed.clone(), inner.0, inner.1));
                residual_norm::oracle([inner, last.0, normed], last.1, EPSILON)
            },
        );
    }
}

#[test]
fn layer_norm_is_that_of_burn() {
    for (rows, _, width) in SIZES {
        compare(
            [random([rows, width])],
            vec![random([width]), random([width])],
            |[x], v| layer_norm_of(x, [v[0].clone(), v[1].clone()], EPSILON),
            |[x], v| {
                let [gamma, beta] = [0, 1].map(|part| primitive(v[part].clone()));
                let x = primitive(x);
                tensor(<B as ModuleOps<B>>::layer_norm(
                    x,
                    gamma,
                    Some(beta),
                    EPSILON,
                ))
            },
        );
    }
}

#[test]
fn columns_are_summed() {
    for (rows, _, width) in SIZES {
        let x = random([rows, 3 * width]).inner();
        let sums = Inner::column_sums(x.clone());
        assert_close("columns", sums, linear::column_sums(x.clone()));
        let three = Inner::three_column_sums(x.clone());
        let expected = self_attention::three_column_sums::<Inner>(x);
        for (got, expected) in three.into_iter().zip(expected) {
            assert_close("part", got, expected);
        }
    }
}
