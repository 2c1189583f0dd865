//! Released checkpoints: weights alone, whose sizes follow from their shapes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_core::checkpoint::{CheckpointError, NamedTensor, WeightFile, write_tensors};
use oscar_core::input::PaddingConfig;
use oscar_files::FileError;
use oscar_task::{Family, TaskCheckpoint, TaskError};

use crate::config::{ClipCapConfig, Gpt2Config, MappingType};
use crate::family::{ClipCapFamily, EncoderConfig};
use crate::gpt2::Gpt2Tokenizer;
use crate::task::Captioning;

const WEIGHTS_FILE: &str = "model.safetensors";

/// What a file of weights does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// The CLIP whose embeddings the model reads, to be kept with it; if it is not set, that of the
    /// released weights of these sizes.
    pub clip_model: Option<String>,
    /// Whether embeddings are divided by their length; if it is not set, as for the released weights of
    /// these sizes.
    pub normalize_prefix: Option<bool>,
    /// Replace what is there.
    pub overwrite: bool,
    /// Heads of a layer of GPT-2, where its width is not that of a published one.
    pub heads: Option<usize>,
}

/// Writes the directory `out`, which can be evaluated and asked, from `weights`, a file that `train.py`
/// of the official code saved, and the tokenizer in `vocabulary`.
///
/// # Errors
///
/// If a file cannot be read or written, the weights are not those of a ClipCap, or the tokenizer has
/// other tokens; weights of other sizes than the released ones without
/// [`normalize_prefix`](ImportOptions::normalize_prefix), which no file says; `out` that holds weights
/// already.
pub fn import(
    weights: &Path,
    vocabulary: &Path,
    options: &ImportOptions,
    out: &Path,
) -> Result<ClipCapConfig, TaskError> {
    let target = out.join(WEIGHTS_FILE);
    if target.exists() && !options.overwrite {
        return Err(FileError::AlreadyExists { path: target }.into());
    }
    let file = WeightFile::open_official(weights)?;
    let model = sizes(&file, options)?;
    model.validate().map_err(TaskError::Model)?;
    let tokenizer = Gpt2Tokenizer::open(vocabulary);
    let tokenizer = tokenizer.map_err(|error| TaskError::Data(error.into()))?;
    ClipCapFamily::check(&model, &tokenizer).map_err(TaskError::Model)?;
    std::fs::create_dir_all(out).map_err(FileError::io("create", out))?;
    let described = TaskCheckpoint::<Captioning> {
        model: model.clone(),
        task: Captioning::default(),
        encoder: Arc::new(tokenizer),
        encoder_config: EncoderConfig::default(),
        padding: PaddingConfig::default(),
        extractor: None,
        path: PathBuf::from(out),
    };
    described.describe(out)?;
    let tensors = file.weights().iter().map(|weight| {
        Ok(NamedTensor {
            name: weight.name.clone(),
            shape: weight.tensor.shape().to_vec(),
            data: file.f32_of(weight)?,
        })
    });
    let tensors: Vec<NamedTensor> = tensors.collect::<Result<_, CheckpointError>>()?;
    // Last: a directory with weights is complete.
    write_tensors(&target, &tensors)?;
    Ok(model)
}

/// The configuration that the shapes of the weights imply.
fn sizes(file: &WeightFile, options: &ImportOptions) -> Result<ClipCapConfig, TaskError> {
    let wrong = |found: String| CheckpointError::Format {
        path: file.path().into(),
        reason: format!("{found}; give a checkpoint of ClipCap's train.py"),
    };
    let shape = |name: &str| -> Result<[usize; 2], CheckpointError> {
        let weight = file
            .get(name)
            .ok_or_else(|| wrong(format!("it has no {name}")))?;
        let shape = weight.tensor.shape();
        let two = shape.try_into();
        two.map_err(|_| wrong(format!("{name} has shape {shape:?}, not that of a matrix")))
    };
    let count = |prefix: &str, end: &str| {
        let has = |layer: &usize| file.get(&format!("{prefix}.{layer}.{end}")).is_some();
        (0..).take_while(has).count()
    };
    let [vocab_size, n_embd] = shape("gpt.transformer.wte.weight")?;
    let [n_positions, _] = shape("gpt.transformer.wpe.weight")?;
    let [_, inner] = shape("gpt.transformer.h.0.mlp.c_fc.weight")?;
    let mapping_type = mapping_type(file);
    let mapping_type =
        mapping_type.ok_or_else(|| wrong("it has no mapping network `clip_project`".into()))?;
    let defaults = ClipCapConfig::default();
    let (outputs, embedding_dim, clip_length, mapping_layers) = match mapping_type {
        MappingType::Mlp => {
            let [_, embedding] = shape("clip_project.model.0.weight")?;
            let [outputs, _] = shape("clip_project.model.2.weight")?;
            (
                outputs,
                embedding,
                defaults.clip_length,
                defaults.mapping_layers,
            )
        }
        MappingType::Linear => {
            let [outputs, embedding] = shape("clip_project.weight")?;
            (
                outputs,
                embedding,
                defaults.clip_length,
                defaults.mapping_layers,
            )
        }
        MappingType::Transformer => {
            let [vectors, embedding] = shape("clip_project.linear.weight")?;
            let [length, width] = shape("clip_project.prefix_const")?;
            let layers = count("clip_project.transformer.layers", "norm1.weight");
            (length * width, embedding, vectors / n_embd.max(1), layers)
        }
    };
    let heads = options.heads.unwrap_or(match n_embd {
        768 => 12,
        1024 => 16,
        1280 => 20,
        1600 => 25,
        width => (width / 64).max(1),
    });
    let (clip_model, normalize_prefix) = unsaid(file, options, (mapping_type, embedding_dim))?;
    Ok(ClipCapConfig {
        gpt2: Gpt2Config {
            vocab_size,
            n_positions,
            n_embd,
            n_layer: count("gpt.transformer.h", "ln_1.weight"),
            n_head: heads,
            n_inner: (inner != 4 * n_embd).then_some(inner),
            ..Gpt2Config::small()
        },
        mapping_type,
        prefix_length: outputs / n_embd.max(1),
        clip_length,
        mapping_layers,
        embedding_dim,
        clip_model,
        normalize_prefix,
        only_prefix: mapping_type == MappingType::Transformer,
        preset: None,
    })
}

/// What no file says: the CLIP, if it is known, and whether embeddings are divided by their length.
fn unsaid(
    file: &WeightFile,
    options: &ImportOptions,
    (mapping_type, embedding_dim): (MappingType, usize),
) -> Result<(Option<String>, bool), TaskError> {
    let released = released(mapping_type, embedding_dim);
    let clip = options.clip_model.clone();
    let clip = clip.or(released.map(|(clip, _)| clip.into()));
    let normalize = released.map(|(_, normalize)| normalize);
    match options.normalize_prefix.or(normalize) {
        Some(normalize) => Ok((clip, normalize)),
        None => Err(TaskError::Data(
            format!(
                "{}: its mapping network ({}, of embeddings of {embedding_dim} values) is not that of \
                 released weights, and no file says whether embeddings are divided by their length; set \
                 normalize_prefix to true or false",
                file.path().display(),
                mapping_type.name()
            )
            .into(),
        )),
    }
}

/// The CLIP of the released weights of these sizes, and whether they divide embeddings by their length:
/// `coco_weights.pt` and `conceptual_weights.pt`, and `transformer_weights.pt`.
fn released(mapping_type: MappingType, embedding_dim: usize) -> Option<(&'static str, bool)> {
    match (mapping_type, embedding_dim) {
        (MappingType::Mlp, 512) => Some(("ViT-B/32", false)),
        (MappingType::Transformer, 640) => Some(("RN50x4", true)),
        _ => None,
    }
}

/// Whether `path` is a file of weights that [`import`] reads.
#[must_use]
pub fn is_clipcap(path: &Path) -> bool {
    WeightFile::open_official(path).is_ok_and(|file| mapping_type(&file).is_some())
}

/// The type of the mapping network in a file; none if it has none.
pub(crate) fn mapping_type(file: &WeightFile) -> Option<MappingType> {
    let has = |name: &str| file.get(name).is_some();
    match (
        has("clip_project.model.0.weight"),
        has("clip_project.prefix_const"),
        has("clip_project.weight"),
    ) {
        (true, ..) => Some(MappingType::Mlp),
        (_, true, _) => Some(MappingType::Transformer),
        (.., true) => Some(MappingType::Linear),
        _ => None,
    }
}
