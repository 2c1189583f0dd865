//! The run directory and the checkpoints in it.
//!
//! ```text
//! runs/NAME/
//!   checkpoint/step-00000400/   model.safetensors, optimizer.safetensors, state.json
//!   best/  last/                model.safetensors and what describes it
//! ```
//!
//! A checkpoint is written under a temporary name, synced and renamed: a directory called `step-…`
//! is complete.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use oscar_core::checkpoint::{self, Checkpointed, RandomInit};
use oscar_files::{FileError, recover_all, remove_directory, write_directory, write_json};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::non_finite::Skipped;
use crate::optim::AdamW;
use crate::order::Portion;

/// Layout of a checkpoint; a reader refuses any other.
const VERSION: u32 = 1;

/// File of weights, in checkpoints and in `best/` and `last/`.
pub const MODEL_FILE: &str = "model.safetensors";

/// The log of a run: a line per step and per validation.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// Where a run keeps its checkpoints.
const CHECKPOINTS: &str = "checkpoint";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const STATE_FILE: &str = "state.json";

/// A directory that one process at a time trains in.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Holds the lock until dropped.
    _lock: Option<File>,
}

/// What a checkpoint knows beside weights and moments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    version: u32,
    /// Optimiser steps done.
    pub step: usize,
    /// What must not change between a run and its continuation.
    pub settings: FixedSettings,
    /// Best validation so far.
    pub best: Option<Best>,
    /// Steps that were left out.
    #[serde(default)]
    pub skipped: Skipped,
}

/// Settings that decide which examples a step sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FixedSettings {
    /// Seed of shuffling, masking, pollution and dropout.
    pub seed: u64,
    /// Optimiser steps of the whole run.
    pub steps: usize,
    /// Examples per optimiser step and corpus.
    pub batch_size: usize,
    /// Parts each step is computed in, by any number of devices that divides them.
    pub accumulation: usize,
    /// Examples of each corpus.
    pub examples: Vec<usize>,
    /// Examples shuffled together; 0 for whole epochs.
    #[serde(default)]
    pub shuffle_window: usize,
    /// The portions of mixed corpora.
    #[serde(default)]
    pub mix: Vec<Portion>,
}

/// A validation result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After which step.
    pub step: usize,
    /// Validation loss.
    pub loss: f64,
    /// The statistic by which it is the best, where that is not the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl FixedSettings {
    /// Batches per optimiser step: each corpus gives one to every part.
    pub fn parts(&self) -> usize {
        self.accumulation * self.examples.len()
    }
}

impl TrainState {
    /// The state after `step` steps.
    pub fn new(step: usize, settings: FixedSettings, best: Option<Best>) -> Self {
        Self {
            version: VERSION,
            step,
            settings,
            best,
            skipped: Skipped::default(),
        }
    }

    /// Reads that of the checkpoint `path` of step `step`.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is of another version, or contradicts itself or the checkpoint's name.
    pub fn read(path: &Path, step: usize) -> Result<Self, TrainError> {
        let path = path.join(STATE_FILE);
        let text = fs::read(&path).map_err(FileError::io("read", &path))?;
        Self::parse(&text, step).map_err(|reason| TrainError::State { path, reason })
    }

    fn parse(text: &[u8], step: usize) -> Result<Self, String> {
        // First the version alone, so that another one's file is not taken for a damaged one.
        let value: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match &value["version"] {
            version if *version == VERSION => {}
            serde_json::Value::Null => return Err("it has no `version`".into()),
            version => return Err(format!("its version is {version}, this is {VERSION}")),
        }
        let state: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if state.step != step {
            return Err(format!(
                "it is of step {}, but its directory of step {step}",
                state.step
            ));
        }
        if state.step > state.settings.steps || state.skipped.total > state.step {
            return Err(format!(
                "step {} with {} skipped, of a run of {}",
                state.step, state.skipped.total, state.settings.steps
            ));
        }
        Ok(state)
    }
}

impl RunDir {
    /// Creates the directory if needed and locks it. What a killed process left half done in it is
    /// put right.
    ///
    /// # Errors
    ///
    /// If it cannot be created, or another process holds it.
    pub fn lock(path: impl Into<PathBuf>) -> Result<Self, TrainError> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(FileError::io("create", &path))?;
        let lock_path = path.join(".lock");
        let lock = File::create(&lock_path).map_err(FileError::io("create", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {
                recover_all(&path, &["best", "last"])?;
                recover_all(&path.join(CHECKPOINTS), &[])?;
                Ok(Self {
                    path,
                    _lock: Some(lock),
                })
            }
            Err(TryLockError::WouldBlock) => Err(TrainError::Locked { path }),
            Err(TryLockError::Error(source)) => {
                Err(FileError::io("lock", &lock_path)(source).into())
            }
        }
    }

    /// The directory of a run that another process leads: nothing is written into it.
    pub fn led_by_another(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            _lock: None,
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// The complete checkpoints, oldest first.
    ///
    /// # Errors
    ///
    /// If the directory cannot be listed.
    pub fn list(&self) -> Result<Vec<(usize, PathBuf)>, TrainError> {
        checkpoints(&self.path)
    }

    /// Writes a checkpoint and deletes all but the newest `keep`.
    ///
    /// # Errors
    ///
    /// If it cannot be written; earlier checkpoints are untouched then.
    pub fn save<B, M>(
        &self,
        state: &TrainState,
        model: &M,
        optimizer: &AdamW<B>,
        keep: usize,
    ) -> Result<(), TrainError>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B> + Checkpointed<B>,
    {
        let target = self.checkpoints().join(format!("step-{:08}", state.step));
        if target.exists() {
            return Ok(());
        }
        write_directory(&target, |directory| {
            checkpoint::save(model, directory.join(MODEL_FILE))?;
            checkpoint::write_tensors(directory.join(OPTIMIZER_FILE), &optimizer.state())?;
            Ok::<_, TrainError>(write_json(&directory.join(STATE_FILE), state)?)
        })?;
        let checkpoints = self.list()?;
        let old = checkpoints.len().saturating_sub(keep.max(1));
        checkpoints[..old]
            .iter()
            .try_for_each(|(_, path)| Ok(remove_directory(path)?))
    }

    /// Loads the newest checkpoint into `model` and `optimizer`, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be read or was made with other settings.
    pub fn restore<B, M>(
        &self,
        settings: &FixedSettings,
        model: M,
        optimizer: AdamW<B>,
        device: &B::Device,
    ) -> Result<(M, AdamW<B>, Option<TrainState>), TrainError>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B> + Checkpointed<B>,
    {
        let Some((step, path)) = self.list()?.pop() else {
            return Ok((model, optimizer, None));
        };
        let state = TrainState::read(&path, step)?;
        require_same(&path, &state.settings, settings)?;
        let (model, _) = checkpoint::load(model, path.join(MODEL_FILE), &RandomInit::Refuse)?;
        let moments = checkpoint::read_tensors(path.join(OPTIMIZER_FILE))?;
        if moments.is_empty() && state.step > state.skipped.total {
            return Err(TrainError::OptimizerState {
                reason: format!("it is empty after {} steps", state.step),
            });
        }
        Ok((model, optimizer.load_state(moments, device)?, Some(state)))
    }
}

/// The complete checkpoints of the run in `run` with their steps, oldest first.
///
/// # Errors
///
/// If the directory cannot be listed.
pub fn checkpoints(run: &Path) -> Result<Vec<(usize, PathBuf)>, TrainError> {
    let directory = run.join(CHECKPOINTS);
    let mut found = Vec::new();
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(FileError::io("list", &directory)(error).into()),
    };
    for entry in entries {
        let path = entry.map_err(FileError::io("list", &directory))?.path();
        let step = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("step-"))
            .and_then(|step| step.parse().ok());
        if let Some(step) = step {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

fn require_same(
    path: &Path,
    found: &FixedSettings,
    expected: &FixedSettings,
) -> Result<(), TrainError> {
    let pairs = [
        ("seed", found.seed.to_string(), expected.seed.to_string()),
        (
            "train.steps",
            found.steps.to_string(),
            expected.steps.to_string(),
        ),
        (
            "train.batch_size",
            found.batch_size.to_string(),
            expected.batch_size.to_string(),
        ),
        (
            "train.accumulation",
            found.accumulation.to_string(),
            expected.accumulation.to_string(),
        ),
        (
            "examples",
            format!("{:?}", found.examples),
            format!("{:?}", expected.examples),
        ),
        (
            "train.shuffle_window",
            found.shuffle_window.to_string(),
            expected.shuffle_window.to_string(),
        ),
        (
            "data.mix",
            Portion::describe(&found.mix),
            Portion::describe(&expected.mix),
        ),
    ];
    match pairs
        .into_iter()
        .find(|(_, found, expected)| found != expected)
    {
        None => Ok(()),
        Some((key, found, expected)) => Err(TrainError::OtherSettings {
            path: path.into(),
            key,
            found,
            expected,
        }),
    }
}
