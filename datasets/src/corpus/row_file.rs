//! A file of rows that are read by position: JSON lines, or an array of objects.

use std::path::Path;

use oscar_files::{OpenFile, TextFile, without_bom};

use crate::error::{DatasetError, Result};
use crate::records::Nesting;

const HINT: &str = "it is a corpus, one JSON object a line; check the path, or build the data set";

/// How much of the file is read at a time.
const BLOCK: u64 = 1 << 20;

/// An open file, and where its rows are.
///
/// Memory: eight bytes a row.
pub(super) struct RowFile {
    file: OpenFile,
    /// Start of each row, and the end of the last.
    starts: Vec<u64>,
    /// Whether the rows are the elements of one array.
    is_array: bool,
}

impl RowFile {
    /// Opens `path` and finds its rows.
    ///
    /// # Errors
    /// A file that is missing, compressed, not in UTF-8, or an array that does not end.
    pub(super) fn open(path: &Path) -> Result<Self> {
        // It says which encoding the text has.
        TextFile::open(path).map_err(DatasetError::missing(HINT))?;
        let file = OpenFile::open(path).map_err(DatasetError::missing(HINT))?;
        let start = file.read(0..file.length().min(BLOCK))?;
        let start = without_bom(&start).trim_ascii_start();
        if start.starts_with(&[0x1f, 0x8b]) {
            return Err(DatasetError::malformed(
                path,
                "it is compressed by gzip",
                "decompress it: rows of a corpus are read by their position in the file",
            ));
        }
        let is_array = start.starts_with(b"[");
        let starts = match is_array {
            true => element_starts(&file)?,
            false => without_blank_end(file.line_starts()?, content_end(&file)?),
        };
        Ok(Self {
            file,
            starts,
            is_array,
        })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Bytes of row `index`, with what separates it from the next.
    pub(super) fn length(&self, index: usize) -> u64 {
        self.starts[index + 1] - self.starts[index]
    }

    /// The text of row `index`.
    ///
    /// # Errors
    /// If it cannot be read, or the file has become shorter.
    pub(super) fn read(&self, index: usize) -> Result<Vec<u8>> {
        let mut row = self.file.read(self.starts[index]..self.starts[index + 1])?;
        if self.is_array {
            let element = row.trim_ascii_end();
            // The comma after it, or the end of the array.
            let element = element.strip_suffix(match index + 1 == self.len() {
                true => b"]",
                false => b",",
            });
            let length = element.map_or(row.len(), |element| element.trim_ascii_end().len());
            row.truncate(length);
        }
        Ok(row)
    }
}

/// Where the last character of the file ends that is not white space.
fn content_end(file: &OpenFile) -> Result<u64> {
    let mut end = file.length();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let kept = file.read(start..end)?.trim_ascii_end().len() as u64;
        if kept > 0 {
            return Ok(start + kept);
        }
        end = start;
    }
    Ok(0)
}

/// The rows that `starts` has before `end`: blank lines may end a file.
fn without_blank_end(mut starts: Vec<u64>, end: u64) -> Vec<u64> {
    starts.truncate(starts.partition_point(|start| *start < end));
    starts.push(end);
    starts
}

/// Where each element of the array that the file is starts, then where the file ends.
fn element_starts(file: &OpenFile) -> Result<Vec<u64>> {
    let wrong = |found: &str, fix| DatasetError::malformed(file.path(), found, fix);
    let (mut starts, mut nesting, mut ended) = (Vec::new(), Nesting::default(), false);
    // Before an element: after the bracket or a comma.
    let (mut before, mut at) = (false, 0);
    while at < file.length() {
        let end = (at + BLOCK).min(file.length());
        for (place, byte) in (at..).zip(file.read(at..end)?) {
            let blank = byte.is_ascii_whitespace();
            match nesting.depth() {
                _ if ended && !blank => {
                    return Err(wrong("text after the end of its array", "remove it"));
                }
                0 if byte == b'[' => before = true,
                1 if nesting.is_in_string() || blank => {}
                1 if byte == b']' => {
                    if before && !starts.is_empty() {
                        return Err(wrong("a comma before the end of its array", "remove it"));
                    }
                    ended = true;
                }
                1 if byte == b',' && before => {
                    return Err(wrong("a comma without a row before it", "remove it"));
                }
                1 if byte == b',' => before = true,
                1 if before => {
                    starts.push(place);
                    before = false;
                }
                _ => {}
            }
            nesting.follow(byte);
        }
        at = end;
    }
    if !ended {
        let fix = "copy it again: it was cut off";
        return Err(wrong("its array does not end", fix));
    }
    starts.push(file.length());
    Ok(starts)
}
