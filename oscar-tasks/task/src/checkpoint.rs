//! Fine-tuned weights with all that scoring them takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::backend::Backend;
use oscar_core::checkpoint::{self, Checkpointed, RandomInit};
use oscar_core::config::ModelConfig;
use oscar_core::input::{PaddingConfig, SequenceConfig, SequenceEncoder, Tokenizer};
use oscar_files::{FileError, named_by, write_json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::run::FinetuneError;
use crate::{AnyTask, FinetuneConfig};
use oscar_train::Describe;
use oscar_train::MODEL_FILE;
use oscar_train::TrainError;

const TASK_FILE: &str = "task.json";
const CONFIG_FILE: &str = "config.json";
const VOCAB_FILE: &str = "vocab.txt";

/// What `task.json` says beside saved weights.
#[derive(Serialize, Deserialize)]
#[serde(bound = "T: Serialize + DeserializeOwned")]
struct Description<T> {
    /// `--task`.
    task: String,
    /// Its section of the recipe.
    section: T,
    encoder: SequenceConfig,
    padding: PaddingConfig,
}

/// A directory of fine-tuned weights: `model.safetensors`, `config.json`, `vocab.txt`, `task.json`.
pub struct TaskCheckpoint<T> {
    /// Sizes and head.
    pub model: ModelConfig,
    /// The task's section.
    pub task: T,
    /// Encodes as the model was trained.
    pub encoder: Arc<SequenceEncoder>,
    path: PathBuf,
}

/// Writes what describes the model beside its weights.
pub(crate) fn describe<T: AnyTask>(
    config: &FinetuneConfig<T>,
    tokenizer: &Arc<Tokenizer>,
) -> Describe {
    let model = config.model.clone();
    let tokenizer = tokenizer.clone();
    let description = Description {
        task: T::NAME.to_string(),
        section: config.task.clone(),
        encoder: config.encoder.clone(),
        padding: config.padding,
    };
    Arc::new(move |directory| {
        write_json(&directory.join(CONFIG_FILE), &model)?;
        let mut section = description.section.clone();
        for file in section.files() {
            *file = keep_copy(file, directory)?;
        }
        let description = Description {
            section,
            task: description.task.clone(),
            encoder: description.encoder.clone(),
            padding: description.padding,
        };
        write_json(&directory.join(TASK_FILE), &description)?;
        tokenizer
            .save(directory.join(VOCAB_FILE))
            .map_err(|error| TrainError::Data(Box::new(error)))
    })
}

/// Copies a file that the section names into the checkpoint; gives its name there.
fn keep_copy(file: &Path, directory: &Path) -> Result<PathBuf, TrainError> {
    let Some(name) = file.file_name() else {
        // An optional file that is not set.
        return Ok(PathBuf::new());
    };
    let mut kept = PathBuf::from(name);
    let of_the_checkpoint = [MODEL_FILE, CONFIG_FILE, VOCAB_FILE, TASK_FILE].map(Path::new);
    let taken = |name: &Path| of_the_checkpoint.contains(&name) || directory.join(name).exists();
    for number in 1.. {
        if !taken(&kept) {
            break;
        }
        kept = format!("{number}-{}", Path::new(name).display()).into();
    }
    std::fs::copy(file, directory.join(&kept))
        .map_err(FileError::io("copy into the checkpoint", file))?;
    Ok(kept)
}

/// Opens the directory `path` that fine-tuning left (`best` or `last` of a run).
///
/// # Errors
///
/// If a file is missing or wrong, or the weights are another task's.
pub fn open_checkpoint<T: AnyTask>(path: &Path) -> Result<TaskCheckpoint<T>, FinetuneError> {
    let task_file = path.join(TASK_FILE);
    let wrong = |found: String| FinetuneError::Checkpoint {
        path: task_file.clone(),
        found,
    };
    let text = std::fs::read_to_string(&task_file).map_err(|error| wrong(error.to_string()))?;
    // First the name alone, so that another task's file is not taken for a damaged one.
    let name: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    match name["task"].as_str() {
        Some(name) if name == T::NAME => {}
        Some(name) => {
            return Err(wrong(format!(
                "weights of the task {name}, not {}",
                T::NAME
            )));
        }
        None => return Err(wrong("no `task`".into())),
    }
    let mut description: Description<T> =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    for file in description.section.files() {
        if file.file_name().is_some() {
            *file = named_by(&task_file, &*file).map_err(TrainError::from)?;
        }
    }
    let model = ModelConfig::from_file(path.join(CONFIG_FILE)).map_err(FinetuneError::Model)?;
    let tokenizer = Arc::new(Tokenizer::from_vocab_file(path.join(VOCAB_FILE))?);
    let vocabulary = model.check_vocabulary(tokenizer.vocab_size());
    vocabulary.map_err(FinetuneError::Model)?;
    let encoder = SequenceEncoder::new(tokenizer, description.encoder, description.padding)?;
    Ok(TaskCheckpoint {
        model,
        task: description.section,
        encoder: Arc::new(encoder),
        path: path.to_path_buf(),
    })
}

impl<T: AnyTask> TaskCheckpoint<T> {
    /// Loads the weights into `model`, every one of which must be there, to score with them.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is not of this configuration.
    pub fn load<B: Backend, M: Checkpointed<B>>(&self, model: M) -> Result<M, FinetuneError> {
        let weights = self.path.join(MODEL_FILE);
        let (model, _) = checkpoint::load(model, weights, &RandomInit::Refuse)
            .map_err(|error| FinetuneError::Train(error.into()))?;
        Ok(oscar_core::model::for_inference(model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_file_never_replaces_one_of_the_checkpoint() {
        let place = tempfile::tempdir().unwrap();
        let checkpoint = place.path().join("checkpoint");
        std::fs::create_dir(&checkpoint).unwrap();
        std::fs::write(checkpoint.join(CONFIG_FILE), "of the model").unwrap();
        let mut kept = Vec::new();
        for (folder, name) in [
            ("a", CONFIG_FILE),
            ("a", "answers.json"),
            ("b", "answers.json"),
        ] {
            let file = place.path().join(folder).join(name);
            std::fs::create_dir_all(place.path().join(folder)).unwrap();
            std::fs::write(&file, format!("{folder}/{name}")).unwrap();
            let copy = keep_copy(&file, &checkpoint).unwrap();
            let content = std::fs::read_to_string(checkpoint.join(&copy)).unwrap();
            assert_eq!(content, format!("{folder}/{name}"));
            kept.push(copy);
        }
        assert_eq!(kept[1], Path::new("answers.json"));
        let config = std::fs::read_to_string(checkpoint.join(CONFIG_FILE)).unwrap();
        assert_eq!(config, "of the model");
        kept.dedup();
        assert_eq!(kept.len(), 3);
        assert_eq!(
            keep_copy(Path::new(""), &checkpoint).unwrap(),
            Path::new("")
        );
    }
}
