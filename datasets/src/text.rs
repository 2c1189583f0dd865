//! Text files, plain or compressed by gzip.

use std::path::Path;

use oscar_files::TextFile;

use crate::error::{DatasetError, Result};

const HINT: &str = "it is a text file, plain or compressed by gzip; check the path";

/// Opens `path`, decompressing it if it begins as gzip does.
///
/// # Errors
/// A missing or unreadable file.
pub fn open_text(path: &Path) -> Result<TextFile> {
    TextFile::open(path).map_err(DatasetError::missing(HINT))
}
