//! Where dropout gets its random numbers.
//!
//! Burn's generators belong to a device or to the whole process, so threads that train side by side
//! would disturb each other's. The fused operations draw a key per call from a generator of the
//! thread instead.

use std::cell::Cell;

use burn::tensor::backend::Backend;

thread_local! {
    /// The seed, and how many keys were drawn since.
    static STATE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Seeds everything random that this thread computes on `device`: Burn's generator, and the keys of
/// dropout.
pub fn seed<B: Backend>(device: &B::Device, seed: u64) {
    B::seed(device, seed);
    STATE.set((seed, 0));
}

/// The next key of this thread.
pub(super) fn next_key() -> [u32; 2] {
    let (seed, drawn) = STATE.get();
    STATE.set((seed, drawn.wrapping_add(1)));
    let z = mix(seed, drawn);
    [(z >> 32) as u32, z as u32]
}

/// Number `number` of the generator SplitMix64 that starts at `seed`; also a good seed from two
/// numbers.
pub fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
