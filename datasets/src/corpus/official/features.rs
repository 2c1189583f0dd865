//! Feature folders: the regions of a data set's images.
//!
//! A folder is anything that [`open_images`] opens: a region store, or the official feature files.
//! Those of a chunked data set may be in one folder, or in one per chunk, named by its number.
//!
//! An image is found by its id, the last part of its key in the corpus, as in the official files;
//! or by the whole key (`cc_3_1907`), so that one store may hold images of several data sets.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::description::Folders;
use super::key::RowKey;
use crate::error::{DatasetError, Result};
use crate::images::{SharedImages, open_images};
use crate::official::FEATURES_FILE;
use crate::store::INDEX_FILE;

/// The feature folders of one data set.
pub(super) enum Features {
    /// Number of the folder with all images.
    Whole(u16),
    /// Number of each chunk's folder.
    Chunks(BTreeMap<String, u16>),
}

impl Features {
    /// Opens the folders of a data set, and adds them to `sources`.
    ///
    /// # Errors
    /// A folder that cannot be opened; no folder of a chunk in `chunks`.
    pub(super) fn open(
        folders: &Folders,
        chunks: Option<&Range<u32>>,
        sources: &mut Vec<SharedImages>,
    ) -> Result<Self> {
        let folder = &folders.features;
        if !folders.chunked || holds_features(folder) {
            return Ok(Self::Whole(add(folder, sources)?));
        }
        let mut found = BTreeMap::new();
        let entries = folder
            .read_dir()
            .map_err(DatasetError::io("list", folder))?;
        for entry in entries {
            let path = entry.map_err(DatasetError::io("list", folder))?.path();
            let Some(chunk) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if holds_features(&path) && in_range(chunk, chunks) {
                found.insert(chunk.to_string(), path);
            }
        }
        if found.is_empty() {
            let wanted = chunks.map_or(String::new(), |range| {
                format!(" from {} to {}", range.start, range.end)
            });
            return Err(DatasetError::malformed(
                folder,
                format!("no features, and no folder of a chunk{wanted}"),
                "it should hold `features.tsv`, a region store, or folders 0, 1, … that do",
            ));
        }
        let opened: Result<BTreeMap<String, u16>> = found
            .into_iter()
            .map(|(chunk, path)| Ok((chunk, add(&path, sources)?)))
            .collect();
        Ok(Self::Chunks(opened?))
    }

    /// The number of the folder that holds the image of `key`.
    ///
    /// # Errors
    /// If there is none, without file and row.
    pub(super) fn folder(&self, key: &RowKey<'_>) -> Result<u16, String> {
        match self {
            Self::Whole(folder) => Ok(*folder),
            Self::Chunks(chunks) => {
                let chunk = key.chunk.unwrap_or_default();
                chunks.get(chunk).copied().ok_or_else(|| {
                    format!(
                        "chunk {chunk:?} of {} has no folder of features; bring it, or leave it out \
                         with `chunks`",
                        key.dataset
                    )
                })
            }
        }
    }
}

/// Whether `chunks`, if there are any, contain the chunk of this name.
pub(super) fn in_range(chunk: &str, chunks: Option<&Range<u32>>) -> bool {
    chunks.is_none_or(|range| {
        chunk
            .parse()
            .is_ok_and(|number: u32| range.contains(&number))
    })
}

/// Whether a folder itself holds a region store or an official feature file.
fn holds_features(folder: &Path) -> bool {
    [INDEX_FILE, FEATURES_FILE]
        .iter()
        .any(|name| folder.join(name).exists())
}

fn add(folder: &Path, sources: &mut Vec<SharedImages>) -> Result<u16> {
    let number = u16::try_from(sources.len()).map_err(|_| {
        let found = format!("the corpus has more than {} feature folders", u16::MAX);
        DatasetError::malformed(folder, found, "join some of them into one store")
    })?;
    sources.push(open_images(folder)?);
    Ok(number)
}
