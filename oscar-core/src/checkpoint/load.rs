//! Loading weight files into a model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::{ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};

use super::names::{self, Parameter, parameters, transpose};
use super::official::BACKBONE;
use super::{
    Change, CheckpointError, Checkpointed, NamedTensor, ShapeMismatch, Weight, WeightFile,
};

/// Parameters of the head whose class count grew from Oscar to Oscar+: the one difference in
/// shape that the official code tolerates.
const CONTRASTIVE_HEAD: &str = "cls.seq_relationship.";

/// Which parameters may keep their random initialisation when a file lacks them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RandomInit {
    /// None: an incomplete file is an error.
    #[default]
    Refuse,
    /// Those whose official name starts with one of these.
    Parts(Vec<String>),
    /// Any.
    All,
}

impl RandomInit {
    fn allows(&self, name: &str) -> bool {
        match self {
            Self::Refuse => false,
            Self::Parts(parts) => parts.iter().any(|part| name.starts_with(part.as_str())),
            Self::All => true,
        }
    }
}

/// What happened to every tensor of a file and every parameter of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Parameters loaded from the file.
    pub loaded: Vec<String>,
    /// Tensors of the file that the model does not have.
    pub skipped: Vec<String>,
    /// Parameters that the file lacks; they keep their random initialisation.
    pub missing: Vec<String>,
    /// Tensors of another shape; their parameters keep their random initialisation.
    pub mismatched: Vec<ShapeMismatch>,
    /// How names were changed to the official ones.
    pub changes: Vec<Change>,
}

/// Loads a weight file, or the one in a directory, into `model`.
///
/// Accepts safetensors and PyTorch files with any of the naming schemes in [`Change`], and loads a
/// backbone alone (without the `bert.` prefix) into a model with heads and vice versa. A
/// contrastive head with another number of classes keeps its random initialisation, as in the
/// official loader. A tied output matrix follows the word embedding, and one that the file leaves out
/// since it is tied is the word embedding.
///
/// # Errors
///
/// If the file cannot be read, holds a value that is not finite, is of another family of models or
/// of another size, or lacks parameters that `random` does not allow to be initialised randomly.
pub fn load<B: Backend, M: Checkpointed<B>>(
    model: M,
    path: impl AsRef<Path>,
    random: &RandomInit,
) -> Result<(M, LoadReport), CheckpointError> {
    let file = WeightFile::open_official(path)?;
    if model.is_bert() {
        file.require_bert()?;
    }
    let (weights, report) = plan(&file, &parameters(&model), model.aliases());
    accept(file.path(), &report, random)?;
    let loaded: BTreeSet<&str> = report.loaded.iter().map(String::as_str).collect();
    let mut loader = Loader {
        path: names::Path::default(),
        file: &file,
        weights,
        loaded,
        failed: None,
    };
    let model = model.map(&mut loader);
    match loader.failed {
        None => Ok((model, report)),
        Some(error) => Err(error),
    }
}

/// The report that [`load`] would give, however few tensors match.
///
/// # Errors
///
/// If the file cannot be opened.
pub fn compare<B: Backend, M: Checkpointed<B>>(
    model: &M,
    path: impl AsRef<Path>,
) -> Result<LoadReport, CheckpointError> {
    let file = WeightFile::open_official(path)?;
    Ok(plan(&file, &parameters(model), model.aliases()).1)
}

/// Reads every tensor of a file as f32, under the file's names and in their order.
///
/// # Errors
///
/// If the file cannot be read or is not a complete file of finite floating-point tensors.
pub fn read_tensors(path: impl AsRef<Path>) -> Result<Vec<NamedTensor>, CheckpointError> {
    let file = WeightFile::open(path)?;
    let tensors = file.weights().iter().map(|weight| {
        Ok(NamedTensor {
            name: weight.name.clone(),
            shape: weight.tensor.shape().to_vec(),
            data: file.f32_of(weight)?,
        })
    });
    let mut tensors = tensors.collect::<Result<Vec<_>, CheckpointError>>()?;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// Matches the file's names against the model's.
fn plan<'a>(
    file: &'a WeightFile,
    parameters: &[Parameter],
    aliases: &[(&str, &str)],
) -> (BTreeMap<String, &'a Weight>, LoadReport) {
    let weights = in_model_names(file, parameters);
    let mut report = LoadReport {
        changes: file.changes().to_vec(),
        ..LoadReport::default()
    };
    let mut known = BTreeSet::new();
    for parameter in parameters {
        known.insert(parameter.name.as_str());
        match weights.get(&parameter.name) {
            None => report.missing.push(parameter.name.clone()),
            Some(weight) if weight.tensor.shape() == parameter.shape => {
                report.loaded.push(parameter.name.clone());
            }
            Some(weight) => report.mismatched.push(ShapeMismatch {
                name: parameter.name.clone(),
                file: weight.tensor.shape().to_vec(),
                model: parameter.shape.clone(),
            }),
        }
    }
    known.extend(aliases.iter().map(|(alias, _)| *alias));
    report.skipped = weights
        .keys()
        .filter(|name| !known.contains(name.as_str()))
        .cloned()
        .collect();
    (weights, report)
}

/// The file's tensors under the names the model would give them.
///
/// A backbone alone has no `bert.` prefix: such a file is loaded into the backbone of a model with
/// heads, and a backbone takes only its own tensors from the file of such a model.
fn in_model_names<'a>(
    file: &'a WeightFile,
    parameters: &[Parameter],
) -> BTreeMap<String, &'a Weight> {
    let prefixed = |name: &str| name.starts_with(BACKBONE);
    let file_has = file.weights().iter().any(|weight| prefixed(&weight.name));
    let model_has = parameters.iter().any(|parameter| prefixed(&parameter.name));
    let known: BTreeSet<&str> = parameters
        .iter()
        .map(|parameter| parameter.name.as_str())
        .collect();
    let in_model = |name: &str| match (file_has, model_has) {
        (true, false) => Some(name.strip_prefix(BACKBONE)?.to_string()),
        (false, true) => {
            let inside = format!("{BACKBONE}{name}");
            Some(match known.contains(inside.as_str()) {
                true => inside,
                false => name.to_string(),
            })
        }
        _ => Some(name.to_string()),
    };
    file.weights()
        .iter()
        .filter_map(|weight| Some((in_model(&weight.name)?, weight)))
        .collect()
}

fn accept(path: &Path, report: &LoadReport, random: &RandomInit) -> Result<(), CheckpointError> {
    let (tolerated, fatal): (Vec<_>, Vec<_>) = report
        .mismatched
        .iter()
        .cloned()
        .partition(|mismatch| mismatch.name.starts_with(CONTRASTIVE_HEAD));
    if !fatal.is_empty() {
        return Err(CheckpointError::Mismatch {
            path: path.into(),
            mismatched: fatal,
        });
    }
    let names: Vec<String> = report
        .missing
        .iter()
        .cloned()
        .chain(tolerated.into_iter().map(|mismatch| mismatch.name))
        .filter(|name| !random.allows(name))
        .collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(CheckpointError::Missing {
            path: path.into(),
            names,
        }),
    }
}

/// Loads one parameter after the other, so that at most one is in memory in addition to the model.
struct Loader<'a> {
    path: names::Path,
    file: &'a WeightFile,
    weights: BTreeMap<String, &'a Weight>,
    loaded: BTreeSet<&'a str>,
    /// The first weight that could not be read.
    failed: Option<CheckpointError>,
}

impl<B: Backend> ModuleMapper<B> for Loader<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let name = self.path.official_name();
        let weight = match self.weights.get(&name) {
            Some(weight) if self.failed.is_none() && self.loaded.contains(name.as_str()) => weight,
            _ => return param,
        };
        let mut data = match self.file.f32_of(weight) {
            Ok(data) => data,
            Err(error) => {
                self.failed = Some(error);
                return param;
            }
        };
        let shape = param.lazy_shape();
        if self.path.is_linear_weight() {
            // The file holds [out, in], the parameter is [in, out].
            data = transpose(&data, shape[1], shape[0]);
        }
        let device = param.lazy_device();
        let id = param.id;
        param.transform_for_load(Tensor::from_data(TensorData::new(data, shape), &device), id)
    }
}
