//! Damaged and random files: never a panic, never memory out of proportion.
//!
//! Every case is a function of a number, so that a failure can be repeated. Memory is counted per
//! thread, by an allocator of this test's own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use oscar_files::pytorch::pickle::{self, Limits};
use oscar_files::pytorch::{TorchFile, Value};
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

mod pytorch_support;
use pytorch_support::{TensorOf, archive, fixture};

/// Counts what the thread holds, and the most it ever held.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

fn count(grown: usize, shrunk: usize) {
    // The thread's storage may be gone while it ends.
    let _ = HELD.try_with(|held| {
        held.set(held.get().saturating_add(grown).saturating_sub(shrunk));
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above; `pointer` came from `System` through `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and gives the most memory that it held at once.
fn memory_of(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    MOST.set(before);
    work();
    MOST.get() - before
}

/// Bytes that reading may take for each byte of the file, beside a fixed part.
const PER_BYTE: usize = 200;
const FIXED: usize = 256 << 10;

/// Opens the file and reads all of it that can be read.
fn read(bytes: &[u8], case: &str) {
    let length = bytes.len();
    let bytes = bytes.to_vec();
    let most = memory_of(|| {
        if let Ok(file) = TorchFile::from_bytes(bytes, "case", &Limits::default()) {
            walk(file.value(), 0);
        }
    });
    let allowed = length * PER_BYTE + FIXED;
    assert!(
        most <= allowed,
        "{case}: {length} bytes took {most}, at most {allowed} are allowed"
    );
}

fn walk(value: &Value, depth: usize) {
    assert!(depth <= Limits::default().max_depth);
    match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            items.iter().for_each(|item| walk(item, depth + 1));
        }
        Value::Dict(dict) => {
            for (key, value) in dict.iter() {
                walk(key, depth + 1);
                walk(value, depth + 1);
                if let Value::Str(key) = key {
                    assert!(dict.get(key).is_some());
                }
            }
        }
        Value::Object(object) => {
            object
                .fields
                .iter()
                .for_each(|(_, value)| walk(value, depth + 1));
        }
        // One that repeats its elements is bounded by itself.
        Value::Tensor(tensor)
            if tensor.len() * tensor.dtype().bitsize() / 8 > tensor.storage().len() =>
        {
            assert!(tensor.len() * tensor.dtype().bitsize() / 8 <= 1 << 20);
        }
        Value::Tensor(tensor) => {
            let _ = tensor.to_f32();
            if let Ok(bytes) = tensor.to_bytes() {
                assert_eq!(bytes.len(), tensor.len() * tensor.dtype().bitsize() / 8);
            }
        }
        Value::Array(array) => {
            let _ = array.to_f32();
            let bytes = array.to_bytes().unwrap();
            assert_eq!(bytes.len(), array.len() * array.dtype().bitsize() / 8);
        }
        _ => {}
    }
}

/// Changes a few places: bits, bytes, lengths, repeated and removed stretches.
fn mutate(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    const VALUES: [u8; 9] = [0, 1, 0x7f, 0x80, 0xff, b'(', b'R', b'h', b'.'];
    for _ in 0..random.random_range(1..=6) {
        if bytes.is_empty() {
            return;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..7) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = *VALUES.choose(random).unwrap(),
            2 => bytes[at] = random.random(),
            3 => {
                let end = (at + 8).min(bytes.len());
                let value: [u8; 8] = match random.random_range(0..3) {
                    0 => [0xff; 8],
                    1 => (bytes.len() as u64).to_le_bytes(),
                    _ => random.next_u64().to_le_bytes(),
                };
                bytes[at..end].copy_from_slice(&value[..end - at]);
            }
            4 => bytes.truncate(at),
            5 => {
                let end = (at + random.random_range(1..40)).min(bytes.len());
                let copied = bytes[at..end].to_vec();
                let to = random.random_range(0..=bytes.len());
                bytes.splice(to..to, copied);
            }
            _ => {
                let end = (at + random.random_range(1..40)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    let files = [
        "tensors.pt",
        "tensors_legacy.pt",
        "tensors_protocol4.pt",
        "nested.pt",
        "namespace.bin",
        "structures_0.pkl",
        "structures_2.pkl",
        "structures_5.pkl",
        "arrays_2.pkl",
        "arrays_5.pkl",
        "counts.pkl",
    ];
    for name in files {
        let whole = fixture(name);
        for case in 0..5000 {
            let mut random = ChaCha8Rng::seed_from_u64(case);
            let mut bytes = whole.clone();
            mutate(&mut bytes, &mut random);
            read(&bytes, &format!("{name}, case {case}"));
        }
    }
}

/// The pickle of an archive is damaged, the archive around it is not: what a checksum would hide.
#[test]
fn damaged_pickles_in_sound_archives_never_panic() {
    let tensor = TensorOf {
        key: "0",
        elements: 6,
        offset: 0,
        shape: &[2, 3],
        strides: &[3, 1],
    };
    for case in 0..20_000 {
        let mut random = ChaCha8Rng::seed_from_u64(case);
        let mut pickle = tensor.pickle();
        mutate(&mut pickle, &mut random);
        let bytes = archive(&[
            ("archive/data.pkl", false, &pickle),
            ("archive/data/0", false, &[0; 24]),
        ]);
        read(&bytes, &format!("case {case}"));
    }
}

/// Instructions with operands that often fit.
const PIECES: &[&[u8]] = &[
    b"(",
    b"0",
    b"1",
    b"2",
    b"N",
    b"]",
    b"}",
    b")",
    b"\x8f",
    b"l",
    b"t",
    b"d",
    b"a",
    b"e",
    b"s",
    b"u",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x88",
    b"\x89",
    b"\x90",
    b"\x91",
    b"\x92",
    b"\x93",
    b"\x94",
    b"R",
    b"\x81",
    b"o",
    b"b",
    b"Q",
    b"\x98",
    b"K\x00",
    b"K\x07",
    b"M\x00\x01",
    b"J\xff\xff\xff\xff",
    b"G\x3f\xf0\x00\x00\x00\x00\x00\x00",
    b"I01\n",
    b"I5\n",
    b"L7L\n",
    b"F1.5\n",
    b"\x8a\x01\x05",
    b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00",
    b"q\x00",
    b"q\x01",
    b"h\x00",
    b"h\x01",
    b"h\x02",
    b"r\x03\x00\x00\x00",
    b"j\x03\x00\x00\x00",
    b"p0\n",
    b"g0\n",
    b"X\x01\x00\x00\x00a",
    b"\x8c\x02f4",
    b"\x8c\x01<",
    b"\x8c\x06latin1",
    b"\x8c\x07storage",
    b"U\x02ab",
    b"S'x\\x41'\n",
    b"V\\u00e9\n",
    b"C\x04abcd",
    b"B\x02\x00\x00\x00ab",
    b"ccollections\nOrderedDict\n",
    b"ccollections\ndefaultdict\n",
    b"c__builtin__\nset\n",
    b"cbuiltins\nlist\n",
    b"cbuiltins\ntuple\n",
    b"cbuiltins\nbytearray\n",
    b"cbuiltins\nint\n",
    b"cbuiltins\ncomplex\n",
    b"c_codecs\nencode\n",
    b"ccopy_reg\n_reconstructor\n",
    b"c__builtin__\nobject\n",
    b"cargparse\nNamespace\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\nfloat32\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"ctorch\nTensor\n",
    b"ctorch\nSize\n",
    b"ctorch\ndevice\n",
    b"cnumpy\ndtype\n",
    b"cnumpy\nndarray\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.multiarray\nscalar\n",
    b"cnumpy.core.numeric\n_frombuffer\n",
    b"ios\nsystem\n",
    b"\x80\x02",
    b"cnumpy\ndtype\n\x8c\x02f4\x89\x88\x87R",
    b"ccollections\nOrderedDict\n)R",
    b"cargparse\nNamespace\n)\x81",
    b"(\x8c\x07storagectorch\nFloatStorage\n\x8c\x010\x8c\x03cpuK\x06tQ",
];

fn program(random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.random_range(1..60) {
        bytes.extend_from_slice(PIECES.choose(random).unwrap());
    }
    bytes.push(b'.');
    bytes
}

#[test]
fn random_programs_never_panic() {
    let mut accepted = 0;
    for case in 0..200_000 {
        let mut random = ChaCha8Rng::seed_from_u64(case);
        let bytes = program(&mut random);
        accepted += usize::from(pickle::parse(bytes.clone(), &Limits::default()).is_ok());
        read(&bytes, &format!("case {case}"));
    }
    // Not all of them end at their first instruction.
    assert!(accepted > 2000, "{accepted} programs were sound");
}

/// What is small once may be large a thousand times: the same few instructions over and over.
#[test]
fn repeated_programs_stay_in_proportion() {
    for case in 0..3000 {
        let mut random = ChaCha8Rng::seed_from_u64(case);
        let mut round = Vec::new();
        for _ in 0..random.random_range(1..5) {
            round.extend_from_slice(PIECES.choose(&mut random).unwrap());
        }
        let mut bytes = program(&mut random);
        bytes.pop();
        bytes.extend(round.repeat(random.random_range(1000..4000)));
        bytes.push(b'.');
        read(&bytes, &format!("case {case}"));
    }
}

#[test]
fn random_bytes_never_panic() {
    for case in 0..20_000 {
        let mut random = ChaCha8Rng::seed_from_u64(case);
        let mut bytes = vec![0; random.random_range(0..300)];
        random.fill_bytes(&mut bytes);
        read(&bytes, &format!("case {case}"));
    }
}
