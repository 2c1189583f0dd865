//! Tables with an image in each row.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oscar_core::input::LabelNames;

use super::source::{FeatureSource, SourceImage};
use super::vocabulary::Vocabularies;
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::official::index_keys;
use crate::tsv::TsvFile;

/// Reads an image from a row of a table.
pub(super) type ReadRow = Box<dyn Fn(&TsvFile, usize) -> Result<SourceImage> + Send + Sync>;

/// Names of the classes that rows give by number.
#[derive(Default)]
pub(super) struct Named {
    pub(super) vocabularies: Vocabularies,
    /// Whether a row was read that gives some.
    pub(super) numbered: AtomicBool,
}

/// A table to import.
pub(super) struct Table {
    file: TsvFile,
    read: ReadRow,
    note: Option<String>,
    named: Arc<Named>,
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
            named: Arc::default(),
        })
    }

    /// The same, whose rows give classes of these names by number.
    pub(super) fn with_names(self, named: Arc<Named>) -> Self {
        Self { named, ..self }
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
        self.named.vocabularies.label_names()
    }

    fn notes(&self) -> Vec<String> {
        let numbered = self.named.numbered.load(Ordering::Relaxed);
        let mut notes = self.named.vocabularies.notes(numbered);
        notes.extend(self.note.clone());
        notes
    }
}

/// The error about a row of a table, with the image's key.
pub(super) fn locate(file: &TsvFile, row: usize, defect: Defect) -> DatasetError {
    match file.first_field(row) {
        Ok(key) => file.located(row, defect.within(format_args!("image `{key}`"))),
        Err(error) => error,
    }
}
