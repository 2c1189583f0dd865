//! Text files, plain or compressed by gzip.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::{Budget, FileError, START_BYTES, open_regular, other_file};

/// The mark that Windows tools put before text in UTF-8; it is no part of the text.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Bytes of memory that a byte of a compressed text may take: captions and annotations expand to 5
/// to 15 times their size, a file made to fill the memory to 1000 times.
const FACTOR: u64 = 512;

/// Bytes of memory that a byte of text takes once it is parsed, of rows as short as they may be.
const PARSED: u64 = 16;

const BUFFER: usize = 1 << 16;

/// An open text file, decompressed while it is read.
pub struct TextFile {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
}

impl TextFile {
    /// Opens `path`; whether it is compressed is decided by its first bytes. A byte order mark is
    /// skipped.
    ///
    /// Reading fails when a compressed file expands to more than its [`Budget`] holds once it is
    /// parsed: 4 MiB and 32 times its size.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, is text in UTF-16, or is [another file](other_file) altogether.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (file, metadata) = open_regular(path)?;
        let allowed = Budget::of_file(metadata.len(), FACTOR).left() / PARSED;
        let mut file = BufReader::with_capacity(BUFFER, file);
        let start = file.fill_buf().map_err(FileError::io("read", path))?;
        let reader: Box<dyn BufRead + Send> = match start.starts_with(&[0x1f, 0x8b]) {
            false => Box::new(file),
            true => {
                let expanded = Expanded {
                    reader: MultiGzDecoder::new(file),
                    left: allowed,
                    allowed,
                };
                Box::new(BufReader::with_capacity(BUFFER, expanded))
            }
        };
        Ok(Self {
            path: path.to_path_buf(),
            reader: without_mark(reader, path)?,
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

/// `bytes` without the byte order mark that they may begin with.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BOM).unwrap_or(bytes)
}

/// The reader after its byte order mark, if there is one.
fn without_mark(
    mut reader: Box<dyn BufRead + Send>,
    path: &Path,
) -> Result<Box<dyn BufRead + Send>, FileError> {
    let mut start = Vec::new();
    // What is wrong with the file shows when it is read.
    let read = (&mut reader)
        .take(START_BYTES as u64)
        .read_to_end(&mut start);
    refuse_other(path, &start)?;
    if let Some(encoding) = wide(&start[..start.len().min(8)]) {
        let fix = "convert the file to UTF-8";
        return Err(FileError::malformed(
            path,
            format!("text in {encoding}"),
            fix,
        ));
    }
    let kept = without_bom(&start).to_vec();
    let failed = Failed(read.err());
    Ok(Box::new(Cursor::new(kept).chain(failed).chain(reader)))
}

/// Refuses what is no text at all, by how it starts.
///
/// # Errors
///
/// [`FileError::Malformed`] with what it is.
pub(crate) fn refuse_other(path: &Path, start: &[u8]) -> Result<(), FileError> {
    match other_file(start) {
        None => Ok(()),
        Some(other) => Err(FileError::malformed(
            path,
            format!("it is {}", other.found),
            other.fix,
        )),
    }
}

/// The encoding of text whose characters have two bytes or four, by how it starts: with a mark, or with
/// ASCII, as files of data do.
fn wide(start: &[u8]) -> Option<&'static str> {
    match start {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some("UTF-32"),
        [0xff, 0xfe, _, 0, ..] | [0xfe, 0xff, 0, _, ..] => return Some("UTF-16"),
        _ => {}
    }
    let ascii = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let is_wide = |zero: usize| {
        let mut pairs = start.chunks_exact(2);
        pairs.len() >= 2 && pairs.all(|pair| pair[zero] == 0 && ascii(pair[1 - zero]))
    };
    (is_wide(0) || is_wide(1)).then_some("UTF-16")
}

/// Gives an error once, then ends.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

impl BufRead for Failed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.take().map_or(Ok(&[]), Err)
    }

    fn consume(&mut self, _: usize) {}
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
    allowed: u64,
}

impl<R: Read> Read for Expanded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let found = format!(
                "it expands to more than the {} MiB allowed for its size; decompress it first",
                self.allowed >> 20
            );
            io::Error::new(io::ErrorKind::InvalidData, found)
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
    fn a_byte_order_mark_is_skipped_and_utf_16_is_told() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("text");
        let marked = b"\xef\xbb\xbf1\n".as_slice();
        for content in [marked.to_vec(), compressed(marked)] {
            std::fs::write(&path, content).unwrap();
            let mut file = TextFile::open(&path).unwrap();
            assert_eq!(file.first_byte().unwrap(), Some(b'1'));
            assert_eq!(file.bytes().unwrap(), b"1\n");
        }
        for content in [&b"\xef\xbb\xbf"[..], b"\xef\xbb", b"a", b""] {
            std::fs::write(&path, content).unwrap();
            let kept = TextFile::open(&path).unwrap().bytes().unwrap();
            assert_eq!(kept, without_bom(content));
        }
        for (content, encoding) in [
            (&b"\xff\xfe1\0"[..], "UTF-16"),
            (b"\xfe\xff\x001", "UTF-16"),
            (b"{\0\"\0", "UTF-16"),
            (b"\0{\0\"\0i\0m", "UTF-16"),
            (b"\xff\xfe\0\0{\0\0\0", "UTF-32"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = TextFile::open(&path).err().unwrap();
            assert!(
                matches!(&error, FileError::Malformed { found, .. } if found.contains(encoding)),
                "{error}"
            );
        }
        let page = b"<!DOCTYPE html>\n<html></html>\n".as_slice();
        for content in [page.to_vec(), compressed(page)] {
            std::fs::write(&path, content).unwrap();
            for error in [
                TextFile::open(&path).err(),
                crate::read_text(&path, 1 << 20).err(),
            ] {
                assert!(
                    matches!(error, Some(FileError::Malformed { .. })),
                    "{error:?}"
                );
            }
        }
        // The length of a header of safetensors.
        std::fs::write(&path, b"{\0\0\0\0\0\0\0{\"").unwrap();
        assert!(TextFile::open(&path).is_ok());
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
