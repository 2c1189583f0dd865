//! Attention of a few tokens to keys and values that are kept, head by head and without a copy: at
//! this size every operation that only rearranges costs as much as one that computes.

use burn::tensor::{Shape, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

use super::element::Element;
use super::math::{dot, exp, max, sum};
use super::{HostBackend, dense, wrap};
use crate::ops::cached::{KeyValue, Reading};

/// See `OscarBackend::read`.
pub(in crate::ops) fn read<T: Element, H: HostBackend>(
    query: Tensor<H, 3>,
    [shared, own]: [&KeyValue<H>; 2],
    reading: &Reading<H>,
) -> Tensor<H, 3> {
    let ([rows, tokens, width], [images, positions, _]) = (query.dims(), shared.key.dims());
    let [_, words, _] = own.key.dims();
    let (heads, size, keys) = (reading.heads, width / reading.heads, positions + words);
    let [query, shared_key, shared_value, own_key, own_value] =
        [&query, &shared.key, &shared.value, &own.key, &own.value].map(|x| dense(x.clone()));
    let [query, shared_key, shared_value, own_key, own_value] =
        [&query, &shared_key, &shared_value, &own_key, &own_value].map(|x| H::values::<T>(x));
    let mask = dense(reading.mask.clone());
    let mask = H::values::<f32>(&mask);

    let mut by_head = vec![0.0_f32; rows * heads * tokens * size];
    let outputs = by_head.par_chunks_mut((tokens * size).max(1)).enumerate();
    outputs.for_each(|(at, out)| {
        let (row, head) = (at / heads, at % heads);
        let image = row / (rows / images).max(1);
        let part = |values, row, len| Part {
            values,
            start: row * len * width + head * size,
            len,
            width,
        };
        let head = Head {
            query: part(query, row, tokens),
            keys: [
                part(shared_key, image, positions),
                part(own_key, row, words),
            ],
            values: [
                part(shared_value, image, positions),
                part(own_value, row, words),
            ],
            mask: &mask[row * tokens * keys..(row + 1) * tokens * keys],
            scale: reading.scale as f32,
        };
        read_head(&head, size, out);
    });

    let mut out = H::any::<T>(Shape::from([rows, tokens, width]));
    for (at, out) in H::values_mut::<T>(&mut out)
        .chunks_exact_mut(size)
        .enumerate()
    {
        let (row, token, head) = (at / heads / tokens, at / heads % tokens, at % heads);
        let start = ((row * heads + head) * tokens + token) * size;
        for (out, value) in out.iter_mut().zip(&by_head[start..start + size]) {
            *out = T::narrow(*value);
        }
    }
    wrap(out)
}

/// A head's share of some positions.
#[derive(Clone, Copy)]
struct Part<'a, T> {
    values: &'a [T],
    /// Where it begins.
    start: usize,
    len: usize,
    /// From one position to the next.
    width: usize,
}

impl<'a, T: Element> Part<'a, T> {
    #[inline(always)]
    fn position(&self, at: usize, size: usize) -> &'a [T] {
        &self.values[self.start + at * self.width..][..size]
    }
}

/// What a head of a row reads.
struct Head<'a, T> {
    query: Part<'a, T>,
    keys: [Part<'a, T>; 2],
    values: [Part<'a, T>; 2],
    mask: &'a [f32],
    scale: f32,
}

/// `softmax(query keyᵀ * scale + mask) value`, added to `out` `[tokens, size]`.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
fn read_head<T: Element>(head: &Head<'_, T>, size: usize, out: &mut [f32]) {
    let count = head.keys[0].len + head.keys[1].len;
    let mut query = vec![0.0_f32; size];
    let mut scores = vec![0.0_f32; count];
    let masks = head.mask.chunks_exact(count);
    for (token, (out, mask)) in out.chunks_exact_mut(size).zip(masks).enumerate() {
        for (wide, value) in query.iter_mut().zip(head.query.position(token, size)) {
            *wide = value.wide();
        }
        let mut at = 0;
        for keys in &head.keys {
            for position in 0..keys.len {
                let score = dot(&query, keys.position(position, size));
                scores[at] = score * head.scale + mask[at];
                at += 1;
            }
        }
        let greatest = max(&scores);
        for score in &mut scores {
            *score = exp(*score - greatest);
        }
        let factor = 1.0 / sum(&scores);
        let mut at = 0;
        for values in &head.values {
            for position in 0..values.len {
                let share = scores[at] * factor;
                for (out, value) in out.iter_mut().zip(values.position(position, size)) {
                    *out += share * value.wide();
                }
                at += 1;
            }
        }
    }
}
