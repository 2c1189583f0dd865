//! Memory-mapped files, and safetensors files whose tensors are read where they lie.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use bytes::Bytes;
use oscar_files::without_bom;
use safetensors::{Dtype, SafeTensors};

use crate::error::{DatasetError, Result};

const REBUILD: &str =
    "the file is damaged or was cut off while being copied: build or copy it again";

/// Maps a whole file of region values or weights for reading.
///
/// # Errors
/// [`DatasetError::Missing`] with `hint` if there is no such file, or the system's reason.
pub fn map_file(path: &Path, hint: &'static str) -> Result<Bytes> {
    oscar_files::map_file(path).map_err(DatasetError::missing(hint))
}

/// Reads a whole file of text or of another program, which must not be mapped: it may change. A
/// byte order mark is left out.
///
/// # Errors
/// As [`map_file`].
pub fn read_file(path: &Path, hint: &'static str) -> Result<Vec<u8>> {
    let read = oscar_files::read_file(path, u64::MAX);
    let mut bytes = read.map_err(DatasetError::missing(hint))?;
    let mark = bytes.len() - without_bom(&bytes).len();
    bytes.drain(..mark);
    Ok(bytes)
}

/// A mapped safetensors file.
pub struct MappedTensors {
    path: PathBuf,
    map: Bytes,
    tensors: HashMap<String, (Dtype, Vec<usize>, Range<usize>)>,
    metadata: HashMap<String, String>,
}

impl MappedTensors {
    /// Maps `path` and reads its header, which must cover the file exactly.
    pub fn open(path: &Path, hint: &'static str) -> Result<Self> {
        let map = map_file(path, hint)?;
        let (header_len, header) = SafeTensors::read_metadata(&map).map_err(|error| {
            let found = format!(
                "not a whole safetensors file ({} bytes: {error})",
                map.len()
            );
            DatasetError::malformed(path, found, REBUILD)
        })?;
        let metadata = header.metadata().clone().unwrap_or_default();
        // `read_metadata` has checked that every tensor lies within the file.
        let data = 8 + header_len;
        let tensors = header
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let (start, end) = info.data_offsets;
                (
                    name,
                    (info.dtype, info.shape.clone(), data + start..data + end),
                )
            })
            .collect();
        Ok(Self {
            path: path.to_path_buf(),
            map,
            tensors,
            metadata,
        })
    }

    /// A value of the free metadata.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// A metadata value that must be a number.
    pub fn metadata_number(&self, name: &str) -> Result<usize> {
        let found = self.metadata(name).unwrap_or("nothing");
        found.parse().map_err(|_| {
            let found = format!("metadata `{name}` is {found}, not a number");
            DatasetError::malformed(&self.path, found, REBUILD)
        })
    }

    /// Whether there is a tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of tensor `name`.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        match self.tensors.get(name) {
            Some((_, shape, _)) => Ok(shape),
            None => Err(self.wrong(format!("tensor `{name}` is missing"))),
        }
    }

    /// Tensor `name`, which must have this dtype and shape.
    pub fn column<T: Pod>(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Column<T>> {
        let Some((found_dtype, found_shape, range)) = self.tensors.get(name) else {
            return Err(self.wrong(format!("tensor `{name}` is missing")));
        };
        if *found_dtype != dtype || found_shape != shape {
            return Err(self.wrong(format!(
                "tensor `{name}` is {found_dtype:?} {found_shape:?} instead of {dtype:?} {shape:?}"
            )));
        }
        if bytemuck::try_cast_slice::<u8, T>(&self.map[range.clone()]).is_err() {
            return Err(self.wrong(format!(
                "tensor `{name}` starts at byte {}, where {dtype:?} values cannot be read in place",
                range.start
            )));
        }
        Ok(Column {
            map: self.map.clone(),
            range: range.clone(),
            values: PhantomData,
        })
    }

    /// An error about this file.
    pub fn wrong(&self, found: String) -> DatasetError {
        DatasetError::malformed(&self.path, found, REBUILD)
    }
}

/// The values of one tensor, in the file.
pub struct Column<T> {
    map: Bytes,
    range: Range<usize>,
    values: PhantomData<fn() -> T>,
}

impl<T: Pod> Deref for Column<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // Length and alignment were checked when the column was made, and a map never moves.
        bytemuck::cast_slice(&self.map[self.range.clone()])
    }
}

/// The start of a safetensors file: header length and header, padded so that data begin at a
/// multiple of eight bytes.
///
/// `tensors` in file order: name, dtype, shape. They are packed without gaps, so order them by
/// falling alignment. (The `safetensors` crate writes its metadata from a hash map, in another
/// order each time; ours must give the same bytes for the same input.)
pub fn header(tensors: &[(&str, Dtype, &[usize])], metadata: &[(&str, String)]) -> Vec<u8> {
    let metadata: BTreeMap<_, _> = metadata.iter().map(|(name, value)| (name, value)).collect();
    let mut text = format!(r#"{{"__metadata__":{}"#, serde_json::json!(metadata));
    let mut start = 0;
    for (name, dtype, shape) in tensors {
        let end = start + shape.iter().product::<usize>() * dtype.bitsize() / 8;
        text += &format!(
            r#","{name}":{{"dtype":"{dtype:?}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        );
        start = end;
    }
    text.push('}');
    let mut text = text.into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes
}

/// Pads what [`header`] made to `len` bytes, so that data can be written before their number is
/// known; `None` if it is longer already.
pub(crate) fn pad_header(mut header: Vec<u8>, len: usize) -> Option<Vec<u8>> {
    if header.len() > len || !len.is_multiple_of(8) {
        return None;
    }
    header.resize(len, b' ');
    header[..8].copy_from_slice(&(len as u64 - 8).to_le_bytes());
    Some(header)
}
