//! Where dropout gets its random numbers.
//!
//! Burn's generators belong to a device or to the whole process, so threads that train side by side
//! would take each other's numbers. Dropout takes keys from a generator of the thread instead: what
//! a thread drops is a function of its seed.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::backend::Backend;

thread_local! {
    static KEYS: Cell<Keys> = const { Cell::new(Keys { seed: 0, taken: 0 }) };
}

/// State of a thread's generator.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    seed: u64,
    /// Keys that were taken since it was seeded.
    taken: u64,
}

/// Seeds everything random that this thread computes on `device`: Burn's generator, and the keys of
/// dropout.
pub fn seed<B: Backend>(device: &B::Device, seed: u64) {
    // Not between another thread's seeding and its use of what it seeded.
    drop(seed_exclusively::<B>(device, seed));
    KEYS.set(Keys { seed, taken: 0 });
}

/// State of this thread's generator.
pub(crate) fn keys() -> Keys {
    KEYS.get()
}

/// Sets the state of this thread's generator.
pub(crate) fn restore(keys: Keys) {
    KEYS.set(keys);
}

/// The next number of this thread's generator.
pub(super) fn next_seed() -> u64 {
    let Keys { seed, taken } = KEYS.get();
    KEYS.set(Keys {
        seed,
        taken: taken.wrapping_add(1),
    });
    mix(seed, taken)
}

/// The next number of this thread's generator, high half first.
pub(super) fn next_key() -> [u32; 2] {
    let z = next_seed();
    [(z >> 32) as u32, z as u32]
}

/// Seeds Burn's generator. Until the guard is dropped, other threads wait here.
pub(crate) fn seed_exclusively<B: Backend>(
    device: &B::Device,
    seed: u64,
) -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    B::seed(device, seed);
    turn
}

/// Number `number` of the generator that starts at `seed`; also a good seed from two numbers.
///
/// It is SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014).
pub fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
