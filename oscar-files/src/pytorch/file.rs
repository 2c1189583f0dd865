//! Opening a file of PyTorch or of `pickle`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::legacy::{self, BIG_ENDIAN, LegacyError};
use super::pickle::{self, Limits, StorageSpec};
use super::zip::Archive;
use super::{Storage, TorchError, Value};
use crate::map_file;

/// Format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TorchFormat {
    /// Zip archive of a pickle and of storages: PyTorch 1.6 and later.
    Zip,
    /// Pickles followed by storages: PyTorch 0.1.10 to 1.5.
    Legacy,
    /// A single pickle.
    Pickle,
}

impl TorchFormat {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zip => "PyTorch (zip)",
            Self::Legacy => "PyTorch (before 1.6)",
            Self::Pickle => "pickle",
        }
    }
}

/// An open file. Its tensors are in a memory map, which lives as long as any of them.
#[derive(Clone, Debug)]
pub struct TorchFile {
    path: PathBuf,
    format: TorchFormat,
    value: Value,
}

impl TorchFile {
    /// Opens a file that `torch.save` or `pickle.dump` wrote.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is damaged or truncated, names a class outside the closed list,
    /// or has a tensor that exceeds its storage. Nothing in the file is executed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TorchError> {
        let path = path.as_ref();
        Self::from_bytes(map_file(path)?, path, &Limits::default())
    }

    /// Reads a file's bytes; `path` is for messages.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn from_bytes(
        bytes: impl Into<Bytes>,
        path: impl AsRef<Path>,
        limits: &Limits,
    ) -> Result<Self, TorchError> {
        let path = path.as_ref();
        let format = |reason: String| TorchError::Format {
            path: path.into(),
            reason,
        };
        let pickle = |source| TorchError::Pickle {
            path: path.into(),
            source,
        };
        let bytes = bytes.into();
        let (format, value) = if bytes.starts_with(b"PK") {
            let archive = Archive::open(&bytes).map_err(format)?;
            let root = root(&archive).map_err(format)?;
            let read = |name: &str| archive.member(&format!("{root}{name}"))?.read();
            if archive.has(&format!("{root}byteorder")) {
                let order = read("byteorder").map_err(format)?;
                if *order != *b"little" {
                    return Err(format(BIG_ENDIAN.into()));
                }
            }
            let data = read("data.pkl").map_err(format)?;
            let mut find = |spec: &StorageSpec| storage(&archive, root, spec);
            let value = pickle::run(&data, 0, limits)
                .and_then(|parsed| parsed.freeze(&mut find))
                .map_err(pickle)?;
            (TorchFormat::Zip, value)
        } else {
            let first = pickle::run(&bytes, 0, limits).map_err(pickle)?;
            if legacy::is_magic(&first) {
                let value =
                    legacy::read(&bytes, first.end(), limits).map_err(|error| match error {
                        LegacyError::Pickle(error) => pickle(error),
                        LegacyError::Format(reason) => format(reason),
                    })?;
                (TorchFormat::Legacy, value)
            } else {
                let value = first.freeze(&mut pickle::no_storages).map_err(pickle)?;
                (TorchFormat::Pickle, value)
            }
        };
        Ok(Self {
            path: path.into(),
            format,
            value,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format of the file.
    pub fn format(&self) -> TorchFormat {
        self.format
    }

    /// The value in the file.
    pub fn value(&self) -> &Value {
        &self.value
    }
}

/// The folder inside the archive, with its slash: that of the only `data.pkl`.
fn root(archive: &Archive) -> Result<&str, String> {
    let mut roots = archive
        .names()
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .filter(|root| root.is_empty() || root.ends_with('/'));
    match (roots.next(), roots.next()) {
        (Some(root), None) => Ok(root),
        (None, _) => Err("the zip archive has no data.pkl, so it is not a PyTorch file".into()),
        (Some(_), Some(_)) => Err("the zip archive has more than one data.pkl".into()),
    }
}

fn storage(archive: &Archive, root: &str, spec: &StorageSpec) -> Result<Arc<Storage>, String> {
    let member = archive.member(&format!("{root}data/{}", spec.key))?;
    if member.len() < spec.bytes {
        return Err(format!(
            "storage {:?} has {} bytes in the archive, {} are declared",
            spec.key,
            member.len(),
            spec.bytes
        ));
    }
    if spec.part.is_some() {
        return Err(format!("storage {:?} is a part of another", spec.key));
    }
    Ok(Arc::new(Storage::of_member(spec.key.clone(), member)))
}
