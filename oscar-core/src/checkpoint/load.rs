//! Reading safetensors files into a model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::module::{ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::error::require_finite;
use super::names::{self, Parameter, parameters, transpose};
use super::{CheckpointError, Checkpointed, NamedTensor, ShapeMismatch};

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

/// What became of every tensor of a file and every parameter of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Parameters taken from the file.
    pub loaded: Vec<String>,
    /// Tensors of the file that the model has no place for.
    pub skipped: Vec<String>,
    /// Parameters that the file lacks; they keep their random values.
    pub missing: Vec<String>,
    /// Tensors of another shape; the parameters keep their random values.
    pub mismatched: Vec<ShapeMismatch>,
}

/// Loads a safetensors file of official names into `model`.
///
/// Renames `gamma`/`beta` of old files, takes a file of a bare backbone (no `bert.` prefix) into
/// a model that has one and the other way round, and leaves a contrastive head of another class
/// count random, as the official loader does. A tied output matrix follows the word embedding.
///
/// # Errors
///
/// If the file cannot be read, holds a non-finite value, is of another model (shapes), or lacks
/// parameters that `random` does not allow to stay random. The model is not changed then.
pub fn load<B: Backend, M: Checkpointed<B>>(
    model: M,
    path: impl AsRef<Path>,
    random: &RandomInit,
) -> Result<(M, LoadReport), CheckpointError> {
    let path = path.as_ref();
    let mapped = map_file(path)?;
    let file = parse(path, &mapped)?;
    let parameters = parameters(&model);
    let (tensors, report) = plan(&file, &parameters, model.aliases());
    accept(path, &report, random)?;

    let mut values = BTreeMap::new();
    for name in &report.loaded {
        values.insert(name.clone(), to_f32(path, name, &tensors[name])?);
    }
    let mut mapper = Loader {
        path: names::Path::default(),
        values,
    };
    Ok((model.map(&mut mapper), report))
}

/// Reads every tensor of a safetensors file as f32, in the order of their names.
///
/// # Errors
///
/// If the file cannot be read or is not a complete safetensors file of floating-point tensors.
pub fn read_tensors(path: impl AsRef<Path>) -> Result<Vec<NamedTensor>, CheckpointError> {
    let path = path.as_ref();
    let mapped = map_file(path)?;
    let file = parse(path, &mapped)?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        let data = to_f32(path, name, &view)?;
        tensors.push(NamedTensor {
            name: name.into(),
            shape: view.shape().to_vec(),
            data,
        });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

fn map_file(path: &Path) -> Result<Mmap, CheckpointError> {
    let failed = |source| CheckpointError::Io {
        action: "read",
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    // SAFETY: the map is read-only and dropped before this crate writes to the file again;
    // a file that another process truncates meanwhile is outside what any reader can promise.
    unsafe { Mmap::map(&file) }.map_err(failed)
}

fn parse<'a>(path: &Path, mapped: &'a Mmap) -> Result<SafeTensors<'a>, CheckpointError> {
    SafeTensors::deserialize(mapped).map_err(|error| CheckpointError::Format {
        path: path.into(),
        reason: error.to_string(),
    })
}

/// Matches the file's names against the model's.
fn plan<'a>(
    file: &SafeTensors<'a>,
    parameters: &[Parameter],
    aliases: &[(&str, &str)],
) -> (BTreeMap<String, TensorView<'a>>, LoadReport) {
    let tensors = in_model_names(file, parameters);
    let mut report = LoadReport::default();
    let mut known = BTreeSet::new();
    for parameter in parameters {
        known.insert(parameter.name.as_str());
        match tensors.get(&parameter.name) {
            None => report.missing.push(parameter.name.clone()),
            Some(view) if view.shape() == parameter.shape => {
                report.loaded.push(parameter.name.clone());
            }
            Some(view) => report.mismatched.push(ShapeMismatch {
                name: parameter.name.clone(),
                file: view.shape().to_vec(),
                model: parameter.shape.clone(),
            }),
        }
    }
    known.extend(aliases.iter().map(|(alias, _)| *alias));
    report.skipped = tensors
        .keys()
        .filter(|name| !known.contains(name.as_str()))
        .cloned()
        .collect();
    (tensors, report)
}

/// The file's tensors under the names the model would give them.
///
/// A backbone alone has no `bert.` prefix: such a file goes into a whole model's backbone, and of
/// a whole model's file a backbone takes its part and does not look at the rest.
fn in_model_names<'a>(
    file: &SafeTensors<'a>,
    parameters: &[Parameter],
) -> BTreeMap<String, TensorView<'a>> {
    const PREFIX: &str = "bert.";
    let file_has = file.names().iter().any(|name| name.starts_with(PREFIX));
    let model_has = parameters
        .iter()
        .any(|parameter| parameter.name.starts_with(PREFIX));
    file.iter()
        .filter_map(|(name, view)| {
            let name = modern_name(name);
            let name = match (file_has, model_has) {
                (true, false) => name.strip_prefix(PREFIX)?.to_string(),
                (false, true) => {
                    let prefixed = format!("{PREFIX}{name}");
                    match parameters
                        .iter()
                        .any(|parameter| parameter.name == prefixed)
                    {
                        true => prefixed,
                        false => name,
                    }
                }
                _ => name,
            };
            Some((name, view))
        })
        .collect()
}

/// Names of files converted from TensorFlow end in `gamma` and `beta`.
fn modern_name(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((module, "gamma")) => format!("{module}.weight"),
        Some((module, "beta")) => format!("{module}.bias"),
        _ => name.to_string(),
    }
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

/// A tensor's values as f32, all finite.
fn to_f32(path: &Path, name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, CheckpointError> {
    let bytes = view.data();
    let values: Vec<f32> = match view.dtype() {
        // The bytes are not aligned in general: read them one value at a time.
        Dtype::F32 => convert(bytes, f32::from_le_bytes),
        Dtype::F16 => convert(bytes, |value| f16::from_le_bytes(value).to_f32()),
        Dtype::BF16 => convert(bytes, |value| bf16::from_le_bytes(value).to_f32()),
        Dtype::F64 => convert(bytes, |value| f64::from_le_bytes(value) as f32),
        other => {
            return Err(CheckpointError::DType {
                path: PathBuf::from(path),
                name: name.into(),
                dtype: format!("{other:?}"),
            });
        }
    };
    require_finite(path, name, &values)?;
    Ok(values)
}

fn convert<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| value(*chunk)).collect()
}

/// Puts the values where they belong.
struct Loader {
    path: names::Path,
    values: BTreeMap<String, Vec<f32>>,
}

impl<B: Backend> ModuleMapper<B> for Loader {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(mut data) = self.values.remove(&self.path.official_name()) else {
            return param;
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
