//! Opens an index by memory map.

use std::path::{Path, PathBuf};

use half::f16;
use oscar_datasets::DatasetError;
use oscar_datasets::mapped::{Column, MappedTensors};
use safetensors::Dtype;

use super::{
    CHECKSUM, FORMAT_VERSION, IndexError, KEY_OFFSETS, KEYS, OF_CHECKPOINT, OF_STORE, VECTORS,
    VERSION,
};
use crate::embed::Vectors;
use crate::exact::{Hit, search};

const HINT: &str = "an index of pictures is made by `oscar-bin data build index`; give the path of a \
                    finished one";

/// Vectors of pictures, opened for reading.
///
/// Opening reads the file once, to compare it with its checksum; what is searched afterwards is as it was
/// written.
pub struct VectorIndex {
    path: PathBuf,
    width: usize,
    checkpoint: String,
    store: String,
    key_offsets: Column<u64>,
    vectors: Column<f16>,
    keys: Column<u8>,
}

impl VectorIndex {
    /// Opens the index at `path`.
    ///
    /// # Errors
    ///
    /// A file that is missing, cut off, damaged, or no index, or one of another version; the error names
    /// it.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let file = MappedTensors::open(path, HINT)?;
        let wrong = |found: String| IndexError::from(file.wrong(found));
        match file.metadata(FORMAT_VERSION) {
            Some(VERSION) if file.has(VECTORS) => {}
            found => {
                let found = match found.filter(|_| file.has(VECTORS)) {
                    Some(version) => format!("index of version {version}, but {VERSION} is known"),
                    None => "it is not an index of pictures".into(),
                };
                return Err(DatasetError::malformed(path, found, HINT).into());
            }
        }
        let shape = file.shape(VECTORS)?.to_vec();
        let [pictures, width] = shape[..] else {
            return Err(wrong(format!("`{VECTORS}` is {shape:?}, not a matrix")));
        };
        let bytes = file.shape(KEYS)?.first().copied().unwrap_or(0);
        let hash = |name: &str| {
            let found = file.metadata(name).map(String::from);
            found.ok_or_else(|| file.wrong(format!("metadata `{name}` is missing")))
        };
        let index = Self {
            path: path.to_path_buf(),
            width,
            checkpoint: hash(OF_CHECKPOINT)?,
            store: hash(OF_STORE)?,
            key_offsets: file.column(KEY_OFFSETS, Dtype::U64, &[pictures.saturating_add(1)])?,
            vectors: file.column(VECTORS, Dtype::F16, &[pictures, width])?,
            keys: file.column(KEYS, Dtype::U8, &[bytes])?,
        };
        if pictures == 0 || width == 0 {
            return Err(wrong(format!("`{VECTORS}` is {shape:?}")));
        }
        let expected: Column<u64> = file.column(CHECKSUM, Dtype::U64, &[1])?;
        let found = index.checksum();
        if expected[0] != u64::from(found) {
            let expected = expected[0];
            return Err(wrong(format!(
                "its checksum is {found:08x} instead of {expected:08x}"
            )));
        }
        index.check_keys().map_err(wrong)?;
        Ok(index)
    }

    /// Whether the file at `path` is an index of this version, by its header.
    pub fn is_one(path: &Path) -> bool {
        MappedTensors::open(path, HINT).is_ok_and(|file| {
            file.metadata(FORMAT_VERSION) == Some(VERSION)
                && file.has(VECTORS)
                && file.has(KEY_OFFSETS)
        })
    }

    /// CRC-32 of offsets, vectors and keys.
    fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for offset in &*self.key_offsets {
            hasher.update(&offset.to_le_bytes());
        }
        let values: &[f16] = &self.vectors;
        hasher.update(as_bytes(values));
        hasher.update(&self.keys);
        hasher.finalize()
    }

    fn check_keys(&self) -> Result<(), String> {
        let offsets: &[u64] = &self.key_offsets;
        let whole = offsets.first() == Some(&0)
            && offsets.is_sorted()
            && offsets.last() == Some(&(self.keys.len() as u64));
        let text = std::str::from_utf8(&self.keys).map_err(|error| format!("`{KEYS}`: {error}"))?;
        let borders = |at: &u64| text.is_char_boundary(*at as usize);
        match whole && offsets.iter().all(borders) {
            true => Ok(()),
            false => Err(format!("`{KEY_OFFSETS}` do not divide `{KEYS}`")),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Values of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.key_offsets.len() - 1
    }

    /// Whether there is no picture; an opened index has some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of picture `row`, which must be below [`len`](Self::len).
    pub fn key(&self, row: usize) -> &str {
        let range = self.key_offsets[row] as usize..self.key_offsets[row + 1] as usize;
        // The bytes were found to be UTF-8, and the borders to be those of characters.
        std::str::from_utf8(&self.keys[range]).unwrap_or_default()
    }

    /// The vectors, `[pictures, width]`.
    pub fn vectors(&self) -> &[f16] {
        &self.vectors
    }

    /// The [identity](crate::Embedder::identity) of the weights that made it.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// The [identity](crate::store_identity) of the store that its pictures are of.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The `top` pictures that are closest to each query, the best first.
    ///
    /// # Errors
    ///
    /// If the queries have another width, or values that are not finite.
    pub fn search(&self, queries: &Vectors, top: usize) -> Result<Vec<Vec<Hit>>, IndexError> {
        search(&self.vectors, self.width, queries, top)
    }
}

/// The bytes of values as a file has them: the program reads little-endian files in place, as
/// `oscar-datasets` checks.
fn as_bytes(values: &[f16]) -> &[u8] {
    bytemuck::cast_slice(values)
}
