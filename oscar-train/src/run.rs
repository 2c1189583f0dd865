//! The run directory and the checkpoints in it.
//!
//! ```text
//! runs/NAME/
//!   checkpoint/step-00000400/   model.safetensors, optimizer.safetensors, state.json, checksums.json
//!   best/  last/                model.safetensors and what describes it
//! ```
//!
//! A checkpoint is written under a temporary name, synced and renamed: a directory called `step-…`
//! is complete. Its checksums are verified before a run resumes from it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use oscar_core::checkpoint::{self, Checkpointed, RandomInit};
use oscar_files::{
    FileError, recover_all, remove_directory, verify_checksums, write_checksums, write_directory,
    write_json,
};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::non_finite::Skipped;
use crate::optim::AdamW;
use crate::order::Portion;

/// Version of the layout of a checkpoint; a reader refuses any other.
const VERSION: u32 = 1;

/// File of weights, in checkpoints and in `best/` and `last/`.
pub const MODEL_FILE: &str = "model.safetensors";

/// The log of a run: a line per step and per validation.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// Directory of checkpoints in a run.
const CHECKPOINTS: &str = "checkpoint";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const STATE_FILE: &str = "state.json";

/// A directory that one process at a time trains in.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Holds the lock until dropped.
    lock: Option<File>,
    /// The step whose checkpoint is resumed from; none for the newest.
    resume_from: Option<usize>,
}

/// What a checkpoint records beside weights and optimiser state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    version: u32,
    /// Optimiser steps done.
    pub step: usize,
    /// Settings that must not change when the run resumes.
    pub settings: FixedSettings,
    /// Best validation so far.
    pub best: Option<Best>,
    /// The validation of this very step, if it is the best one and its weights could not be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwritten_best: Option<Best>,
    /// Skipped steps.
    #[serde(default)]
    pub skipped: Skipped,
}

/// Settings that decide which examples a step sees; how they are encoded is not among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FixedSettings {
    /// Seed of shuffling, masking, pollution and dropout.
    pub seed: u64,
    /// Optimiser steps of the whole run.
    pub steps: usize,
    /// Examples per optimiser step and corpus.
    pub batch_size: usize,
    /// Micro-batches of each step and corpus, computed by any number of devices that divides them.
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
    /// The statistic by which it was selected, unless that is the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl FixedSettings {
    /// Batches per optimiser step, of all corpora.
    pub(crate) fn micro_batches(&self) -> usize {
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
            unwritten_best: None,
            skipped: Skipped::default(),
        }
    }

    /// Reads the state of the checkpoint `path`, which is of step `step`.
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
        // First the version alone: a file of another version is not a damaged one.
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
                "it records step {}, but its directory is named for step {step}",
                state.step
            ));
        }
        if state.step > state.settings.steps || state.skipped.total > state.step {
            return Err(format!(
                "it records step {} with {} skipped, in a run of {} steps",
                state.step, state.skipped.total, state.settings.steps
            ));
        }
        Ok(state)
    }
}

impl RunDir {
    /// Creates the directory if needed and locks it. What a killed process left incomplete in it is
    /// repaired.
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
                    lock: Some(lock),
                    resume_from: None,
                })
            }
            Err(TryLockError::WouldBlock) => Err(TrainError::Locked { path }),
            Err(TryLockError::Error(source)) => {
                Err(FileError::io("lock", &lock_path)(source).into())
            }
        }
    }

    /// The directory of a run that another process leads; nothing is written into it.
    pub fn led_by_another(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            lock: None,
            resume_from: None,
        }
    }

    /// Resumes from the checkpoint of this step instead of the newest.
    #[must_use]
    pub fn resume_from(mut self, step: Option<usize>) -> Self {
        self.resume_from = step;
        self
    }

    /// Its path.
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

    /// Writes a checkpoint, in place of any of the same step, and deletes all but the newest `keep`.
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
        write_directory(&target, |directory| {
            checkpoint::save(model, directory.join(MODEL_FILE))?;
            checkpoint::write_tensors(directory.join(OPTIMIZER_FILE), &optimizer.state())?;
            write_json(&directory.join(STATE_FILE), state)?;
            Ok::<_, TrainError>(write_checksums(directory)?)
        })?;
        let checkpoints = self.list()?;
        let old = checkpoints.len().saturating_sub(keep.max(1));
        checkpoints[..old]
            .iter()
            .try_for_each(|(_, path)| Ok(remove_directory(path)?))
    }

    /// Loads the newest checkpoint, or that of the step to resume from, into `model` and `optimizer`,
    /// if there is one.
    ///
    /// # Errors
    ///
    /// If it is damaged, cannot be read or was made with other settings. [`TrainError::Damaged`] names
    /// the newest one before it that is whole.
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
        let (mut checkpoints, mut newer) = (self.list()?, Vec::new());
        if let Some(step) = self.resume_from {
            let found = checkpoints.iter().position(|(other, _)| *other == step);
            let steps = checkpoints.iter().map(|(step, _)| *step).collect();
            let path = self.path.clone();
            let found = found.ok_or(TrainError::NoCheckpoint { path, step, steps })?;
            newer = checkpoints.split_off(found + 1);
        }
        let Some((step, path)) = checkpoints.pop() else {
            return Ok((model, optimizer, None));
        };
        let state = verified(&path, step).map_err(|error| {
            let mut before = checkpoints.iter().rev();
            match before.find(|(step, path)| verified(path, *step).is_ok()) {
                Some((whole, _)) => TrainError::Damaged {
                    step,
                    whole: *whole,
                    source: Box::new(error),
                },
                None => error,
            }
        })?;
        require_same(&path, &state.settings, settings)?;
        let (model, _) = checkpoint::load(model, path.join(MODEL_FILE), &RandomInit::Refuse)?;
        let moments = checkpoint::read_tensors(path.join(OPTIMIZER_FILE))?;
        if moments.is_empty() && state.step > state.skipped.total {
            return Err(TrainError::OptimizerState {
                reason: format!("it is empty after {} steps", state.step),
            });
        }
        let optimizer = optimizer.load_state(moments, device)?;
        self.remove_damaged(&newer)?;
        Ok((model, optimizer, Some(state)))
    }

    /// Deletes those of `checkpoints` that are damaged: they count among the newest that are kept, in
    /// the place of whole ones. The others are of the same trajectory and stay.
    fn remove_damaged(&self, checkpoints: &[(usize, PathBuf)]) -> Result<(), TrainError> {
        if self.lock.is_none() {
            return Ok(());
        }
        for (step, path) in checkpoints {
            if let Err(error @ FileError::Malformed { .. }) = verify_checksums(path) {
                tracing::warn!("deleting the damaged checkpoint of step {step}: {error}");
                remove_directory(path)?;
            }
        }
        Ok(())
    }
}

/// The state of the checkpoint `path` of step `step`, whose files are as they were written.
fn verified(path: &Path, step: usize) -> Result<TrainState, TrainError> {
    let state = TrainState::read(path, step)?;
    verify_checksums(path)?;
    Ok(state)
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

/// A setting of a run: its key, and how to print it.
type Setting = (&'static str, fn(&FixedSettings) -> String);

const SETTINGS: [Setting; 7] = [
    ("train.seed", |settings| settings.seed.to_string()),
    ("train.steps", |settings| settings.steps.to_string()),
    ("train.batch_size", |settings| {
        settings.batch_size.to_string()
    }),
    ("train.accumulation", |settings| {
        settings.accumulation.to_string()
    }),
    ("examples", |settings| format!("{:?}", settings.examples)),
    ("train.shuffle_window", |settings| {
        settings.shuffle_window.to_string()
    }),
    ("data.mix", |settings| Portion::describe(&settings.mix)),
];

fn require_same(
    path: &Path,
    found: &FixedSettings,
    expected: &FixedSettings,
) -> Result<(), TrainError> {
    for (key, print) in SETTINGS {
        let (found, expected) = (print(found), print(expected));
        if found != expected {
            return Err(TrainError::OtherSettings {
                path: path.into(),
                key,
                found,
                expected,
            });
        }
    }
    Ok(())
}
