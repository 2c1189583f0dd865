//! Readers never panic, and never take memory out of proportion: seeds, kept inputs, mutations.
//!
//! `OSCAR_FUZZ=N` runs N mutations of each target instead of a few hundred, `OSCAR_FUZZ_TARGET=NAME`
//! those of one target alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use oscar_tests::fuzz::{TARGETS, Target, allowance};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Counts what is held, and the most that was.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs one input and checks what it took.
fn run(target: &Target, input: &[u8], what: &str) {
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    (target.run)(input);
    let took = MOST.load(Ordering::Relaxed).saturating_sub(before);
    assert!(
        took <= allowance(input.len()),
        "{}: {what} of {} bytes took {took} bytes of memory: {:?}",
        target.name,
        input.len(),
        &input[..input.len().min(200)]
    );
}

/// The inputs that fuzzing kept: one archive per target, `tests/fuzz/corpus/TARGET.zip`.
fn kept(target: &Target) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(format!("{}.zip", target.name));
    let Ok(file) = std::fs::File::open(path) else {
        return Vec::new();
    };
    let mut archive = zip::ZipArchive::new(file).expect("an archive");
    let mut inputs = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let mut bytes = Vec::new();
        let mut entry = archive.by_index(index).expect("an entry");
        entry.read_to_end(&mut bytes).expect("a whole entry");
        inputs.push(bytes);
    }
    inputs
}

/// Changes `input` somewhere, as damage does: bits, cuts, repeats, numbers that matter, parts of
/// another input.
fn mutate(input: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) {
    const NUMBERS: &[u64] = &[
        0,
        1,
        127,
        128,
        255,
        1 << 15,
        1 << 31,
        u32::MAX as u64,
        u64::MAX,
    ];
    const TEXTS: &[&str] = &[
        "-1", "NaN", "1e999", "null", "[]", "{}", "\"", "\t", "\n", "\u{0}",
    ];
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=input.len());
        let end = (at + rng.random_range(1..16)).min(input.len());
        match rng.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            1 if at < input.len() => input[at] = rng.random(),
            2 => input.truncate(at),
            3 => drop(input.drain(at..end)),
            4 => {
                let part = input[at..end].to_vec();
                let times = rng.random_range(1..40);
                input.splice(at..at, part.repeat(times));
            }
            5 => {
                let number = NUMBERS.choose(rng).expect("a number").to_le_bytes();
                let width = [1, 2, 4, 8][rng.random_range(0..4)];
                let end = (at + width).min(input.len());
                input.splice(at..end, number[..width].iter().copied());
            }
            6 => {
                let text = TEXTS.choose(rng).expect("a text");
                input.splice(at..end, text.bytes());
            }
            _ if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let to = (from + rng.random_range(1..64)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            _ => {}
        }
    }
}

// One test, since what is held is counted for the whole process.
#[test]
fn readers_survive_what_they_are_given() {
    let mutations: usize = match std::env::var("OSCAR_FUZZ") {
        Ok(number) => number.parse().expect("OSCAR_FUZZ is a number"),
        Err(_) => 400,
    };
    let only = std::env::var("OSCAR_FUZZ_TARGET").ok();
    let wanted = |target: &&Target| only.as_ref().is_none_or(|only| only == target.name);
    for target in TARGETS.iter().filter(wanted) {
        let mut inputs = (target.seeds)();
        assert!(!inputs.is_empty(), "{} has no seed", target.name);
        inputs.extend(kept(target));
        for input in &inputs {
            run(target, input, "a kept input");
        }
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..mutations {
            let mut input = inputs.choose(&mut rng).expect("an input").clone();
            let other = inputs.choose(&mut rng).expect("an input");
            mutate(&mut input, other, &mut rng);
            run(target, &input, "a mutation");
        }
    }
}

/// For the fuzzer: the seeds of every target, as files.
#[test]
#[ignore = "writes files for tests/fuzz/run.sh, which names the place by OSCAR_FUZZ_SEEDS"]
fn write_seeds() {
    let place = std::env::var_os("OSCAR_FUZZ_SEEDS").expect("OSCAR_FUZZ_SEEDS names a directory");
    for target in TARGETS {
        let folder = Path::new(&place).join(target.name);
        std::fs::create_dir_all(&folder).expect("a directory");
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).expect("a file");
        }
    }
}
