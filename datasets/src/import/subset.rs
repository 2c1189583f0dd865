//! Some rows of a source, in an order of their own.

use std::path::{Path, PathBuf};

use super::source::{FeatureSource, SourceImage};
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::tsv::TsvFile;

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

/// Reads a `linelist.tsv`: row numbers from 0, of tables of `rows` rows. Rows that are listed
/// again, to be seen more often in training, are returned once, and counted.
///
/// # Errors
/// What is not a number, or not one of a row.
fn read_lines(path: &Path, rows: usize) -> Result<(Vec<usize>, usize)> {
    let file = TsvFile::open(path)?;
    let (mut seen, mut lines, mut again) = (vec![false; rows], Vec::new(), 0);
    for at in 0..file.len() {
        let field = file.first_field(at)?;
        let row = field
            .parse()
            .ok()
            .filter(|row| *row < rows)
            .ok_or_else(|| {
                let found = format!("`{field}` is not a row of a table of {rows}");
                file.wrong(
                    at,
                    found,
                    "it lists rows, from 0; does it belong to these tables?",
                )
            })?;
        match std::mem::replace(&mut seen[row], true) {
            true => again += 1,
            false => lines.push(row),
        }
    }
    Ok((lines, again))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("l.tsv");
        std::fs::write(&list, "2\n0\n2\n").unwrap();
        assert_eq!(read_lines(&list, 3).unwrap(), (vec![2, 0], 1));
        let found = read_lines(&list, 2).unwrap_err().to_string();
        assert!(
            found.contains("l.tsv:1: `2` is not a row of a table of 2"),
            "{found}"
        );
    }
}
