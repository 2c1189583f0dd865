//! What readers take of memory for files that are made to exhaust it: 64 MiB and a multiple of the
//! file's size at most.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use flate2::{Compression, write::GzEncoder};
use oscar_core::input::Tokenizer;
use oscar_datasets::check::{CheckOptions, check};
use oscar_datasets::import::{Source, SourceOptions, Vocabularies, parse_npz};
use oscar_datasets::pictures::read_picture;
use oscar_datasets::questions::QuestionSet;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: as it was asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as it was given out.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that `read` takes at a time, beyond what was there before it.
fn peak<T>(read: impl FnOnce() -> T) -> usize {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    drop(read());
    PEAK.load(Relaxed) - before
}

const MIB: usize = 1 << 20;

fn checked(path: &Path) {
    let options = CheckOptions {
        progress: false,
        feature_dim: 4,
        ..CheckOptions::default()
    };
    let _ = check(&[path], &options);
    let options = SourceOptions {
        feature_dim: 4,
        ..SourceOptions::default()
    };
    let _ = Source::open(path, options);
}

/// An archive whose features are 64 MB of zeros, a byte each, column by column.
fn archive() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, header, bytes) in [
        (
            "x.npy",
            "{'descr': '|u1', 'fortran_order': True, 'shape': (33554431, 2), }\n",
            2 * 33_554_431,
        ),
        (
            "bbox.npy",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }\n",
            32,
        ),
    ] {
        zip.start_file(name, options).unwrap();
        let start = [
            &b"\x93NUMPY\x01\x00"[..],
            &(header.len() as u16).to_le_bytes(),
        ]
        .concat();
        zip.write_all(&start).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        zip.write_all(&vec![0; bytes]).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// One test: memory is counted of the whole process.
#[test]
fn memory_is_in_proportion_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);

    let bytes = archive();
    let taken = peak(|| parse_npz(&bytes, 2, &Vocabularies::default()).unwrap_err());
    assert!(
        taken < 8 * MIB,
        "an archive of {} bytes: {taken}",
        bytes.len()
    );

    // Four million rows in some kilobytes.
    let rows = path("rows.jsonl.gz");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let row = b"{\"image\": 1, \"question\": \"a\", \"answer\": \"b\"}\n".repeat(1 << 12);
    (0..1 << 10).for_each(|_| encoder.write_all(&row).unwrap());
    let size = {
        let bytes = encoder.finish().unwrap();
        fs::write(&rows, &bytes).unwrap();
        bytes.len()
    };
    let taken = peak(|| QuestionSet::open(&rows, None, None).map(drop).unwrap_err());
    assert!(
        taken < 64 * MIB + 2 * 512 * size,
        "rows of {size} bytes: {taken}"
    );

    // Tables and lines without an end.
    for (name, byte) in [
        ("line.tsv", b'a'),
        ("tabs.tsv", b'\t'),
        ("line.jsonl", b'{'),
        ("list.json", b'['),
    ] {
        fs::write(path(name), vec![byte; 48 * MIB]).unwrap();
        let taken = peak(|| checked(&path(name)));
        assert!(taken < 24 * MIB, "{name}: {taken}");
    }

    // A vocabulary is refused at its first blank or repeated line.
    for (name, line) in [("blank.txt", &b"\n"[..]), ("equal.txt", b"a\n")] {
        fs::write(path(name), line.repeat(16 * MIB / line.len())).unwrap();
        let taken = peak(|| {
            Tokenizer::from_vocab_file(path(name))
                .map(drop)
                .unwrap_err()
        });
        assert!(taken < 64 * MIB, "{name}: {taken}");
    }

    let picture = path("grey.png");
    image::GrayImage::new(6000, 6000).save(&picture).unwrap();
    let size = fs::metadata(&picture).unwrap().len() as usize;
    let taken = peak(|| read_picture(&picture).unwrap_err());
    assert!(
        taken < 4 * MIB + 2 * size,
        "a picture of {size} bytes: {taken}"
    );
}
