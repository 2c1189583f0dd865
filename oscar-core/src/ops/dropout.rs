//! Dropout, and which elements it drops.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Distribution, Tensor};

use super::backend::{Operation, OscarBackend, primitive, tensor};
use super::kernels::Kernels;
use super::precision::{to, to_f32};
use super::random;

/// Drops elements with `probability` and scales the others by `1 / (1 - probability)`, where
/// gradients are computed; elsewhere the same tensor.
pub fn dropout<B: OscarBackend, const D: usize>(x: Tensor<B, D>, probability: f64) -> Tensor<B, D> {
    let mask = DropoutMask::new::<B>(x.dims(), probability, &x.device());
    match mask {
        DropoutMask::None => x,
        mask => tensor(B::apply(Dropout(mask), [primitive(x)])),
    }
}

#[derive(Debug)]
struct Dropout<B: Backend, const D: usize>(DropoutMask<B, D>);

impl<B: Kernels, const D: usize> Operation<B, 1> for Dropout<B, D> {
    type Saved = DropoutMask<B, D>;

    fn forward(self, [x]: [FloatTensor<B>; 1]) -> (FloatTensor<B>, Self::Saved) {
        (primitive(B::apply_dropout(tensor(x), &self.0)), self.0)
    }

    fn backward(
        mask: Self::Saved,
        grad: FloatTensor<B>,
        _: [bool; 1],
    ) -> [Option<FloatTensor<B>>; 1] {
        [Some(primitive(B::apply_dropout(tensor(grad), &mask)))]
    }
}

/// Which elements of a tensor are dropped.
#[derive(Clone, Debug)]
pub enum DropoutMask<B: Backend, const D: usize> {
    /// None.
    None,
    /// A function of a key and of each element's index; nothing is stored.
    Keyed(KeyedDropout),
    /// Those where this is 0; elsewhere it is the factor of the others.
    Stored(Tensor<B, D>),
}

/// Which elements are dropped, as a function of a key and of the element's index, so that the
/// backward pass needs no mask and every backend drops the same elements.
///
/// The index is one of 32 bits: a tensor of more than 2^32 elements repeats its mask.
#[derive(Clone, Copy, Debug)]
pub struct KeyedDropout {
    pub(super) key: [u32; 2],
    /// Elements whose hash is below this are dropped; 0 drops none.
    pub(super) threshold: u32,
    /// 1 / (1 - probability)
    pub(super) scale: f32,
}

impl KeyedDropout {
    /// Drops with `probability`; one of 0 changes nothing.
    pub(super) fn new(probability: f64, key: [u32; 2]) -> Self {
        Self {
            key,
            threshold: (probability * f64::from(u32::MAX)) as u32,
            scale: (1.0 / (1.0 - probability)) as f32,
        }
    }
}

impl<K: Kernels, const D: usize> DropoutMask<K, D> {
    /// A new mask of this shape, from the thread's keys; [`None`](Self::None) where `B` computes no
    /// gradients.
    pub(super) fn new<B: OscarBackend<Kernels = K>>(
        shape: [usize; D],
        probability: f64,
        device: &K::Device,
    ) -> Self {
        match B::TRAINS {
            true => Self::sample(shape, probability, device),
            false => Self::None,
        }
    }

    /// A new mask that drops with `probability`.
    pub(super) fn sample(shape: [usize; D], probability: f64, device: &K::Device) -> Self {
        if probability == 0.0 {
            return Self::None;
        }
        if K::has_keyed_dropout(device) {
            return Self::Keyed(KeyedDropout::new(probability, random::next_key()));
        }
        Self::stored(shape, probability, device)
    }
}

impl<B: Backend, const D: usize> DropoutMask<B, D> {
    /// A mask from Burn's generator, which threads share: it is seeded by the thread's next key, and no
    /// other thread makes a mask meanwhile.
    pub(super) fn stored(shape: [usize; D], probability: f64, device: &B::Device) -> Self {
        let _exclusive = random::seed_exclusively::<B>(device, random::next_seed());
        let kept = Tensor::random(shape, Distribution::Bernoulli(1.0 - probability), device);
        Self::Stored(kept.mul_scalar(1.0 / (1.0 - probability)))
    }

    /// The key, on a backend that [has no other masks](Kernels::has_keyed_dropout).
    pub(super) fn key(&self) -> KeyedDropout {
        match self {
            Self::Keyed(key) => *key,
            Self::None | Self::Stored(_) => KeyedDropout::new(0.0, [0, 0]),
        }
    }
}

/// [`Kernels::apply_dropout`] in Burn's operations, on devices without keyed dropout.
pub(super) fn apply_dropout<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    mask: &DropoutMask<B, D>,
) -> Tensor<B, D> {
    match mask {
        DropoutMask::Stored(mask) => {
            let dtype = x.dtype();
            to(to_f32(x) * mask.clone(), dtype)
        }
        DropoutMask::None | DropoutMask::Keyed(_) => x,
    }
}
