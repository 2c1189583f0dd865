//! `imageid2idx.json` and `QA_qaid2idx.json`: the row of each id in a table.

use std::path::{Path, PathBuf};

use crate::error::{DatasetError, Result};
use crate::mapped::read_file;
use crate::official::{KeyIndex, parse_key_map};

const HINT: &str = "it maps ids to rows of the table beside it";
const FIX: &str = "it belongs to another version of the table beside it; copy both again";

/// Rows of a table, by id. Held only while a corpus is opened.
pub(super) struct IdMap {
    path: PathBuf,
    ids: KeyIndex,
    /// The table's row of each id.
    rows: Vec<u32>,
}

impl IdMap {
    /// Reads the file at `path`, whose rows are those of a table of `rows` rows.
    ///
    /// # Errors
    /// A file that is not there or not a JSON object of ids and rows; a row that the table does not
    /// have; an id that occurs twice.
    pub(super) fn open(path: &Path, rows: usize) -> Result<Self> {
        let json = read_file(path, HINT)?;
        let wrong = |found: String| DatasetError::malformed(path, found, FIX);
        let map = parse_key_map(&json).map_err(|defect| wrong(defect.found))?;
        let row_of = |entry: usize| match map.get(entry) {
            (_, row) if row < rows as u64 => Ok(row as u32),
            (id, row) => Err(wrong(format!(
                "`{id}` is {row}, where the table of {rows} rows has no row"
            ))),
        };
        let ids = KeyIndex::build(map.len(), |entry| Ok(map.get(entry).0))?;
        if let Some((_, twice)) = ids.repeated() {
            return Err(wrong(format!("`{}` occurs twice", ids.key(twice))));
        }
        Ok(Self {
            path: path.to_path_buf(),
            rows: (0..map.len()).map(row_of).collect::<Result<_>>()?,
            ids,
        })
    }

    /// The row of `id`.
    ///
    /// # Errors
    /// If it is not there, without file and row.
    pub(super) fn row(&self, id: &str) -> Result<u32, String> {
        match self.ids.find(id) {
            Some(entry) => Ok(self.rows[entry]),
            None => Err(format!(
                "`{id}` is not in {}; drop the row, or bring the whole file",
                self.path.display()
            )),
        }
    }
}
