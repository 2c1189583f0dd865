//! Attention of a few tokens to cached keys and values, head by head and without a copy: at this
//! size every operation that only rearranges costs as much as one that computes.

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor};
use rayon::prelude::*;

use super::element::Element;
use super::math::{dot, exp, max, sum};
use super::{HostBackend, dense, simd, wrap};
use crate::ops::cached_attention::{AttentionParams, CaptionKeyValues, KeyValue};

pub(super) fn cached_attention<T: Element, H: HostBackend>(
    query: Tensor<H, 3>,
    shared: &KeyValue<H>,
    own: &CaptionKeyValues<'_, H>,
    params: &AttentionParams<H>,
) -> Tensor<H, 3> {
    let ([rows, tokens, width], [images, ..]) = (query.dims(), shared.key.dims());
    let (heads, size) = (params.heads, width / params.heads);
    let (query, mask) = (dense(query), dense(params.mask.clone()));
    let (query, mask) = (H::values::<T>(&query), H::values::<f32>(&mask));
    let captions_per_image = (rows / images).max(1);
    let [keys, values] = [
        Positions::new(shared, own, |cached| cached.key.clone()),
        Positions::new(shared, own, |cached| cached.value.clone()),
    ];
    let of_row = |row: usize| {
        [&keys, &values].map(|positions| positions.of_row(row, row / captions_per_image, own))
    };
    let keys_and_values: Vec<[Vec<&[T]>; 2]> = (0..rows).map(of_row).collect();

    let mut by_head = vec![0.0_f32; rows * heads * tokens * size];
    let outputs = by_head.par_chunks_mut((tokens * size).max(1)).enumerate();
    outputs.for_each(|(at, out)| {
        let (row, head) = (at / heads, at % heads);
        let [keys, values] = &keys_and_values[row];
        let masks = tokens * keys.len();
        let head = Head {
            query: &query[row * tokens * width..][..tokens * width],
            width,
            start: head * size,
            size,
            keys,
            values,
            mask: &mask[row * masks..][..masks],
            scale: params.scale as f32,
        };
        attend(&head, out);
    });

    let mut out = H::allocate::<T>(Shape::from([rows, tokens, width]));
    let pieces = H::values_mut::<T>(&mut out).chunks_exact_mut(size);
    for (at, out) in pieces.enumerate() {
        let (row, token, head) = (at / heads / tokens, at / heads % tokens, at % heads);
        let start = ((row * heads + head) * tokens + token) * size;
        for (out, value) in out.iter_mut().zip(&by_head[start..start + size]) {
            *out = T::from_f32(*value);
        }
    }
    wrap(out)
}

/// The keys of all positions, or the values.
struct Positions<H: HostBackend> {
    /// Of the images, `[images, shared, width]`.
    shared: FloatTensor<H>,
    /// Positions of each image.
    of_image: usize,
    /// Of each step, `[rows, tokens, width]`.
    steps: Vec<FloatTensor<H>>,
    width: usize,
}

impl<H: HostBackend> Positions<H> {
    fn new(
        shared: &KeyValue<H>,
        own: &CaptionKeyValues<'_, H>,
        of: fn(&KeyValue<H>) -> Tensor<H, 3>,
    ) -> Self {
        let [_, of_image, width] = shared.key.dims();
        Self {
            shared: dense(of(shared)),
            of_image,
            steps: own.steps.iter().map(|step| dense(of(step))).collect(),
            width,
        }
    }

    /// Those of the row's image, then those of the row's words.
    fn of_row<T: Element>(
        &self,
        row: usize,
        image: usize,
        own: &CaptionKeyValues<'_, H>,
    ) -> Vec<&[T]> {
        let at = |tensor, position: usize| {
            &H::values::<T>(tensor)[position * self.width..][..self.width]
        };
        let first = image * self.of_image;
        let shared = (first..first + self.of_image).map(|position| at(&self.shared, position));
        let words = own.positions.words;
        let own = own.positions.host[row * words..][..words].iter();
        let own = own.map(|(step, position)| at(&self.steps[*step as usize], *position as usize));
        shared.chain(own).collect()
    }
}

/// What a head of a row computes with: its part of each position is `start..start + size`.
struct Head<'a, T> {
    /// Of each token, `width` values.
    query: &'a [T],
    width: usize,
    start: usize,
    size: usize,
    /// Of each position, `width` values.
    keys: &'a [&'a [T]],
    values: &'a [&'a [T]],
    /// Of each token, a term for each position.
    mask: &'a [f32],
    scale: f32,
}

simd! {
    /// `softmax(query keyᵀ * scale + mask) value`, added to `out` `[tokens, size]`.
    fn attend<T: Element>(head: &Head<'_, T>, out: &mut [f32]) {
        let part = head.start..head.start + head.size;
        let mut query = vec![0.0_f32; head.size];
        let mut scores = vec![0.0_f32; head.keys.len()];
        let tokens = head
            .query
            .chunks_exact(head.width)
            .zip(head.mask.chunks_exact(head.keys.len()));
        for ((token, mask), out) in tokens.zip(out.chunks_exact_mut(head.size)) {
            for (wide, value) in query.iter_mut().zip(&token[part.clone()]) {
                *wide = value.to_f32();
            }
            for ((score, key), mask) in scores.iter_mut().zip(head.keys).zip(mask) {
                *score = dot(&query, &key[part.clone()]) * head.scale + mask;
            }
            let greatest = max(&scores);
            for score in &mut scores {
                *score = exp(*score - greatest);
            }
            let factor = 1.0 / sum(&scores);
            for (score, value) in scores.iter().zip(head.values) {
                let share = score * factor;
                for (out, value) in out.iter_mut().zip(&value[part.clone()]) {
                    *out += share * value.to_f32();
                }
            }
        }
    }
}
