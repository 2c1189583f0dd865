//! Memory maps, and files that are read by position.
//!
//! A memory map of a file that another process truncates ends this process by a signal, of which
//! [`report_shrunk_maps`](crate::report_shrunk_maps) tells the reason, and one that is rewritten in
//! place changes under our feet. So maps are for what no one edits: weights
//! and region values. Files that are written by this program are replaced by renaming, which
//! leaves maps of the old content as they were. Texts are read by position ([`OpenFile`]), which
//! gives an error instead.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use memmap2::Mmap;

use crate::shrunk::Registration;
use crate::{FileError, open_regular};

/// Maps a file of weights or region values for reading.
///
/// # Errors
///
/// If the file cannot be opened or mapped, or is not a regular file.
pub fn map_file(path: &Path) -> Result<Bytes, FileError> {
    map(&open_regular(path)?.0, path)
}

fn map(file: &File, path: &Path) -> Result<Bytes, FileError> {
    // SAFETY: the map is read-only, and nothing here writes to a file that it reads. A file that
    // another process truncates meanwhile is the one case that cannot be excluded: see above.
    let mapped = unsafe { Mmap::map(file) }.map_err(FileError::io("memory-map", path))?;
    let registration = Registration::new(&mapped, path);
    Ok(Bytes::from_owner(MappedFile {
        _registration: registration,
        mapped,
    }))
}

/// A map, in the list of maps as long as it lives.
struct MappedFile {
    // Fields are dropped in their order: the place may be mapped anew once the map is gone.
    _registration: Registration,
    mapped: Mmap,
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.mapped
    }
}

/// A file that stays open and is read by position.
#[derive(Debug)]
pub struct OpenFile {
    path: PathBuf,
    file: File,
    length: u64,
    modified: Option<SystemTime>,
}

impl OpenFile {
    /// Opens `path`.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or is not a regular file.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (file, metadata) = open_regular(path)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            length: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }

    /// Maps the file. What is read through the map is of the file as it was opened only if
    /// [`unchanged`](Self::unchanged) says so after it.
    ///
    /// # Errors
    ///
    /// If it cannot be mapped.
    pub fn map(&self) -> Result<Bytes, FileError> {
        map(&self.file, &self.path)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of bytes when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Checks that the file has the length and the time of change that it had when it was opened.
    /// One that was replaced by renaming another over it counts as unchanged: the old one is read.
    ///
    /// # Errors
    ///
    /// [`FileError::Changed`] if it has not.
    pub fn unchanged(&self) -> Result<(), FileError> {
        let metadata = self.file.metadata();
        let metadata = metadata.map_err(FileError::io("read", &self.path))?;
        match metadata.len() == self.length && metadata.modified().ok() == self.modified {
            true => Ok(()),
            false => Err(FileError::Changed {
                path: self.path.clone(),
            }),
        }
    }

    /// Reads the bytes in `range`.
    ///
    /// # Errors
    ///
    /// [`FileError::Changed`] if the file has become too short, or the system's reason.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>, FileError> {
        let changed = || FileError::Changed {
            path: self.path.clone(),
        };
        if range.end > self.length {
            return Err(changed());
        }
        let length = range.end.saturating_sub(range.start);
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| changed())?];
        match read_exact_at(&self.file, &mut bytes, range.start) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(changed()),
            Err(error) => Err(FileError::io("read", &self.path)(error)),
        }
    }

    /// Where each line starts, then where the last one ends; a newline at the end opens no line.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn line_starts(&self) -> Result<Vec<u64>, FileError> {
        const BLOCK: u64 = 1 << 20;
        const MOST_RESERVED: usize = 1 << 24;
        let mut starts = vec![0];
        let mut at = 0;
        while at < self.length {
            let end = (at + BLOCK).min(self.length);
            let block = self.read(at..end)?;
            if at == 0 {
                // A vector that grows takes up to three times what it holds.
                let lines = memchr::memchr_iter(b'\n', &block).count();
                let all = lines.saturating_mul((self.length / BLOCK) as usize + 1);
                starts.reserve(all.min(MOST_RESERVED) + 1);
            }
            starts.extend(memchr::memchr_iter(b'\n', &block).map(|found| at + found as u64 + 1));
            at = end;
        }
        if starts.last() != Some(&self.length) {
            starts.push(self.length);
        }
        Ok(starts)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_and_a_file_that_shrinks_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lines");
        for (text, starts) in [
            ("", &[0][..]),
            ("a", &[0, 1]),
            ("a\n", &[0, 2]),
            ("a\n\nbc", &[0, 2, 3, 5]),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(
                OpenFile::open(&path).unwrap().line_starts().unwrap(),
                starts
            );
        }
        let file = OpenFile::open(&path).unwrap();
        assert_eq!(file.read(3..5).unwrap(), b"bc");
        file.unchanged().unwrap();
        std::fs::write(&path, "a\n").unwrap();
        for found in [file.read(3..5).map(drop), file.unchanged()] {
            assert!(matches!(found, Err(FileError::Changed { .. })), "{found:?}");
        }
        let error = map_file(place.path()).unwrap_err();
        assert!(matches!(error, FileError::NotAFile { .. }), "{error}");
    }
}
