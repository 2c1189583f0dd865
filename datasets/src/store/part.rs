//! What is recorded of a complete shard, to resume a store that was not finished.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::reader::images_in_shard;
use super::{EncodedImage, StoreOptions, shard_file};
use crate::error::{DatasetError, Result};

const RESTART: &str = "files of the started store were changed: start over";

/// The images of one shard, as the index will list them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardPart {
    pub(crate) images: Vec<StoredImage>,
}

/// What the index says of an image, but for where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredImage {
    pub(crate) key: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Length of its line of tags, with the newline.
    pub(crate) tag_bytes: u64,
}

impl StoredImage {
    pub(super) fn of(image: &EncodedImage) -> Self {
        Self {
            key: image.key.clone(),
            width: image.width,
            height: image.height,
            tag_bytes: image.tags.len() as u64 + 1,
        }
    }
}

impl ShardPart {
    /// Checks that shard `number` in `dir` is whole and holds as many images.
    pub(super) fn check(&self, dir: &Path, number: usize, options: &StoreOptions) -> Result<()> {
        let path = dir.join(shard_file(number));
        let images = images_in_shard(&path, options.feature_dim, options.dtype)?;
        if images == self.images.len() {
            return Ok(());
        }
        let found = format!("{images} images, where {} were written", self.images.len());
        Err(DatasetError::malformed(&path, found, RESTART))
    }
}

/// Opens the tags of the images written so far, `bytes` bytes, to add more behind them.
pub(super) fn open_tags(path: &Path, bytes: u64) -> Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(DatasetError::io("open", path))?;
    let found = file
        .metadata()
        .map_err(DatasetError::io("open", path))?
        .len();
    if found < bytes {
        let found = format!("{found} bytes, where {bytes} were written");
        return Err(DatasetError::malformed(path, found, RESTART));
    }
    // What follows belongs to a shard that was not completed.
    file.set_len(bytes)
        .and_then(|()| file.seek(SeekFrom::End(0)))
        .map_err(DatasetError::io("write", path))?;
    Ok(file)
}
