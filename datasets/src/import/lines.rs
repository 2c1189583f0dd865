//! Lists of the rows of tables that belong to a data set.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::tsv::TsvFile;

/// A `linelist.tsv`: the rows of other tables that belong to a data set.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) path: PathBuf,
    /// Row numbers from 0, each once.
    pub(super) rows: Vec<usize>,
    /// How many rows are listed again, to be seen more often in training.
    pub(super) again: usize,
}

impl Lines {
    /// Reads the list at `path`, of tables of `count` rows.
    ///
    /// # Errors
    /// An entry that is not a number, or not one of a row.
    pub(super) fn read(path: &Path, count: usize) -> Result<Self> {
        let file = TsvFile::open(path)?;
        let (mut seen, mut rows, mut again) = (vec![false; count], Vec::new(), 0);
        for at in 0..file.len() {
            let field = file.first_field(at)?;
            let row = field.parse().ok().filter(|row| *row < count);
            let row: usize = row.ok_or_else(|| {
                let found = format!("`{field}` is not a row of a table of {count}");
                let fix = "give the list of these tables: row numbers, from 0";
                file.wrong(at, found, fix)
            })?;
            match std::mem::replace(&mut seen[row], true) {
                true => again += 1,
                false => rows.push(row),
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            rows,
            again,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("l.tsv");
        std::fs::write(&list, "2\n0\n2\n").unwrap();
        let lines = Lines::read(&list, 3).unwrap();
        assert_eq!((lines.rows, lines.again), (vec![2, 0], 1));
        let found = Lines::read(&list, 2).unwrap_err().to_string();
        assert!(found.contains("l.tsv:1: `2`"), "{found}");
    }
}
