//! The index: the vectors of all pictures of a store, in one safetensors file.
//!
//! | tensor | holds |
//! |---|---|
//! | `key_offsets` | U64 `[pictures + 1]`: byte ranges in `keys` |
//! | `checksum` | U64 `[1]`: CRC-32 of the other three, in the order of this table |
//! | `vectors` | F16 `[pictures, width]`, of length 1 |
//! | `keys` | U8: all keys, UTF-8, one after the other |
//!
//! Its metadata name the version of this form, and as hashes the weights that made the vectors
//! ([`Embedder::identity`](crate::Embedder::identity)) and the store that the pictures are of
//! ([`store_identity`]): vectors of two models cannot be compared.

pub(crate) mod identity;
mod reader;
mod writer;

use std::path::PathBuf;

use oscar_datasets::DatasetError;
use oscar_files::FileError;
use oscar_task::TaskError;

pub use identity::store_identity;
pub use reader::VectorIndex;
pub use writer::{NewIndex, build_index};

/// Version of the form; a reader accepts no other.
const VERSION: &str = "1";

const KEY_OFFSETS: &str = "key_offsets";
const CHECKSUM: &str = "checksum";
const VECTORS: &str = "vectors";
const KEYS: &str = "keys";

const OF_CHECKPOINT: &str = "checkpoint";
const OF_STORE: &str = "store";
const FORMAT_VERSION: &str = "version";

/// Why an index cannot be made, opened or searched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The file cannot be read, is cut off or damaged, or is no index; the error names it.
    #[error(transparent)]
    File(#[from] DatasetError),
    /// The file cannot be written, or one of the weights not read.
    #[error(transparent)]
    Write(#[from] FileError),
    /// Texts or pictures cannot be embedded.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The index was made of other weights.
    #[error(
        "{}: its vectors were made by other weights than {}, so they cannot be compared; build the \
         index with these weights, or open those that made it",
        path.display(), checkpoint.display()
    )]
    OtherCheckpoint {
        /// The index.
        path: PathBuf,
        /// The weights.
        checkpoint: PathBuf,
    },
    /// The index was made of another store.
    #[error(
        "{}: it is not an index of {}, whose pictures are others; build it again",
        path.display(), store.display()
    )]
    OtherStore {
        /// The index.
        path: PathBuf,
        /// The store.
        store: PathBuf,
    },
    /// Vectors of another width.
    #[error("the query has {found} values, but the vectors have {expected}")]
    Width {
        /// Values of the query.
        found: usize,
        /// Values of the vectors.
        expected: usize,
    },
    /// A query that is no vector of numbers.
    #[error("query {} has a value that is not a finite number", query + 1)]
    NotFinite {
        /// Its number, from 0.
        query: usize,
    },
    /// A picture whose vector is no vector of numbers.
    #[error("picture {key}: its vector has a value that is not a finite number; check the weights")]
    Vector {
        /// Its key.
        key: String,
    },
    /// A store without pictures.
    #[error("{}: it has no picture", store.display())]
    Empty {
        /// The store.
        store: PathBuf,
    },
}
