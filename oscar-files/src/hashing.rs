//! What every hash of a file takes: its content piece by piece, and the digest as text.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use crate::FileError;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Gives `take` the content of `file`, piece by piece; `path` is for the error.
///
/// # Errors
///
/// If it cannot be read.
pub fn for_each_piece(
    mut file: impl Read,
    path: &Path,
    mut take: impl FnMut(&[u8]),
) -> Result<(), FileError> {
    let mut buffer = vec![0; PIECE];
    loop {
        match file
            .read(&mut buffer)
            .map_err(FileError::io("read", path))?
        {
            0 => return Ok(()),
            read => take(&buffer[..read]),
        }
    }
}

/// Two lower-case digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
