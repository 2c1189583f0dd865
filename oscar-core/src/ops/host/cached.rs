//! Attention of a few tokens to keys and values that are kept, head by head and without a copy: at
//! this size every operation that only rearranges costs as much as one that computes.

use std::ops::Range;

use burn::tensor::{Shape, Tensor};
use multiversion::multiversion;
use rayon::prelude::*;

use super::element::Element;
use super::math::{dot, exp, max, sum};
use super::{HostBackend, dense, wrap};
use crate::ops::cached::{AttentionParams, CaptionKeyValues, KeyValue};

/// See `OscarBackend::cached_attention`.
pub(in crate::ops) fn cached_attention<T: Element, H: HostBackend>(
    query: Tensor<H, 3>,
    shared: &KeyValue<H>,
    own: &CaptionKeyValues<'_, H>,
    reading: &AttentionParams<H>,
) -> Tensor<H, 3> {
    let ([rows, tokens, width], [images, positions, _]) = (query.dims(), shared.key.dims());
    let words = own.places.words;
    let (heads, size, keys) = (reading.heads, width / reading.heads, positions + words);
    let [query, shared_key, shared_value] =
        [&query, &shared.key, &shared.value].map(|x| dense(x.clone()));
    let [query, shared_key, shared_value] =
        [&query, &shared_key, &shared_value].map(|x| H::values::<T>(x));
    let steps = |of: fn(&KeyValue<H>) -> &Tensor<H, 3>| -> Vec<_> {
        own.steps
            .iter()
            .map(|step| dense(of(step).clone()))
            .collect()
    };
    let (own_keys, own_values) = (steps(|step| &step.key), steps(|step| &step.value));
    let own_keys: Vec<&[T]> = own_keys.iter().map(|step| H::values(step)).collect();
    let own_values: Vec<&[T]> = own_values.iter().map(|step| H::values(step)).collect();
    let mask = dense(reading.mask.clone());
    let mask = H::values::<f32>(&mask);

    let mut by_head = vec![0.0_f32; rows * heads * tokens * size];
    let outputs = by_head.par_chunks_mut((tokens * size).max(1)).enumerate();
    outputs.for_each(|(at, out)| {
        let (row, head) = (at / heads, at % heads);
        let image = row / (rows / images).max(1);
        let places = &own.places.host[row * words..(row + 1) * words];
        let share = Share {
            width,
            start: head * size,
        };
        let of_image = image * positions..(image + 1) * positions;
        let head = Head {
            query: share.of(query, row * tokens),
            width,
            keys: share.of_row(shared_key, of_image.clone(), &own_keys, places),
            values: share.of_row(shared_value, of_image, &own_values, places),
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

/// Which numbers of a position a head has.
#[derive(Clone, Copy)]
struct Share {
    /// Numbers of a position.
    width: usize,
    /// Where the head's begin.
    start: usize,
}

impl Share {
    fn of<T>(self, values: &[T], position: usize) -> Slot<'_, T> {
        Slot {
            values,
            start: position * self.width + self.start,
        }
    }

    /// Those of an image, then those of a caption.
    fn of_row<'a, T>(
        self,
        shared: &'a [T],
        of_image: Range<usize>,
        steps: &[&'a [T]],
        places: &[(u32, u32)],
    ) -> Vec<Slot<'a, T>> {
        let of_caption = places
            .iter()
            .map(|&(step, at)| self.of(steps[step as usize], at as usize));
        of_image
            .map(|at| self.of(shared, at))
            .chain(of_caption)
            .collect()
    }
}

/// A head's share of a position.
#[derive(Clone, Copy)]
struct Slot<'a, T> {
    values: &'a [T],
    start: usize,
}

impl<'a, T: Element> Slot<'a, T> {
    #[inline(always)]
    fn read(&self, size: usize) -> &'a [T] {
        &self.values[self.start..][..size]
    }

    /// The same share, `positions` further.
    #[inline(always)]
    fn after(self, positions: usize, width: usize) -> Self {
        let start = self.start + positions * width;
        Self { start, ..self }
    }
}

/// What a head of a row reads.
struct Head<'a, T> {
    /// Of the first token.
    query: Slot<'a, T>,
    /// From one token to the next.
    width: usize,
    keys: Vec<Slot<'a, T>>,
    values: Vec<Slot<'a, T>>,
    mask: &'a [f32],
    scale: f32,
}

/// `softmax(query keyᵀ * scale + mask) value`, added to `out` `[tokens, size]`.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma"
))]
fn read_head<T: Element>(head: &Head<'_, T>, size: usize, out: &mut [f32]) {
    let count = head.keys.len();
    let mut query = vec![0.0_f32; size];
    let mut scores = vec![0.0_f32; count];
    let masks = head.mask.chunks_exact(count);
    for (token, (out, mask)) in out.chunks_exact_mut(size).zip(masks).enumerate() {
        let own = head.query.after(token, head.width).read(size);
        for (wide, value) in query.iter_mut().zip(own) {
            *wide = value.wide();
        }
        for ((score, key), mask) in scores.iter_mut().zip(&head.keys).zip(mask) {
            *score = dot(&query, key.read(size)) * head.scale + mask;
        }
        let greatest = max(&scores);
        for score in &mut scores {
            *score = exp(*score - greatest);
        }
        let factor = 1.0 / sum(&scores);
        for (score, value) in scores.iter().zip(&head.values) {
            let share = score * factor;
            for (out, value) in out.iter_mut().zip(value.read(size)) {
                *out += share * value.wide();
            }
        }
    }
}
