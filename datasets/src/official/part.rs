//! One feature file of an official data set, with the files beside it.

use std::path::{Path, PathBuf};

use super::files::PartFiles;
use super::key_map::parse_key_map;
use super::labels::{TWICE, index_keys, index_repeated_keys};
use super::{KeyIndex, LabelFile, OfficialOptions, SizeTable};
use crate::error::Result;
use crate::mapped::read_file;
use crate::tsv::TsvFile;

const MAP_HINT: &str = "it maps images to rows, and may be left out";

/// A feature file and what belongs to it.
pub(super) struct Part {
    pub(super) file: TsvFile,
    /// The image that its first row is.
    pub(super) first: usize,
    /// The file that maps keys to rows.
    pub(super) key_map: Option<PathBuf>,
    pub(super) beside: Companions,
}

/// Labels and sizes.
pub(super) struct Companions {
    pub(super) labels: Option<LabelFile>,
    pub(super) sizes: Option<SizeTable>,
}

impl Companions {
    pub(super) fn open(labels: Option<&Path>, sizes: Option<&Path>) -> Result<Self> {
        Ok(Self {
            labels: labels.map(LabelFile::open).transpose()?,
            sizes: sizes.map(SizeTable::open).transpose()?,
        })
    }
}

impl Part {
    pub(super) fn open(
        files: &PartFiles,
        first: usize,
        options: &OfficialOptions,
    ) -> Result<(Self, KeyIndex)> {
        let (file, keys, key_map) = match (&files.rows, &files.offsets) {
            (Some(rows), _) => {
                let file = TsvFile::open(&files.features)?;
                let keys = parse_key_map(&read_file(rows, MAP_HINT)?)
                    .and_then(|map| map.index(file.len(), |row| usize::try_from(row).ok()));
                let keys = keys.map_err(|defect| defect.in_file(rows))?;
                (file, keys, Some(rows.clone()))
            }
            (None, Some(offsets)) => {
                let map = parse_key_map(&read_file(offsets, MAP_HINT)?)
                    .map_err(|defect| defect.in_file(offsets))?;
                let file = TsvFile::open_at(&files.features, map.sorted_numbers(), offsets)?;
                let keys = map
                    .index(file.len(), |offset| file.row_at(offset))
                    .map_err(|defect| defect.in_file(offsets))?;
                (file, keys, Some(offsets.clone()))
            }
            (None, None) => {
                let file = TsvFile::open(&files.features)?;
                let keys = match options.repeated_keys {
                    true => index_repeated_keys(&file)?,
                    false => index_keys(&file)?,
                };
                (file, keys, None)
            }
        };
        let labels = files.labels.as_deref().filter(|_| options.labels.is_none());
        let sizes = files.sizes.as_deref().filter(|_| options.sizes.is_none());
        let beside = Companions::open(labels, sizes)?;
        let part = Self {
            file,
            first,
            key_map,
            beside,
        };
        Ok((part, keys))
    }
}

/// One index of the keys of several parts.
pub(super) fn join_keys(
    parts: &[Part],
    keys: &[KeyIndex],
    repeated_keys: bool,
) -> Result<KeyIndex> {
    let rows = keys.iter().map(KeyIndex::len).sum();
    let place = |row: usize| {
        let part = parts
            .partition_point(|part| part.first <= row)
            .saturating_sub(1);
        (part, row - parts[part].first)
    };
    let index = KeyIndex::build(rows, |row| {
        let (part, row) = place(row);
        Ok(keys[part].key(row))
    })?;
    match index.repeated().filter(|_| !repeated_keys) {
        None => Ok(index),
        Some((first, second)) => {
            let ((first_part, first_row), (part, row)) = (place(first), place(second));
            let found = format!(
                "image `{}` is in {} too",
                index.key(first),
                parts[first_part].file.origin(first_row)
            );
            Err(parts[part].file.wrong(row, found, TWICE))
        }
    }
}
