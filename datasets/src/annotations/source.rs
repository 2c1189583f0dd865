//! A bound on the size of a record.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read};
use std::rc::Rc;

/// A larger record is damage, or an archive made to fill the memory: real ones have some kilobytes.
pub(crate) const MAX_RECORD: u64 = 1 << 20;

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
