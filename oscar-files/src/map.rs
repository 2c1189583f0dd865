//! Memory maps of files.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

/// Maps a file for reading.
///
/// # Errors
///
/// If the file cannot be opened or mapped, or is a directory.
pub fn map_file(path: &Path) -> std::io::Result<Bytes> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(Error::from(ErrorKind::IsADirectory));
    }
    // SAFETY: the map is read-only, and nothing here writes to a file that it reads; a file that
    // another process truncates meanwhile is outside what any reader can promise.
    let mapped = unsafe { Mmap::map(&file) }?;
    Ok(Bytes::from_owner(mapped))
}
