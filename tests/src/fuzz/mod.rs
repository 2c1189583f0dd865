//! Every reader of files that others made, as a function of bytes that must not panic, hang, or
//! allocate out of proportion.
//!
//! `tests/fuzz` runs them under libFuzzer, guided by coverage (CONTRIBUTING.md says how); the
//! inputs it kept are under `tests/fuzz/corpus`, and the test `fuzz` replays them, and thousands of
//! mutations of each target's seeds, on every run.

mod files;
mod rosita;
mod runs;
mod seeds;
mod targets;
mod tasks;

pub use targets::{TARGETS, Target};

/// Most bytes a reader may hold at once, for an input of `len` bytes: a base for buffers and
/// thread stacks of any size of input, and a multiple for what is built from it.
pub fn allowance(len: usize) -> usize {
    (48 << 20) + 64 * len
}

/// Runs `target` on `input`; an input that is refused is as good as one that is read.
pub fn run(target: &str, input: &[u8]) {
    match TARGETS.iter().find(|known| known.name == target) {
        Some(target) => (target.run)(input),
        None => panic!("no fuzz target is called {target}"),
    }
}
