//! JSON lines: one record a line.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use super::source::MAX_RECORD;
use crate::error::{DatasetError, Result};
use crate::rows::open;

/// A line of a file.
pub(crate) struct Line {
    /// Number, from 1.
    pub(crate) number: usize,
    /// Its text without the newline, or why it is none.
    pub(crate) text: Result<String, LineFault>,
}

/// Why a line is no text.
#[derive(Debug)]
pub(crate) enum LineFault {
    /// It has more than 1 MiB.
    TooLong,
    /// This byte of it, from 1, does not belong to UTF-8.
    NotUtf8(usize),
}

impl std::fmt::Display for LineFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong => f.write_str("a line of more than 1 MiB"),
            Self::NotUtf8(byte) => write!(f, "byte {byte} is not UTF-8 text"),
        }
    }
}

/// The lines of a file, plain or compressed. A line that is no text does not end it.
pub(crate) struct JsonLines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    number: usize,
}

impl JsonLines {
    /// Opens `path`.
    ///
    /// # Errors
    /// A missing or unreadable file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            reader: Box::new(open(path)?),
            number: 0,
        })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next line, or none after the last.
    ///
    /// # Errors
    /// If the file cannot be read on; it then counts as ended.
    pub(crate) fn next_line(&mut self) -> Result<Option<Line>> {
        self.read_line().map_err(|error| {
            self.reader = Box::new(std::io::empty());
            DatasetError::Annotation {
                path: self.path.clone(),
                line: self.number,
                found: format!("cannot be read ({error})"),
                fix: "the file is damaged: copy it again",
            }
        })
    }

    fn read_line(&mut self) -> std::io::Result<Option<Line>> {
        self.number += 1;
        let mut bytes = Vec::new();
        // One byte more than allowed, to see that there is more.
        let read = self
            .reader
            .by_ref()
            .take(MAX_RECORD + 1)
            .read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        let whole = bytes.pop_if(|last| *last == b'\n').is_some();
        let text = if !whole && read as u64 > MAX_RECORD {
            self.reader.skip_until(b'\n')?;
            Err(LineFault::TooLong)
        } else {
            String::from_utf8(bytes)
                .map_err(|error| LineFault::NotUtf8(error.utf8_error().valid_up_to() + 1))
        };
        Ok(Some(Line {
            number: self.number,
            text,
        }))
    }
}
