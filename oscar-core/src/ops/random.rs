//! Where dropout gets its random numbers.
//!
//! Burn's generators belong to a device or to the whole process, so threads that train side by side
//! would disturb each other's. The fused operations draw a key per call from a generator of the
//! thread instead.

use std::cell::Cell;

use burn::tensor::backend::Backend;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Seeds everything random that this thread computes on `device`: Burn's generator, and the keys of
/// dropout.
pub fn seed<B: Backend>(device: &B::Device, seed: u64) {
    B::seed(device, seed);
    STATE.set(seed);
}

/// The next key of this thread (SplitMix64).
pub(super) fn next_key() -> [u32; 2] {
    let state = STATE.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    STATE.set(state);
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    [(z >> 32) as u32, z as u32]
}
