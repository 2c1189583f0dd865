//! What an index was made of, as hashes.

use oscar_datasets::{ImageSource, SharedImages};
use oscar_files::{FileError, for_each_piece, hex, open_regular};
use oscar_task::{Family, Oscar, TaskCheckpoint};
use sha2::{Digest, Sha256};

use crate::Search;

/// The files of a checkpoint that decide its vectors, beside its assets.
const FILES: [&str; 2] = ["config.json", "model.safetensors"];

/// A hash of all that decides the vectors of a checkpoint: weights, configuration, vocabulary, and how
/// texts and pictures are encoded.
///
/// # Errors
///
/// If a file cannot be read.
pub(crate) fn checkpoint_identity(
    checkpoint: &TaskCheckpoint<Search>,
) -> Result<String, FileError> {
    let mut hash = Parts::default();
    let encoder = serde_json::to_vec(&checkpoint.encoder_config).unwrap_or_default();
    hash.add(&encoder);
    for name in FILES.iter().chain(Oscar::ASSETS) {
        let path = checkpoint.path.join(name);
        let (file, metadata) = open_regular(&path)?;
        hash.0.update(name.as_bytes());
        hash.0.update(metadata.len().to_le_bytes());
        for_each_piece(file, &path, |piece| hash.0.update(piece))?;
    }
    Ok(hash.finish())
}

/// A hash of which pictures a store has, in which order, and how they were read: keys, regions of each,
/// values per region, the extractor. It is not one of the values themselves.
///
/// # Errors
///
/// If the number of regions of a picture cannot be read; the error names it.
pub fn store_identity(store: &SharedImages) -> Result<String, oscar_core::input::SourceError> {
    let mut hash = Parts::default();
    hash.add(&(store.region_dim() as u64).to_le_bytes());
    hash.add(store.extractor().unwrap_or_default().as_bytes());
    for row in 0..ImageSource::len(&**store) {
        hash.add(store.image_key(row).as_bytes());
        hash.0
            .update((store.num_regions(row)? as u64).to_le_bytes());
    }
    Ok(hash.finish())
}

/// A hash of parts, whose borders count too.
#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}
