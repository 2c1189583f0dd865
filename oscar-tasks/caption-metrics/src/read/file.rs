//! A file, plain or gzip, read to its end or to an error.

use std::fs::File;
use std::io::{BufReader, Chain, Cursor, Read, Take};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{MetricsError, Result};

/// What a gzip file may unpack to, beside a multiple of its own size.
const UNPACKED: u64 = 8 << 20;

/// That multiple: captions are packed to a fifth or a tenth.
const RATIO: u64 = 32;

const MAGIC: [u8; 2] = [0x1f, 0x8b];

type Start = Chain<Cursor<Vec<u8>>, BufReader<File>>;

/// An open file, unpacked.
pub(crate) struct Source {
    path: PathBuf,
    reader: Box<dyn Read>,
}

/// Opens `path`; a gzip file is told by its content.
pub(crate) fn open(path: &Path) -> Result<Source> {
    let file = File::open(path).map_err(MetricsError::io("open", path))?;
    let size = file.metadata().map_err(MetricsError::io("read", path))?;
    let mut start = Vec::new();
    let mut file = BufReader::new(file);
    let magic = MAGIC.len() as u64;
    let read = (&mut file).take(magic).read_to_end(&mut start);
    read.map_err(MetricsError::io("read", path))?;
    let packed = start == MAGIC;
    let whole: Start = Cursor::new(start).chain(file);
    let reader: Box<dyn Read> = match packed {
        true => Box::new(Unpacked {
            reader: MultiGzDecoder::new(whole).take(UNPACKED + RATIO * size.len()),
        }),
        false => Box::new(whole),
    };
    Ok(Source {
        path: path.to_path_buf(),
        reader,
    })
}

impl Source {
    /// All of it.
    pub fn bytes(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.reader.read_to_end(&mut bytes);
        read.map_err(MetricsError::io("read", &self.path))?;
        Ok(bytes)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// Fails where a small file unpacks to a huge one, instead of ending there.
struct Unpacked<R> {
    reader: Take<R>,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.reader.read(buffer)? {
            0 if !buffer.is_empty() && self.reader.limit() == 0 => {
                let found = format!("unpacks to more than {RATIO} times its size; unpack it first");
                Err(std::io::Error::other(found))
            }
            read => Ok(read),
        }
    }
}
