//! The YAML files that name the tables of a data set.

use std::fs;
use std::path::{Path, PathBuf};

use oscar_files::named_by;
use serde::Deserialize;

use crate::error::{DatasetError, Result};
use crate::tsv::TsvFile;

/// Such a file is a few lines; a larger one is something else.
const MAX_BYTES: u64 = 1 << 20;

const FIX: &str = "it names the tables of a data set: `feature`, `label`, `hw`, `linelist`";

/// What such a file says; other keys are for other readers.
#[derive(Debug, Default, Deserialize)]
struct Keys {
    feature: Option<PathBuf>,
    label: Option<PathBuf>,
    hw: Option<PathBuf>,
    linelist: Option<PathBuf>,
}

/// The tables of a data set.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) features: Option<PathBuf>,
    pub(super) labels: Option<PathBuf>,
    pub(super) sizes: Option<PathBuf>,
    /// Rows of the others that belong to it.
    pub(super) lines: Option<PathBuf>,
}

impl Tables {
    /// Reads the file at `path`, whose paths are relative to its folder.
    ///
    /// # Errors
    /// A file that is missing or of another form.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let meta = fs::metadata(path).map_err(DatasetError::io("read", path))?;
        if meta.len() > MAX_BYTES {
            let found = format!("{} bytes", meta.len());
            return Err(DatasetError::malformed(path, found, FIX));
        }
        let text = fs::read_to_string(path).map_err(DatasetError::io("read", path))?;
        let keys: Keys = serde_saphyr::from_str(&text).map_err(|error| {
            let found = format!("it cannot be read ({})", error.without_snippet());
            DatasetError::malformed(path, found, FIX)
        })?;
        let place = |name: Option<PathBuf>| name.map(|name| named_by(path, name)).transpose();
        Ok(Self {
            features: place(keys.feature)?,
            labels: place(keys.label)?,
            sizes: place(keys.hw)?,
            lines: place(keys.linelist)?,
        })
    }
}

/// Reads a `linelist.tsv`: row numbers from 0, of tables of `rows` rows. Rows that are listed
/// again, to be seen more often in training, are returned once, and counted.
///
/// # Errors
/// What is not a number, or not one of a row.
pub(super) fn read_lines(path: &Path, rows: usize) -> Result<(Vec<usize>, usize)> {
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
    fn tables_and_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(
            &path,
            "img: a.tsv\nlabel: 'b.tsv'  # tags\nhw: c/d.tsv\nx: [1, 2]\n",
        )
        .unwrap();
        let tables = Tables::read(&path).unwrap();
        assert_eq!(tables.labels, Some(dir.path().join("b.tsv")));
        assert_eq!(tables.sizes, Some(dir.path().join("c/d.tsv")));
        assert_eq!(tables.features, None);
        fs::write(&path, "label: [").unwrap();
        let found = Tables::read(&path).unwrap_err().to_string();
        assert!(found.contains("a.yaml: it cannot be read"), "{found}");

        let list = dir.path().join("l.tsv");
        fs::write(&list, "2\n0\n2\n").unwrap();
        assert_eq!(read_lines(&list, 3).unwrap(), (vec![2, 0], 1));
        let found = read_lines(&list, 2).unwrap_err().to_string();
        assert!(
            found.contains("l.tsv:1: `2` is not a row of a table of 2"),
            "{found}"
        );
    }
}
