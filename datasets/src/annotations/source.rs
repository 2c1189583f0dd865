//! A text file, plain or compressed, of which no record may be larger than a record can be.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use crate::error::{DatasetError, Result};

/// A larger record is damage, or an archive made to fill the memory: real ones have some kilobytes.
pub(crate) const MAX_RECORD: u64 = 1 << 20;

/// Bytes read at a time; a record may be found too large only after this many more.
const BUFFER: usize = 1 << 16;

const HINT: &str = "it holds annotations, plain or compressed by gzip; check the path";

/// Opens `path`, decompressing it if it begins as gzip does.
///
/// # Errors
/// A missing or unreadable file.
pub(crate) fn open_text(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => DatasetError::Missing {
            path: path.to_path_buf(),
            hint: HINT,
        },
        _ => DatasetError::io("open", path)(error),
    })?;
    let mut file = BufReader::with_capacity(BUFFER, file);
    let start = file.fill_buf().map_err(DatasetError::io("read", path))?;
    Ok(match start.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))),
        false => Box::new(file),
    })
}

/// What may still be read before the next record begins.
#[derive(Clone)]
pub(super) struct Budget(Rc<Cell<u64>>);

impl Budget {
    /// The budget of one record.
    pub(super) fn new() -> Self {
        Self(Rc::new(Cell::new(MAX_RECORD)))
    }

    /// Begins the next record.
    pub(super) fn renew(&self) {
        self.0.set(MAX_RECORD);
    }

    /// Applies the budget to a reader.
    pub(super) fn limit<R: Read>(&self, inner: R) -> Limited<R> {
        Limited {
            inner,
            left: self.0.clone(),
        }
    }
}

/// A reader that fails once a record takes more than its budget.
pub(super) struct Limited<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.get().checked_sub(read as u64) {
            Some(left) => {
                self.left.set(left);
                Ok(read)
            }
            None => Err(io::Error::new(
                ErrorKind::InvalidData,
                "a record of more than 1 MiB",
            )),
        }
    }
}
