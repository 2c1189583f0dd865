//! How far words and regions are apart: an optimal transport between their final hidden states, by
//! IPOT (Xie et al., 2018), as UNITER and ROSITA use it.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use crate::ops;

/// Least norm that a vector is divided by.
const LEAST_NORM: f64 = 1e-5;
/// Weight of the proximal term.
const BETA: f64 = 0.5;
/// Iterations of the plan.
const ITERATIONS: usize = 50;
/// Added to the denominators of padding, so that nothing is transported there.
const PADDING: f64 = 1e4;
/// Below every denominator of an example with words and regions; keeps those of an example without
/// regions from being 0.
const LEAST_DENOMINATOR: f64 = 1e-20;

/// A transport between the words and the regions of each example.
#[derive(Clone, Debug)]
pub struct Transport<B: Backend> {
    /// 1 - cosine of each word and region, `[batch, text, regions]`; 0 at padding.
    pub cost: Tensor<B, 3>,
    /// How much of each region goes to each word, `[batch, regions, text]`: sums to 1 per example, and
    /// has no gradient.
    pub plan: Tensor<B, 3>,
    /// Cost of the plan, `[batch]`; 0 without regions.
    pub distance: Tensor<B, 1>,
}

impl<B: Backend> Transport<B> {
    /// Mean over the examples of the distance of those whose `relation` `[batch]` is 0, "matched", and of
    /// the negative distance of the others, `[1]`: what belongs together is to be close.
    pub fn loss(&self, relation: Tensor<B, 1, Int>) -> Tensor<B, 1> {
        let matched = relation.equal_elem(0).float();
        (self.distance.clone() * matched.mul_scalar(2.0).sub_scalar(1.0)).mean()
    }
}

/// The transport between `text` `[batch, text, hidden]` and `regions` `[batch, regions, hidden]`;
/// the masks `[batch, text]` and `[batch, regions]` are 1 where there is a word or a region.
///
/// The gradient flows through the cost alone, as in the reference. All of it is f32.
pub fn transport<B: Backend>(
    [text, regions]: [Tensor<B, 3>; 2],
    [text_mask, region_mask]: [Tensor<B, 2>; 2],
) -> Transport<B> {
    let [text, regions] = [text, regions].map(|vectors| unit_vectors(ops::to_f32(vectors)));
    let cosine = text.matmul(regions.swap_dims(1, 2));
    let both = text_mask.clone().unsqueeze_dim::<3>(2) * region_mask.clone().unsqueeze_dim::<3>(1);
    let cost = cosine.neg().add_scalar(1.0) * both.clone();
    let plan = plan(
        swapped(&cost.clone().detach()),
        swapped(&both),
        [text_mask, region_mask],
    );
    let [batch, ..] = cost.dims();
    let moved = cost.clone() * swapped(&plan);
    let distance = moved.sum_dim(2).sum_dim(1).reshape([batch]);
    Transport {
        cost,
        plan,
        distance,
    }
}

/// `x` with its last two axes swapped, in memory of its own: `burn-tch` 0.21 takes a swapped tensor for
/// the only one of its values, and so the next operation would overwrite those of `x`.
fn swapped<B: Backend>(x: &Tensor<B, 3>) -> Tensor<B, 3> {
    x.clone().add_scalar(0.0).swap_dims(1, 2)
}

/// Vectors of length 1, `[batch, rows, hidden]`. Padding, which is 0, stays 0 and has a gradient of 0.
fn unit_vectors<B: Backend>(vectors: Tensor<B, 3>) -> Tensor<B, 3> {
    let squares = (vectors.clone() * vectors.clone()).sum_dim(2);
    vectors / squares.clamp_min(LEAST_NORM * LEAST_NORM).sqrt()
}

/// The plan `[batch, regions, text]` for a cost of the same shape.
fn plan<B: Backend>(
    cost: Tensor<B, 3>,
    both: Tensor<B, 3>,
    [text_mask, region_mask]: [Tensor<B, 2>; 2],
) -> Tensor<B, 3> {
    // `[batch, 1, text]` and `[batch, regions, 1]`.
    let (text, regions) = (text_mask.unsqueeze_dim(1), region_mask.unsqueeze_dim(2));
    let text_len: Tensor<B, 3> = Tensor::sum_dim(text.clone(), 2);
    let region_len: Tensor<B, 3> = Tensor::sum_dim(regions.clone(), 1);
    let padding = |mask: Tensor<B, 3>| mask.neg().add_scalar(1.0).mul_scalar(PADDING);
    let (text_padding, region_padding) = (padding(text.clone()), padding(regions));
    let similar = (cost / -BETA).exp() * both.clone();
    let mut plan = both;
    let mut sigma = text / text_len.clone().clamp_min(1.0);
    for _ in 0..ITERATIONS {
        let q = similar.clone() * plan;
        let delta = (q.clone() * sigma).sum_dim(2) * region_len.clone() + region_padding.clone();
        let delta = delta.clamp_min(LEAST_DENOMINATOR).recip();
        let next = (q.clone() * delta.clone()).sum_dim(1) * text_len.clone() + text_padding.clone();
        sigma = next.clamp_min(LEAST_DENOMINATOR).recip();
        plan = q * delta * sigma.clone();
    }
    plan
}
