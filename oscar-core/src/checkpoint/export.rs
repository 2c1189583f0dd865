//! Writing weights in their own types, as safetensors or for `torch.load`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Error};
use std::path::Path;

use bytes::Bytes;
use oscar_files::pytorch::{StateEntry, write_module_dicts, write_state_dict};
use oscar_files::{FileError, write_file_with};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

use super::inspect::{shapes_of, tied};
use super::kind::{ModelKind, prefix};
use super::official::DECODER;
use super::rosita;
use super::{Change, CheckpointError, WeightFile};

/// Whose names an exported file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Oscar's, which are those of BERT.
    #[default]
    Oscar,
    /// ROSITA's. A PyTorch file is nested as its released ones, with a dictionary per module.
    Rosita,
}

/// Result of [`export`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Names in the file.
    pub names: usize,
    /// Names that share their values with another.
    pub tied: Vec<Vec<String>>,
    /// How names were changed to the official ones.
    pub changes: Vec<Change>,
}

/// As [`export_as`], under the official names.
///
/// # Errors
///
/// As [`export_as`].
pub fn export(
    source: impl AsRef<Path>,
    out: impl AsRef<Path>,
) -> Result<Exported, CheckpointError> {
    export_as(Layout::Oscar, source, out)
}

/// Writes the weights of `source`, a file or a directory, to `out` under the names of `layout`, in their
/// own types: to a `.safetensors` file, or to a `.bin` or `.pkl` file as `torch.save` would, in which
/// tied names share one storage.
///
/// # Errors
///
/// If the source cannot be read, holds other data than weights or weights that the layout has no names
/// for, `out` has another extension, or it cannot be written; no incomplete file is left then.
pub fn export_as(
    layout: Layout,
    source: impl AsRef<Path>,
    out: impl AsRef<Path>,
) -> Result<Exported, CheckpointError> {
    let out = out.as_ref();
    let extension = out.extension().and_then(|extension| extension.to_str());
    let write = match (extension, layout) {
        (Some("safetensors"), _) => write_safetensors,
        (Some("bin" | "pkl"), Layout::Oscar) => write_torch,
        (Some("bin" | "pkl"), Layout::Rosita) => write_modules,
        _ => {
            let found = "the name must end in .pkl, .bin (PyTorch) or .safetensors";
            return Err(FileError::io("write", out)(Error::other(found)).into());
        }
    };
    let file = WeightFile::open_official(source)?;
    let mut tensors = collect(&file)?;
    if layout == Layout::Rosita {
        rosita::restore(&mut tensors.names, &mut tensors.storages).map_err(|reason| {
            CheckpointError::Format {
                path: file.path().into(),
                reason,
            }
        })?;
    }
    write(out, &tensors)?;
    Ok(Exported {
        names: tensors.names.len(),
        tied: tensors.tied(),
        changes: file.changes().to_vec(),
    })
}

/// Named tensors, ready to be written.
pub(super) struct Tensors {
    names: Vec<StateEntry>,
    storages: Vec<Bytes>,
}

impl Tensors {
    fn tied(&self) -> Vec<Vec<String>> {
        let groups = (0..self.storages.len()).map(|storage| {
            let names = self.names.iter().filter(|named| named.storage == storage);
            let mut names: Vec<_> = names.map(|named| named.name.clone()).collect();
            names.sort_by_key(|name| name == DECODER);
            names
        });
        groups.filter(|names| names.len() > 1).collect()
    }
}

/// The weights of a file in their own types, with a tied output matrix that the file omits, as
/// HuggingFace's safetensors do.
pub(super) fn collect(file: &WeightFile) -> Result<Tensors, CheckpointError> {
    let groups = tied(file)?;
    let mut tensors = Tensors {
        names: Vec::new(),
        storages: Vec::new(),
    };
    let mut shared: HashMap<&str, usize> = HashMap::new();
    for weight in file.weights() {
        let first = groups
            .iter()
            .find(|group| group.contains(&weight.name))
            .and_then(|group| group.first())
            .map_or(weight.name.as_str(), String::as_str);
        let storage = match shared.get(first) {
            Some(storage) => *storage,
            None => {
                tensors.storages.push(file.bytes_of(weight)?);
                shared.insert(first, tensors.storages.len() - 1);
                tensors.storages.len() - 1
            }
        };
        tensors.names.push(StateEntry {
            name: weight.name.clone(),
            dtype: weight.tensor.dtype(),
            shape: weight.tensor.shape().to_vec(),
            storage,
        });
    }
    let shapes = shapes_of(file.weights(), &groups);
    let predicts = matches!(
        ModelKind::of(&shapes),
        ModelKind::Pretraining { .. } | ModelKind::Captioning
    );
    if predicts && file.get(DECODER).is_none() {
        let embedding = format!("{}embeddings.word_embeddings.weight", prefix(&shapes));
        let alias = tensors.names.iter().find(|named| named.name == embedding);
        let alias = alias.map(|named| StateEntry {
            name: DECODER.into(),
            ..named.clone()
        });
        tensors.names.extend(alias);
    }
    Ok(tensors)
}

/// Writes a safetensors file; tied names are written as copies.
pub(super) fn write_safetensors(path: &Path, tensors: &Tensors) -> Result<(), CheckpointError> {
    let views = tensors.names.iter().map(|entry| {
        let bytes = tensors.storages.get(entry.storage);
        let bytes = bytes.map_or(&[][..], |bytes| bytes);
        (entry.name.as_str(), entry.dtype, entry.shape.clone(), bytes)
    });
    write_views(path, views)
}

/// Writes tensors, given as name, type, shape and little-endian bytes, to a safetensors file.
pub(super) fn write_views<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, Dtype, Vec<usize>, &'a [u8])>,
) -> Result<(), CheckpointError> {
    let failed = |error: SafeTensorError| FileError::io("write", path)(Error::other(error));
    let views = tensors.map(|(name, dtype, shape, bytes)| {
        Ok((name, TensorView::new(dtype, shape, bytes).map_err(failed)?))
    });
    let views = views.collect::<Result<Vec<_>, FileError>>()?;
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    write_file_with(path, |temporary| {
        safetensors::serialize_to_file(views, Some(metadata), temporary)
            .map_err(|error| failed(error).into())
    })
}

fn write_torch(path: &Path, tensors: &Tensors) -> Result<(), CheckpointError> {
    write_by(write_state_dict, path, tensors)
}

/// As [`write_torch`], with a dictionary for each module: what comes before the first dot of a name.
fn write_modules(path: &Path, tensors: &Tensors) -> Result<(), CheckpointError> {
    write_by(write_module_dicts, path, tensors)
}

/// Writes entries over storages as a PyTorch file.
type Writer = fn(BufWriter<File>, &[StateEntry], &[Bytes]) -> std::io::Result<()>;

fn write_by(write: Writer, path: &Path, tensors: &Tensors) -> Result<(), CheckpointError> {
    write_file_with(path, |temporary| {
        let file = File::create(temporary).map(BufWriter::new);
        file.and_then(|file| write(file, &tensors.names, &tensors.storages))
            .map_err(|error| FileError::io("write", path)(error).into())
    })
}
