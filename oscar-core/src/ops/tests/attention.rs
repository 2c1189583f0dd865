//! The operations of attention against their oracles, gradients included.

use burn::tensor::{Distribution, Tensor};

use super::suite::{B, assert_close, compare, random};
use super::{DEVICE, Inner};
use crate::ops::self_attention::{self, self_attention_of};
use crate::ops::{
    self, DropoutMask, HeadLayout, Kernels, RowAttention, RowIndex, attention,
    attention_probabilities, linear, merge_heads, split_heads,
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
            |[x], v| self_attention_of(x, layers(&v), [&layout; 2], mask.clone(), (0.3, 0.0)),
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

/// Positions of sequences, every fifth of which has no row; the last rows only fill up.
fn most_of(batch: usize, seq: usize, heads: usize) -> HeadLayout<Inner> {
    let len = batch * seq;
    let mut places: Vec<u32> = (0..len as u32).filter(|place| place % 5 != 3).collect();
    let mut rows = vec![places.len() as u32 + 2; len];
    for (row, place) in places.iter().enumerate() {
        rows[*place as usize] = row as u32;
    }
    places.extend([len as u32; 2]);
    HeadLayout {
        batch,
        seq,
        heads,
        places: RowIndex::new(places, &DEVICE),
        rows: RowIndex::new(rows, &DEVICE),
    }
}

/// The first position of each sequence, and the last.
fn ends_of(keys: &HeadLayout<Inner>) -> HeadLayout<Inner> {
    let (batch, seq) = (keys.batch, keys.seq);
    let places = (0..batch).flat_map(|row| [row * seq, (row + 1) * seq - 1]);
    let places: Vec<u32> = places.map(|place| place as u32).collect();
    let mut rows = vec![places.len() as u32; batch * seq];
    for (row, place) in places.iter().enumerate() {
        rows[*place as usize] = row as u32;
    }
    HeadLayout {
        places: RowIndex::new(places, &DEVICE),
        rows: RowIndex::new(rows, &DEVICE),
        ..keys.clone()
    }
}

/// Tiles are full and not full, one and several; dropout drops the same elements.
#[test]
fn rows_attend_as_by_products() {
    for (batch, heads, seq, size) in [(1, 1, 2, 1), (2, 3, 70, 64), (3, 2, 33, 20), (1, 2, 64, 7)] {
        let keys = most_of(batch, seq, heads);
        for (queries, mask_queries, dropout) in [
            (keys.clone(), 1, 0.0),
            (keys.clone(), seq, 0.3),
            (ends_of(&keys), 1, 0.2),
        ] {
            let params = RowAttention {
                mask: mask(batch, mask_queries, seq).inner(),
                scale: 1.0 / (size as f64).sqrt(),
                dropout: DropoutMask::sample([batch, heads, seq, seq], dropout, &DEVICE),
                keys: keys.clone(),
                queries,
            };
            let width = heads * size;
            let x = random([keys.places.host.len(), 3 * width]).inner();
            let biases = [(); 3].map(|()| random([width]).inner());
            let (expected, saved) =
                self_attention::attend_rows::<Inner>(x.clone(), biases.clone(), &params);
            let grad = random(expected.dims()).inner();
            let by_expected =
                self_attention::attend_rows_backward::<Inner>(grad.clone(), saved, &params);
            let (got, saved) = Inner::attend_rows(x, biases, &params);
            assert_close("rows", got, expected);
            let by_got = Inner::attend_rows_backward(grad, saved, &params);
            assert_close("gradient", by_got, by_expected);
        }
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
