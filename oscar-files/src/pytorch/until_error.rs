//! A writer that fails once.

use std::io::{Error, ErrorKind, Result, Seek, SeekFrom, Write};

/// Passes on what is written until the first error, and drops what comes after it.
///
/// A `ZipWriter` that is dropped after an error writes the end of its archive all the same, and prints
/// on standard error that this fails too.
pub(super) struct UntilError<W> {
    output: W,
    /// Where a writer without an error would be.
    position: u64,
    failed: bool,
}

impl<W> UntilError<W> {
    /// Writes to `output`, which is at its beginning.
    pub(super) fn new(output: W) -> Self {
        Self {
            output,
            position: 0,
            failed: false,
        }
    }

    fn note(&mut self, error: Error) -> Error {
        self.failed |= error.kind() != ErrorKind::Interrupted;
        error
    }
}

impl<W: Write> Write for UntilError<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let written = match self.failed {
            true => bytes.len(),
            false => {
                let written = self.output.write(bytes);
                written.map_err(|error| self.note(error))?
            }
        };
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        match self.failed {
            true => Ok(()),
            false => {
                let flushed = self.output.flush();
                flushed.map_err(|error| self.note(error))
            }
        }
    }
}

impl<W: Seek> Seek for UntilError<W> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.position = match (self.failed, to) {
            (false, to) => {
                let moved = self.output.seek(to);
                moved.map_err(|error| self.note(error))?
            }
            (true, SeekFrom::Start(position)) => position,
            (true, SeekFrom::Current(by) | SeekFrom::End(by)) => {
                self.position.saturating_add_signed(by)
            }
        };
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn an_error_is_given_once_and_nothing_is_written_after_it() {
        let mut room = [0; 4];
        let mut output = UntilError::new(Cursor::new(&mut room[..]));
        output.write_all(b"abc").expect("room");
        let error = output.write_all(b"def").expect_err("no room");
        assert_eq!(error.kind(), ErrorKind::WriteZero);
        assert_eq!(&room, b"abcd");

        /// A disk that is full.
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> Result<usize> {
                self.0 += 1;
                Err(ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> Result<()> {
                Ok(())
            }
        }
        impl Seek for Full {
            fn seek(&mut self, _: SeekFrom) -> Result<u64> {
                Ok(0)
            }
        }
        let mut output = UntilError::new(Full(0));
        let error = output.write_all(b"abc").expect_err("no room");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        output.write_all(b"defg").expect("dropped");
        assert_eq!(output.stream_position().expect("a position"), 4);
        assert_eq!(output.seek(SeekFrom::Start(9)).expect("a position"), 9);
        output.flush().expect("dropped");
        assert_eq!(output.output.0, 1);
    }
}
