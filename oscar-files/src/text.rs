//! Text files, plain or compressed by gzip.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::FileError;

/// Bytes to which any compressed file may expand.
const SMALL: u64 = 8 << 20;

/// Beyond that, how many times its own size a compressed file may expand to. Captions and
/// annotations reach 5 to 15; a file made to fill the memory reaches 1000.
const MAX_RATIO: u64 = 32;

const BUFFER: usize = 1 << 16;

/// An open text file, decompressed while it is read.
pub struct TextFile {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
}

impl TextFile {
    /// Opens `path`; whether it is compressed is decided by its first bytes.
    ///
    /// Reading fails when a compressed file expands to more than 8 MiB and 32 times its size.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::open(path).map_err(FileError::io("open", path))?;
        let size = file.metadata().map_err(FileError::io("read", path))?.len();
        let mut file = BufReader::with_capacity(BUFFER, file);
        let start = file.fill_buf().map_err(FileError::io("read", path))?;
        let reader: Box<dyn BufRead + Send> = match start.starts_with(&[0x1f, 0x8b]) {
            false => Box::new(file),
            true => {
                let expanded = Expanded {
                    reader: MultiGzDecoder::new(file),
                    left: SMALL.saturating_add(size.saturating_mul(MAX_RATIO)),
                };
                Box::new(BufReader::with_capacity(BUFFER, expanded))
            }
        };
        Ok(Self {
            path: path.to_path_buf(),
            reader,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole content.
    ///
    /// # Errors
    ///
    /// If the file is damaged or cannot be read.
    pub fn bytes(mut self) -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::new();
        self.reader
            .read_to_end(&mut bytes)
            .map_err(FileError::io("read", &self.path))?;
        Ok(bytes)
    }

    /// The first byte that is not white space, which stays unread; none at the end of the file.
    ///
    /// # Errors
    ///
    /// If the file is damaged or cannot be read.
    pub fn first_byte(&mut self) -> io::Result<Option<u8>> {
        first_byte(&mut self.reader)
    }
}

/// The first byte that is not white space, which stays unread; none at the end.
///
/// # Errors
///
/// If the reader fails.
pub fn first_byte(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = reader.fill_buf()?;
        let blank = buffer
            .iter()
            .position(|byte| !byte.is_ascii_whitespace())
            .unwrap_or(buffer.len());
        match buffer.get(blank) {
            Some(byte) => {
                let byte = *byte;
                reader.consume(blank);
                return Ok(Some(byte));
            }
            None if blank == 0 => return Ok(None),
            None => reader.consume(blank),
        }
    }
}

impl Read for TextFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl BufRead for TextFile {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }
}

/// Fails where a small file expands to a huge one.
struct Expanded<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Expanded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it expands to more than {MAX_RATIO} times its size; decompress it first"),
            )
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn compressed(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_compressed_files_are_the_same_text() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("text");
        let (first, second) = (b"  {\"a\":".as_slice(), b" 1}\n".as_slice());
        let text = [first, second].concat();
        let two_members = [compressed(first), compressed(second)].concat();
        for content in [text.clone(), compressed(&text), two_members] {
            std::fs::write(&path, content).unwrap();
            let mut file = TextFile::open(&path).unwrap();
            assert_eq!(file.first_byte().unwrap(), Some(b'{'));
            assert_eq!(file.bytes().unwrap(), text.trim_ascii_start());
        }
        std::fs::write(&path, " \n").unwrap();
        assert_eq!(TextFile::open(&path).unwrap().first_byte().unwrap(), None);
    }

    #[test]
    fn a_small_file_that_expands_to_a_huge_one_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("bomb");
        std::fs::write(&path, compressed(&vec![b' '; 12 << 20])).unwrap();
        let error = TextFile::open(&path).unwrap().bytes().unwrap_err();
        assert!(
            matches!(&error, FileError::Io { source, .. }
                if source.kind() == io::ErrorKind::InvalidData),
            "{error}"
        );
        std::fs::write(&path, compressed(&vec![b' '; 4 << 20])).unwrap();
        assert_eq!(
            TextFile::open(&path).unwrap().bytes().unwrap().len(),
            4 << 20
        );
    }
}
