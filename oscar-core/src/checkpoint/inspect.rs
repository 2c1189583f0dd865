//! Describing a weight file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::family;
use super::kind::{ModelKind, Part, Shapes, Sizes, parts, prefix};
use super::official::DECODER;
use super::{Change, CheckpointError, Weight, WeightFile, WeightFormat};

/// The content of a weight file, under official names.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The file.
    #[serde(serialize_with = "oscar_files::serialize_shown")]
    pub file: PathBuf,
    /// Its format.
    #[serde(serialize_with = "format_name")]
    pub format: WeightFormat,
    /// How names were changed to the official ones.
    #[serde(serialize_with = "sentences")]
    pub changes: Vec<Change>,
    /// The model it belongs to.
    pub model: ModelKind,
    /// The sizes that follow from its shapes.
    pub sizes: Sizes,
    /// Parameters by part, a shared one counted once.
    pub parts: Vec<Part>,
    /// All parameters, a shared one counted once.
    pub parameters: usize,
    /// Names of the same parameter; the first of each group is counted.
    pub tied: Vec<Vec<String>>,
    /// Every tensor in the file's order.
    pub tensors: Vec<TensorInfo>,
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorInfo {
    /// Official name.
    pub name: String,
    /// Type of its elements: `F32`.
    pub dtype: String,
    /// Official shape.
    pub shape: Vec<usize>,
}

/// Describes a weight file, or that of a directory.
///
/// # Errors
///
/// If it cannot be read, does not hold weights, or is damaged.
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection, CheckpointError> {
    describe(&WeightFile::open_official(path)?)
}

/// Describes an open file.
pub(super) fn describe(file: &WeightFile) -> Result<Inspection, CheckpointError> {
    let tied = tied(file)?;
    let shapes = shapes_of(file.weights(), &tied);
    let parts = parts(&shapes);
    Ok(Inspection {
        file: file.path().into(),
        format: file.format(),
        changes: file.changes().to_vec(),
        model: match family::of(file.weights()) {
            Some(family) => ModelKind::Other { family },
            None => ModelKind::of(&shapes),
        },
        sizes: Sizes::of(&shapes),
        parameters: parts.iter().map(|part| part.parameters).sum(),
        parts,
        tensors: file.weights().iter().map(info).collect(),
        tied,
    })
}

impl Inspection {
    /// Shapes of the parameters.
    pub(super) fn shapes(&self) -> Shapes<'_> {
        let tensors = self.tensors.iter();
        let named = tensors.map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()));
        named
            .filter(|(name, _)| !is_repeated(&self.tied, name))
            .collect()
    }
}

fn info(weight: &Weight) -> TensorInfo {
    TensorInfo {
        name: weight.name.clone(),
        dtype: format!("{:?}", weight.tensor.dtype()),
        shape: weight.tensor.shape().to_vec(),
    }
}

/// The shapes of parameters: of tied names only the first.
pub(super) fn shapes_of<'a>(weights: &'a [Weight], tied: &[Vec<String>]) -> Shapes<'a> {
    weights
        .iter()
        .filter(|weight| !is_repeated(tied, &weight.name))
        .map(|weight| (weight.name.as_str(), weight.tensor.shape()))
        .collect()
}

/// Whether `name` is tied to one that comes before it.
fn is_repeated(tied: &[Vec<String>], name: &str) -> bool {
    tied.iter()
        .any(|group| group.iter().skip(1).any(|repeated| repeated == name))
}

/// Groups of names that are one parameter: the same view of a storage, or, since safetensors has
/// no sharing, an output matrix that equals the word embedding.
pub(super) fn tied(file: &WeightFile) -> Result<Vec<Vec<String>>, CheckpointError> {
    let mut groups: Vec<(&Weight, Vec<String>)> = Vec::new();
    let mut by_storage = HashMap::new();
    for weight in file
        .weights()
        .iter()
        .filter(|weight| !weight.tensor.is_empty())
    {
        let tensor = &weight.tensor;
        let view = (
            Arc::as_ptr(tensor.storage()),
            tensor.offset(),
            tensor.shape(),
            tensor.strides(),
        );
        let at = *by_storage.entry(view).or_insert_with(|| {
            groups.push((weight, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, names)) = groups.get_mut(at) {
            names.push(weight.name.clone());
        }
    }
    let mut tied: Vec<Vec<String>> = groups
        .into_iter()
        .map(|(_, names)| names)
        .filter(|names| names.len() > 1)
        .collect();
    for names in &mut tied {
        // The word embedding is the parameter, whichever comes first in the file.
        names.sort_by_key(|name| name == DECODER);
    }
    if !tied.iter().flatten().any(|name| name == DECODER)
        && let Some((embedding, decoder)) = output_pair(file)
        && file.same_values(embedding, decoder)?
    {
        tied.push(vec![embedding.name.clone(), decoder.name.clone()]);
    }
    Ok(tied)
}

/// The word embedding and the output matrix.
fn output_pair(file: &WeightFile) -> Option<(&Weight, &Weight)> {
    let shapes = shapes_of(file.weights(), &[]);
    let embedding = format!("{}embeddings.word_embeddings.weight", prefix(&shapes));
    Some((file.get(&embedding)?, file.get(DECODER)?))
}

fn format_name<S: serde::Serializer>(
    format: &WeightFormat,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(format.name())
}

fn sentences<S: serde::Serializer>(changes: &[Change], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(changes.iter().map(Change::to_string))
}
