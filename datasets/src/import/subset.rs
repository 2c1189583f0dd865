//! Some rows of a source, in an order of their own.

use std::path::{Path, PathBuf};

use super::source::{FeatureSource, SourceImage};
use super::yaml::read_lines;
use crate::defect::Defect;
use crate::error::{DatasetError, Result};

/// The rows of a source that a `linelist` names.
pub(super) struct Subset {
    source: Box<dyn FeatureSource>,
    path: PathBuf,
    rows: Vec<usize>,
    /// Rows that are named again.
    again: usize,
}

impl Subset {
    pub(super) fn new(source: Box<dyn FeatureSource>, lines: &Path) -> Result<Self> {
        let (rows, again) = read_lines(lines, source.len())?;
        Ok(Self {
            source,
            path: lines.to_path_buf(),
            rows,
            again,
        })
    }
}

impl FeatureSource for Subset {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn read(&self, row: usize) -> Result<SourceImage> {
        self.source.read(self.rows[row])
    }

    fn locate(&self, row: usize, defect: Defect) -> DatasetError {
        self.source.locate(self.rows[row], defect)
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = self.source.files();
        files.push(self.path.clone());
        files
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.source.notes();
        notes.push(format!(
            "{} of {} rows, those in {}; {} are listed again there, and stored once",
            self.rows.len(),
            self.source.len(),
            self.path.display(),
            self.again
        ));
        notes
    }
}
