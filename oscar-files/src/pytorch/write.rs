//! Writing weights as `torch.save` does: a zip archive of a pickle and storages.

use std::io::{Error, Seek, Write};

use bytes::Bytes;
use safetensors::Dtype;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::convert::{element_size, row_major};
use super::until_error::UntilError;

/// Bytes at whose multiples storages begin, as PyTorch has them.
const ALIGNMENT: u16 = 64;

/// Folder inside the archive.
const ROOT: &str = "archive";

/// A tensor by name. Tensors of the same storage share it, as tied parameters do.
#[derive(Clone, Debug)]
pub struct StateEntry {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Its shape; its elements are the whole storage in row-major order.
    pub shape: Vec<usize>,
    /// Number of its storage.
    pub storage: usize,
}

/// Writes a state dictionary of `entries` over `storages`, whose bytes are little-endian.
///
/// # Errors
///
/// If writing fails, or an entry does not fit its storage or has a type that PyTorch's state
/// dictionaries do not have.
pub fn write_state_dict<W: Write + Seek>(
    output: W,
    entries: &[StateEntry],
    storages: &[Bytes],
) -> std::io::Result<()> {
    let mut program = HEADER.to_vec();
    dictionary(&mut program, entries, |entry| entry.name.clone(), storages)?;
    program.push(b'.');
    write_archive(output, &program, storages)
}

/// As [`write_state_dict`], with a dictionary of its own for each module of a model, in the order in
/// which they first come: a tensor called `module.name` is `name` in the dictionary `module`.
///
/// # Errors
///
/// As [`write_state_dict`], and if a name has no module.
pub fn write_module_dicts<W: Write + Seek>(
    output: W,
    entries: &[StateEntry],
    storages: &[Bytes],
) -> std::io::Result<()> {
    let mut modules: Vec<(&str, Vec<StateEntry>)> = Vec::new();
    for entry in entries {
        let (module, _) = entry
            .name
            .split_once('.')
            .ok_or_else(|| Error::other(format!("tensor {} is in no module", entry.name)))?;
        match modules.iter_mut().find(|(name, _)| *name == module) {
            Some((_, entries)) => entries.push(entry.clone()),
            None => modules.push((module, vec![entry.clone()])),
        }
    }
    let mut program = HEADER.to_vec();
    program.extend_from_slice(b"}(");
    for (module, entries) in &modules {
        text(&mut program, module)?;
        let inner = |entry: &StateEntry| entry.name[module.len() + 1..].to_string();
        dictionary(&mut program, entries, inner, storages)?;
    }
    program.extend_from_slice(b"u.");
    write_archive(output, &program, storages)
}

fn write_archive<W: Write + Seek>(
    output: W,
    program: &[u8],
    storages: &[Bytes],
) -> std::io::Result<()> {
    let mut archive = ZipWriter::new(UntilError::new(output));
    let mut member = |name: &str, bytes: &[u8]| {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(ALIGNMENT)
            .large_file(u32::try_from(bytes.len()).is_err());
        archive.start_file(format!("{ROOT}/{name}"), options)?;
        archive.write_all(bytes)
    };
    member("data.pkl", program)?;
    member("byteorder", b"little")?;
    for (number, bytes) in storages.iter().enumerate() {
        member(&format!("data/{number}"), bytes)?;
    }
    member("version", b"3\n")?;
    archive.finish()?.flush()
}

/// What makes a pickle one of protocol 2.
const HEADER: &[u8] = b"\x80\x02";

/// Appends the program that builds a dictionary of `entries`, each under the name that `name` gives it.
fn dictionary<N: AsRef<str>>(
    output: &mut Vec<u8>,
    entries: &[StateEntry],
    name: impl Fn(&StateEntry) -> N,
    storages: &[Bytes],
) -> std::io::Result<()> {
    output.extend_from_slice(b"ccollections\nOrderedDict\n)R(");
    for entry in entries {
        let misfit = |what: &str| Error::other(format!("tensor {}: {what}", entry.name));
        let class = storage_class(entry.dtype)
            .ok_or_else(|| misfit(&format!("type {:?} cannot be written", entry.dtype)))?;
        let elements: usize = entry.shape.iter().product();
        let length = storages.get(entry.storage).map(Bytes::len);
        if length != Some(elements * element_size(entry.dtype)) {
            return Err(misfit("its shape does not fit its storage"));
        }
        text(output, name(entry).as_ref())?;
        output.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(output, "storage")?;
        output.extend_from_slice(format!("ctorch\n{class}\n").as_bytes());
        text(output, &entry.storage.to_string())?;
        text(output, "cpu")?;
        integer(output, elements);
        // The storage, offset 0, shape, strides, requires_grad, hooks.
        output.extend_from_slice(b"tQK\x00");
        for sizes in [&entry.shape, &row_major(&entry.shape)] {
            output.push(b'(');
            sizes.iter().for_each(|size| integer(output, *size));
            output.push(b't');
        }
        output.extend_from_slice(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    output.push(b'u');
    Ok(())
}

fn text(output: &mut Vec<u8>, text: &str) -> std::io::Result<()> {
    let length = u32::try_from(text.len()).map_err(Error::other)?;
    output.push(b'X');
    output.extend_from_slice(&length.to_le_bytes());
    output.extend_from_slice(text.as_bytes());
    Ok(())
}

fn integer(output: &mut Vec<u8>, value: usize) {
    match i32::try_from(value) {
        Ok(value) => {
            output.push(b'J');
            output.extend_from_slice(&value.to_le_bytes());
        }
        // Nine bytes: the last one keeps the sign positive.
        Err(_) => {
            output.extend_from_slice(b"\x8a\x09");
            output.extend_from_slice(&(value as u64).to_le_bytes());
            output.push(0);
        }
    }
}

fn storage_class(dtype: Dtype) -> Option<&'static str> {
    Some(match dtype {
        Dtype::F32 => "FloatStorage",
        Dtype::F64 => "DoubleStorage",
        Dtype::F16 => "HalfStorage",
        Dtype::BF16 => "BFloat16Storage",
        Dtype::I64 => "LongStorage",
        Dtype::I32 => "IntStorage",
        Dtype::I16 => "ShortStorage",
        Dtype::I8 => "CharStorage",
        Dtype::U8 => "ByteStorage",
        Dtype::BOOL => "BoolStorage",
        _ => return None,
    })
}
