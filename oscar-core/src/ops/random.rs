//! Where dropout gets its random numbers.
//!
//! Burn's generators belong to a device or to the whole process, so threads that train side by side
//! would disturb each other's. The fused operations draw a key per call from a generator of the
//! thread instead.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::backend::Backend;
use scopeguard::guard;

thread_local! {
    static KEYS: Cell<Keys> = const { Cell::new(Keys { seed: 0, drawn: 0 }) };
    /// Whether what this thread draws must be drawn again from the same [`Keys`].
    static REPEATABLE: Cell<bool> = const { Cell::new(false) };
}

/// Where a thread's generator stands.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    seed: u64,
    /// Keys since then.
    drawn: u64,
}

/// Seeds everything random that this thread computes on `device`: Burn's generator, and the keys of
/// dropout.
pub fn seed<B: Backend>(device: &B::Device, seed: u64) {
    B::seed(device, seed);
    KEYS.set(Keys { seed, drawn: 0 });
}

/// Where this thread's generator stands.
pub(crate) fn keys() -> Keys {
    KEYS.get()
}

/// Puts this thread's generator where it stood.
pub(crate) fn restore(keys: Keys) {
    KEYS.set(keys);
}

/// Runs `work`; if `on`, dropout in it is a function of this thread's [`keys`] on every backend.
pub(crate) fn repeatable<T>(on: bool, work: impl FnOnce() -> T) -> T {
    // Also when `work` panics.
    let _restore = guard(REPEATABLE.replace(on), |old| REPEATABLE.set(old));
    work()
}

/// The next key of this thread.
pub(super) fn next_key() -> [u32; 2] {
    let Keys { seed, drawn } = KEYS.get();
    KEYS.set(Keys {
        seed,
        drawn: drawn.wrapping_add(1),
    });
    let z = mix(seed, drawn);
    [(z >> 32) as u32, z as u32]
}

/// Makes Burn's generator go on from this thread's next key, where that must be repeatable, as
/// [`seed_exclusively`] does.
pub(super) fn turn<B: Backend>(device: &B::Device) -> Option<MutexGuard<'static, ()>> {
    REPEATABLE.get().then(|| {
        let [high, low] = next_key();
        seed_exclusively::<B>(device, u64::from(high) << 32 | u64::from(low))
    })
}

/// Seeds Burn's generator. No other thread that asks for it has its turn before the guard is dropped.
pub(crate) fn seed_exclusively<B: Backend>(
    device: &B::Device,
    seed: u64,
) -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    B::seed(device, seed);
    turn
}

/// Number `number` of the generator SplitMix64 that starts at `seed`; also a good seed from two
/// numbers.
pub fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
