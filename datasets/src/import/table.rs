//! Tables with an image in each row.

use std::path::PathBuf;
use std::sync::Arc;

use oscar_core::input::LabelNames;

use super::source::{FeatureSource, SourceImage};
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::official::index_keys;
use crate::tsv::TsvFile;

/// Reads an image from a row of a table.
pub(super) type ReadRow = Box<dyn Fn(&TsvFile, usize) -> Result<SourceImage> + Send + Sync>;

/// A table to import.
pub(super) struct Table {
    file: TsvFile,
    read: ReadRow,
    note: Option<String>,
    names: Option<Arc<LabelNames>>,
}

impl Table {
    /// A table whose rows `read` reads; `note` is what a user should know of it.
    ///
    /// # Errors
    /// A table that cannot be opened; a key that occurs twice, unless `repeated_keys`.
    pub(super) fn new(
        file: TsvFile,
        repeated_keys: bool,
        note: Option<String>,
        read: ReadRow,
    ) -> Result<Self> {
        if !repeated_keys {
            index_keys(&file)?;
        }
        Ok(Self {
            file,
            read,
            note,
            names: None,
        })
    }

    /// The same, whose rows give classes of these names by number.
    pub(super) fn with_names(self, names: Option<Arc<LabelNames>>) -> Self {
        Self { names, ..self }
    }
}

impl FeatureSource for Table {
    fn len(&self) -> usize {
        self.file.len()
    }

    fn key(&self, row: usize) -> Option<&str> {
        self.file.first_field(row).ok()
    }

    fn read(&self, row: usize) -> Result<SourceImage> {
        (self.read)(&self.file, row)
    }

    fn locate(&self, row: usize, defect: Defect) -> DatasetError {
        locate(&self.file, row, defect)
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.file.path().to_path_buf()]
    }

    fn label_names(&self) -> Option<Arc<LabelNames>> {
        self.names.clone()
    }

    fn notes(&self) -> Vec<String> {
        self.note.iter().cloned().collect()
    }
}

/// The error about a row of a table, with the image's key.
pub(super) fn locate(file: &TsvFile, row: usize, defect: Defect) -> DatasetError {
    match file.first_field(row) {
        Ok(key) => file.located(row, defect.within(format_args!("image `{key}`"))),
        Err(error) => error,
    }
}
