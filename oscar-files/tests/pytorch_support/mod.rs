//! Pickles and archives made by hand.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::io::{Cursor, Write};
use std::path::PathBuf;

use oscar_files::pytorch::pickle::Limits;
use oscar_files::pytorch::{TorchError, TorchFile};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// A file that PyTorch, NumPy or Python wrote.
pub fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch_files");
    fs::read(folder.join(name)).unwrap()
}

pub fn open(bytes: impl Into<Vec<u8>>) -> Result<TorchFile, TorchError> {
    TorchFile::from_bytes(bytes.into(), "some/model.bin", &Limits::default())
}

/// The error of a file, which must name it.
pub fn error_of(bytes: impl Into<Vec<u8>>) -> String {
    let error = open(bytes).expect_err("an error").to_string();
    assert!(error.contains("some/model.bin"), "{error}");
    error
}

/// A text of protocol 2.
pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![b'X'];
    bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

/// An integer of protocol 2.
pub fn integer(value: i64) -> Vec<u8> {
    let mut bytes = vec![0x8a, 8];
    bytes.extend(value.to_le_bytes());
    bytes
}

pub fn tuple(items: &[i64]) -> Vec<u8> {
    let mut bytes = vec![b'('];
    items.iter().for_each(|item| bytes.extend(integer(*item)));
    bytes.push(b't');
    bytes
}

/// A tensor of f32 as a state dictionary has it.
pub struct TensorOf<'a> {
    pub key: &'a str,
    /// Elements of the storage, as the pickle declares them.
    pub elements: i64,
    pub offset: i64,
    pub shape: &'a [i64],
    pub strides: &'a [i64],
}

impl TensorOf<'_> {
    /// `{"bert.weight": tensor}`
    pub fn pickle(&self) -> Vec<u8> {
        let mut bytes = b"\x80\x02}(".to_vec();
        bytes.extend(text("bert.weight"));
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        bytes.extend(text("storage"));
        bytes.extend(b"ctorch\nFloatStorage\n");
        bytes.extend(text(self.key));
        bytes.extend(text("cpu"));
        bytes.extend(integer(self.elements));
        bytes.extend(b"tQ");
        bytes.extend(integer(self.offset));
        bytes.extend(tuple(self.shape));
        bytes.extend(tuple(self.strides));
        bytes.extend(b"\x89ccollections\nOrderedDict\n)RtRu.");
        bytes
    }
}

/// A file of PyTorch before 1.6 whose one storage, called 0, has `elements` of 4 bytes.
pub fn legacy(tensor: &TensorOf<'_>, little_endian: bool, elements: u64, data: &[u8]) -> Vec<u8> {
    let flag = if little_endian { 0x88 } else { 0x89 };
    [
        // The magic number, the protocol 1001, the system, the value, the keys.
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".as_slice(),
        b"\x80\x02M\xe9\x03.",
        &[
            b"\x80\x02}",
            text("little_endian").as_slice(),
            &[flag],
            b"s.",
        ]
        .concat(),
        &tensor.pickle(),
        &[b"\x80\x02]", text("0").as_slice(), b"a."].concat(),
        &elements.to_le_bytes(),
        data,
    ]
    .concat()
}

/// A zip archive of `(name, compressed, bytes)`.
pub fn archive(members: &[(&str, bool, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, compressed, bytes) in members {
        let method = match compressed {
            true => CompressionMethod::Deflated,
            false => CompressionMethod::Stored,
        };
        let options = SimpleFileOptions::default().compression_method(method);
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Replaces every occurrence of `from` by `to`, of the same length.
pub fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let mut found = 0;
    for at in 0..bytes.len().saturating_sub(from.len()) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            found += 1;
        }
    }
    assert!(found > 0, "nothing to replace");
    bytes
}
