//! Annotation files of the tasks: a JSON array, or JSON lines, plain or gzip.
//!
//! Fine-tuning data is small beside pre-training corpora: rows are parsed once and kept.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, Read};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use oscar_files::TextFile;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};

use crate::error::{DatasetError, Result, excerpt};

const HINT: &str = "it is a file of annotations; check the path";

/// Longer lines are not annotations but damage.
const MAX_LINE: u64 = 64 << 20;

/// The rows of an annotation file.
#[derive(Clone, Debug)]
pub struct Rows<T> {
    path: PathBuf,
    rows: Vec<T>,
}

impl<T: DeserializeOwned> Rows<T> {
    /// Reads every row of `path`: a JSON array or JSON lines, by its first character; plain or
    /// gzip, by its first bytes.
    ///
    /// # Errors
    /// A missing file; JSON that is wrong or has other fields, with the row; no row at all.
    pub fn read(path: &Path) -> Result<Self> {
        let mut reader = open(path)?;
        let first = reader
            .first_byte()
            .map_err(DatasetError::io("read", path))?;
        let rows = match first {
            Some(b'[') => read_array(path, reader)?,
            Some(b'{') => read_lines(path, reader)?,
            Some(other) => {
                let found = format!(
                    "starts with {}, which neither a JSON array nor JSON lines do",
                    excerpt(&char::from(other).to_string())
                );
                let fix = "give a file of JSON objects, one a line or in an array";
                return Err(DatasetError::malformed(path, found, fix));
            }
            None => Vec::new(),
        };
        if rows.is_empty() {
            return Err(DatasetError::malformed(path, "no row", "give at least one"));
        }
        Ok(Self {
            path: path.to_path_buf(),
            rows,
        })
    }
}

impl<T> Rows<T> {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rows alone.
    pub fn into_rows(self) -> Vec<T> {
        self.rows
    }

    /// Where row `index` stands, for messages: `dev.jsonl:17`.
    pub fn origin(&self, index: usize) -> String {
        format!("{}:{}", self.path.display(), index + 1)
    }

    /// An error about row `index`.
    pub fn wrong(&self, index: usize, found: impl Into<String>, fix: &'static str) -> DatasetError {
        row_error(&self.path, index, found, fix)
    }
}

impl<T> std::ops::Deref for Rows<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.rows
    }
}

/// Whether `path` begins with one JSON object that has one of `keys`. What cannot be read as JSON has
/// none: whoever reads it as rows says which row is wrong.
///
/// # Errors
/// If the file cannot be opened.
pub fn is_object_with(path: &Path, keys: &[&str]) -> Result<bool> {
    let first = serde_json::Deserializer::from_reader(open(path)?)
        .into_iter::<HashMap<String, IgnoredAny>>()
        .next();
    Ok(matches!(first, Some(Ok(found)) if keys.iter().any(|key| found.contains_key(*key))))
}

/// Opens the text file `path`, decompressing it if it is gzip.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn open(path: &Path) -> Result<TextFile> {
    TextFile::open(path).map_err(DatasetError::missing(HINT))
}

fn read_lines<T: DeserializeOwned>(path: &Path, mut reader: TextFile) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(DatasetError::io("read", path))?;
        if length == 0 {
            return Ok(rows);
        }
        let index = rows.len();
        if length as u64 == MAX_LINE {
            let found = format!("a line of {MAX_LINE} bytes or more");
            return Err(row_error(path, index, found, "is a newline missing?"));
        }
        if line.trim_ascii().is_empty() {
            return match reader
                .first_byte()
                .map_err(DatasetError::io("read", path))?
            {
                None => Ok(rows),
                Some(_) => Err(row_error(path, index, "a blank line", "remove it")),
            };
        }
        let row = serde_json::from_slice(&line)
            .map_err(|error| row_error(path, index, describe(&error), "correct the row"))?;
        rows.push(row);
    }
}

fn read_array<T: DeserializeOwned>(path: &Path, reader: TextFile) -> Result<Vec<T>> {
    struct Collect<'a, T> {
        rows: &'a mut Vec<T>,
        row: PhantomData<T>,
    }
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Collect<'_, T> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of objects")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<(), A::Error> {
            while let Some(row) = items.next_element()? {
                self.rows.push(row);
            }
            Ok(())
        }
    }
    let mut rows = Vec::new();
    let mut json = serde_json::Deserializer::from_reader(reader);
    let collect = Collect {
        rows: &mut rows,
        row: PhantomData,
    };
    let read = serde::Deserializer::deserialize_seq(&mut json, collect).and_then(|()| json.end());
    match read {
        Ok(()) => Ok(rows),
        Err(error) => {
            // Rows of an array have no line of their own: they are counted.
            let found = format!("line {}, {}", error.line(), describe(&error));
            Err(row_error(path, rows.len(), found, "correct the row"))
        }
    }
}

fn row_error(
    path: &Path,
    index: usize,
    found: impl Into<String>,
    fix: &'static str,
) -> DatasetError {
    DatasetError::Annotation {
        path: path.to_path_buf(),
        line: index + 1,
        found: found.into(),
        fix,
    }
}

/// serde's message with the column, without the line.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    format!("column {}: {text}", error.column())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Row {
        a: u32,
    }

    fn read(bytes: &[u8]) -> Result<Vec<u32>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        std::fs::write(&path, bytes).unwrap();
        let rows: Rows<Row> = Rows::read(&path)?;
        Ok(rows.iter().map(|row| row.a).collect())
    }

    #[test]
    fn arrays_and_lines_plain_and_gzip() {
        for text in [
            "[{\"a\": 1}, {\"a\": 2}]",
            "\n {\"a\": 1}\n{\"a\": 2}",
            "{\"a\": 1}\r\n{\"a\": 2}\n\n",
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), [1, 2], "{text:?}");
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(text.as_bytes()).unwrap();
            assert_eq!(read(&gz.finish().unwrap()).unwrap(), [1, 2], "{text:?}");
        }
    }

    #[test]
    fn wrong_rows_are_named() {
        for (text, wanted) in [
            (
                "[{\"a\": 1}, {\"b\": 2}]",
                "rows:2: line 1, column 16: unknown field `b`",
            ),
            ("[{\"a\": 1}, {\"a\": 2}", "rows:3: line 1, column 19: EOF"),
            (
                "[{\"a\": 1}] []",
                "rows:2: line 1, column 12: trailing characters",
            ),
            (
                "{\"a\": 1}\n{\"a\": -2}\n",
                "rows:2: column 8: invalid value",
            ),
            ("{\"a\": 1}\n\n{\"a\": 2}\n", "rows:2: a blank line"),
            ("{\"a\": 1}\n{\"a\"", "rows:2: column"),
            ("a,b\n", "starts with \"a\""),
            ("[]", "no row"),
            ("", "no row"),
        ] {
            let found = read(text.as_bytes()).expect_err(text).to_string();
            assert!(found.contains(wanted), "{text:?}: {found}");
        }
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"{\"a\": 1}\n{\"a\": 2}\n").unwrap();
        let gz = gz.finish().unwrap();
        let found = read(&gz[..gz.len() - 9]).expect_err("cut off").to_string();
        assert!(found.contains("cannot read"), "{found}");
    }
}
