//! The start weights of a run.

use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend;
use oscar_core::checkpoint::{self, CheckpointError, Checkpointed, LoadReport, RandomInit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[init]` of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InitConfig {
    /// A safetensors or PyTorch file, or a directory with `model.safetensors` or
    /// `pytorch_model.bin`; without one all weights are random.
    pub checkpoint: Option<PathBuf>,
    /// Official names, or prefixes of them, that may be randomly initialised if the checkpoint lacks
    /// them; `all` allows any.
    pub random: Vec<String>,
    /// Whether the recipe is meant to start from weights: without a checkpoint it is refused, unless
    /// `random` has `all`.
    pub required: bool,
}

impl InitConfig {
    /// The directory of the start weights, where their vocabulary may be.
    pub fn directory(&self) -> Option<PathBuf> {
        let checkpoint = self.checkpoint.as_ref()?;
        match checkpoint.is_dir() {
            true => Some(checkpoint.clone()),
            false => checkpoint.parent().map(Path::to_path_buf),
        }
    }
}

/// Loads the start weights into `model`; logs what was loaded and what is randomly initialised.
///
/// # Errors
///
/// If the checkpoint cannot be used; see [`checkpoint::load`].
pub fn start_weights<B: Backend, M: Checkpointed<B>>(
    model: M,
    init: &InitConfig,
) -> Result<M, CheckpointError> {
    let Some(path) = &init.checkpoint else {
        return Ok(model);
    };
    let path = checkpoint::locate(path)?;
    let random = match init.random.as_slice() {
        [] => RandomInit::Refuse,
        parts if parts.iter().any(|part| part == "all") => RandomInit::All,
        parts => RandomInit::Parts(parts.to_vec()),
    };
    if let RandomInit::Parts(parts) = &random {
        let parameters = checkpoint::parameters(&model);
        let is_unknown = |part: &&String| {
            let mut names = parameters.iter().map(|parameter| &parameter.name);
            !names.any(|name| name.starts_with(part.as_str()))
        };
        for part in parts.iter().filter(is_unknown) {
            tracing::warn!(
                "init.random has {part:?}, which has no effect: no parameter of the model has a name that \
                 begins so"
            );
        }
    }
    let (model, report) = checkpoint::load(model, &path, &random)?;
    announce(&path, &report);
    Ok(model)
}

fn announce(path: &Path, report: &LoadReport) {
    tracing::info!(
        "{}: {} parameters loaded, {} tensors skipped",
        path.display(),
        report.loaded.len(),
        report.skipped.len()
    );
    for change in &report.changes {
        tracing::info!("{}: {change}", path.display());
    }
    for name in &report.skipped {
        tracing::debug!("skipped {name}: the model has no place for it");
    }
    for name in &report.missing {
        tracing::warn!("{name} is missing from the file; randomly initialised, as allowed");
    }
    for mismatch in &report.mismatched {
        tracing::warn!("{mismatch}; randomly initialised, as allowed");
    }
}
