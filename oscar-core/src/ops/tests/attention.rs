//! The operations of attention against their oracles, gradients included.

use burn::tensor::{Distribution, Tensor};

use super::suite::{B, assert_close, compare, random};
use super::{DEVICE, Inner};
use crate::ops::self_attention::self_attention_of;
use crate::ops::{
    self, DropoutMask, HeadLayout, Kernels, RowIndex, attention, attention_probabilities, linear,
    merge_heads, split_heads,
};

fn mask(batch: usize, queries: usize, keys: usize) -> Tensor<B, 4> {
    let random: Tensor<B, 4> = Tensor::random(
        [batch, 1, queries, keys],
        Distribution::Bernoulli(0.3),
        &DEVICE,
    );
    random * -10_000.0
}

#[test]
fn attention_probabilities_are_a_masked_softmax() {
    for (batch, heads, queries, keys) in [(1, 1, 1, 1), (2, 3, 5, 17), (4, 4, 33, 33)] {
        for mask_queries in [1, queries] {
            let mask = mask(batch, mask_queries, keys);
            compare(
                [random([batch, heads, queries, keys]) * 3.0],
                Vec::new(),
                |[scores], _| attention_probabilities(scores, mask.clone(), 0.3, 0.0),
                |[scores], _| attention::masked_softmax(scores, mask.clone(), 0.3),
            );
        }
    }
}

#[test]
fn a_row_without_any_key_attends_to_all() {
    let scores = random([1, 1, 2, 8]);
    let mask = Tensor::<B, 4>::full([1, 1, 1, 8], -10_000.0, &DEVICE);
    let got = attention_probabilities(scores, mask, 1.0, 0.0).sum_dim(3);
    assert_close("sums", got, Tensor::ones([1, 1, 2, 1], &DEVICE));
}

#[test]
fn heads_are_split_and_merged() {
    for (batch, seq, heads, size) in [(1, 1, 1, 1), (2, 5, 3, 4), (3, 17, 4, 32)] {
        compare(
            [random([batch, seq, heads * size])],
            Vec::new(),
            |[x], _| split_heads(x, heads),
            |[x], _| attention::split_by_reshape(x, heads),
        );
        compare(
            [random([batch, heads, seq, size])],
            Vec::new(),
            |[x], _| merge_heads(x),
            |[x], _| attention::merge_by_reshape(x),
        );
        compare(
            [random([batch, heads, size, seq])],
            Vec::new(),
            |[x], _| merge_heads(x.swap_dims(2, 3)),
            |[x], _| attention::merge_by_reshape(x.swap_dims(2, 3)),
        );
    }
}

/// Five and three real positions of two sequences of six; the last rows only fill up.
fn two_sequences(heads: usize) -> HeadLayout<B> {
    let places = vec![0, 1, 2, 4, 5, 6, 9, 11, 12, 12];
    let mut rows = vec![10; 12];
    for (row, place) in places.iter().enumerate().filter(|(_, place)| **place < 12) {
        rows[*place as usize] = row as u32;
    }
    HeadLayout {
        batch: 2,
        seq: 6,
        heads,
        places: RowIndex::new(places, &DEVICE),
        rows: RowIndex::new(rows, &DEVICE),
    }
}

#[test]
fn self_attention_is_attention_by_three_layers() {
    for (from, heads, size) in [(5, 1, 1), (16, 3, 4), (33, 2, 20)] {
        let (layout, width) = (two_sequences(heads), heads * size);
        let mask = mask(2, 1, 6);
        // Of outputs near 1: the gradients of keys' biases are sums that cancel.
        let weights = [(); 3].map(|()| random([from * width]) / (from as f64).sqrt());
        let biases = [(); 3].map(|()| random([width]));
        let layers = |v: &[Tensor<B, 1>]| {
            [0, 1, 2].map(|part| {
                let weight = v[part].clone().reshape([from, width]);
                (weight, v[3 + part].clone())
            })
        };
        compare(
            [random([10, from])],
            weights.into_iter().chain(biases).collect(),
            |[x], v| self_attention_of(x, layers(&v), &layout, mask.clone(), (0.3, 0.0)),
            |[x], v| {
                let heads = layers(&v).map(|(weight, bias)| {
                    let rows = linear::oracle(x.clone(), weight, bias);
                    let positions = ops::gather_rows(rows, &layout.rows, &layout.places);
                    attention::split_by_reshape(ops::unflatten(positions, 2, 6), heads)
                });
                let [query, key, value] = heads;
                let scores = query.matmul(key.swap_dims(2, 3));
                let probabilities = attention::masked_softmax(scores, mask.clone(), 0.3);
                let context = attention::merge_by_reshape(probabilities.matmul(value));
                ops::gather_rows(ops::flatten(context), &layout.places, &layout.rows)
            },
        );
    }
}

#[test]
fn a_dropped_softmax_is_the_softmax_and_what_is_left_of_it() {
    let (scores, mask) = (random([2, 3, 5, 17]).inner(), mask(2, 1, 17).inner());
    let dropout = DropoutMask::sample([2, 3, 5, 17], 0.4, &DEVICE);
    let expected = Inner::masked_softmax(scores.clone(), mask.clone(), 0.3);
    let [probabilities, dropped] = Inner::dropped_softmax(scores, mask, 0.3, &dropout);
    assert_close("probabilities", probabilities, expected.clone());
    assert_close("dropped", dropped, Inner::apply_dropout(expected, &dropout));
}
