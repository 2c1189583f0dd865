//! Fine-tuned weights with all that asking and scoring them takes.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::backend::Backend;
use oscar_core::checkpoint::{self, Checkpointed, RandomInit};
use oscar_core::input::PaddingConfig;
use oscar_files::{FileError, SMALL_FILE, inside, named_by, read_text, write_json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Config, Encoder, EncoderConfig, Family, Task, TaskError};

pub(crate) const TASK_FILE: &str = "task.json";
pub(crate) const CONFIG_FILE: &str = "config.json";
pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";

/// The content of `task.json`.
#[derive(Serialize, Deserialize)]
#[serde(bound = "T: Serialize + DeserializeOwned, E: Serialize + DeserializeOwned")]
pub(crate) struct Description<T, E> {
    /// Name of the task.
    pub(crate) task: String,
    /// Its section of the recipe.
    pub(crate) section: T,
    pub(crate) encoder: E,
    pub(crate) padding: PaddingConfig,
    /// Name of the extractor that made the features it was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extractor: Option<String>,
}

impl<T, E> Description<T, E>
where
    T: Serialize + DeserializeOwned,
    E: Serialize + DeserializeOwned,
{
    /// The description in `directory`.
    ///
    /// # Errors
    ///
    /// If its file cannot be read, or lacks a key.
    pub(crate) fn read(directory: &Path) -> Result<Self, TaskError> {
        let path = directory.join(TASK_FILE);
        serde_json::from_str(&read(&path)?).map_err(|error| TaskError::Checkpoint {
            path,
            found: error.to_string(),
        })
    }
}

/// Configuration of the network and encoder, from the directory `path` that fine-tuning left.
///
/// # Errors
///
/// If a file is missing, wrong, or leads out of the directory, or the two do not fit each other.
pub(crate) fn open_family<F: Family>(
    path: &Path,
    encoder: F::EncoderConfig,
    padding: PaddingConfig,
) -> Result<(F::Config, F::Encoder), TaskError> {
    for name in [CONFIG_FILE, WEIGHTS_FILE].iter().chain(F::ASSETS) {
        inside(path, name)?;
    }
    let lacks = |asset: &&&str| !path.join(asset).exists();
    if let Some(asset) = F::ASSETS.iter().find(lacks) {
        return Err(TaskError::Checkpoint {
            path: path.to_path_buf(),
            found: format!("there is no {asset}"),
        });
    }
    let config = F::read_config(&path.join(CONFIG_FILE)).map_err(TaskError::Model)?;
    let encoder = F::open_encoder(path, encoder, padding)?;
    F::check(&config, &encoder).map_err(TaskError::Model)?;
    Ok((config, encoder))
}

/// A directory of fine-tuned weights: `model.safetensors`, `config.json`, `task.json`, the
/// [assets](Family::ASSETS) of the family, and the files that the task's section names.
pub struct TaskCheckpoint<T: Task> {
    /// Sizes and head.
    pub model: Config<T>,
    /// The task's section.
    pub task: T,
    /// Encodes as the model was trained.
    pub encoder: Arc<Encoder<T>>,
    /// Its settings.
    pub encoder_config: EncoderConfig<T>,
    /// How sequences become a batch.
    pub padding: PaddingConfig,
    /// Name of the extractor that made the features it was trained on, where their store named it.
    pub extractor: Option<String>,
    /// The directory.
    pub path: PathBuf,
}

impl<T: Task> TaskCheckpoint<T> {
    /// Opens the directory `path` that fine-tuning left (`best` or `last` of a run).
    ///
    /// # Errors
    ///
    /// If a file is missing or wrong, or the weights are another task's.
    pub fn open(path: &Path) -> Result<Self, TaskError> {
        let task_file = path.join(TASK_FILE);
        let wrong = |found: String| TaskError::Checkpoint {
            path: task_file.clone(),
            found,
        };
        // First the name alone, so that another task's file is not taken for a damaged one.
        match task_name(path)? {
            name if name == T::NAME => {}
            name => {
                let found = format!("weights of the task {name}, not {}", T::NAME);
                return Err(wrong(found));
            }
        }
        let mut description = Description::<T, EncoderConfig<T>>::read(path)?;
        for file in description.section.files() {
            let named = named_by(&task_file, &*file)?;
            inside(path, &*file)?;
            *file = named;
        }
        let Description {
            section,
            encoder,
            padding,
            extractor,
            ..
        } = description;
        let (model, opened) = open_family::<T::Family>(path, encoder.clone(), padding)?;
        Ok(Self {
            model,
            encoder: Arc::new(opened),
            encoder_config: encoder,
            padding,
            extractor,
            task: section,
            path: path.to_path_buf(),
        })
    }

    /// Writes everything but the weights into `directory`.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written.
    pub fn describe(&self, directory: &Path) -> Result<(), TaskError> {
        write_json(&directory.join(CONFIG_FILE), &self.model)?;
        let own = [TASK_FILE, CONFIG_FILE, WEIGHTS_FILE];
        let own = own.iter().chain(T::Family::ASSETS);
        let mut taken: HashSet<OsString> = own.map(OsString::from).collect();
        let mut section = self.task.clone();
        for file in section.files() {
            *file = keep_copy(file, directory, &mut taken)?;
        }
        let description = Description {
            section,
            task: T::NAME.to_string(),
            encoder: self.encoder_config.clone(),
            padding: self.padding,
            extractor: self.extractor.clone(),
        };
        write_json(&directory.join(TASK_FILE), &description)?;
        T::Family::save_assets(&self.encoder, directory)
    }

    /// Loads the weights into `model`, every one of which must be there, for inference.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is not of this configuration.
    pub fn load<B: Backend, M: Checkpointed<B>>(&self, model: M) -> Result<M, TaskError> {
        let (model, _) = checkpoint::load(model, &self.path, &RandomInit::Refuse)?;
        Ok(oscar_core::model::for_inference(model))
    }
}

/// Whether `directory` says which task its weights are of; published weights do not.
pub fn is_described(directory: &Path) -> bool {
    directory.join(TASK_FILE).is_file()
}

/// The name of the task whose weights are in `directory`.
///
/// # Errors
///
/// If its `task.json` cannot be read, or names none.
pub fn task_name(directory: &Path) -> Result<String, TaskError> {
    let path = directory.join(TASK_FILE);
    let wrong = |found: String| TaskError::Checkpoint {
        path: path.clone(),
        found,
    };
    let document: serde_json::Value =
        serde_json::from_str(&read(&path)?).map_err(|error| wrong(error.to_string()))?;
    let name = document["task"].as_str().map(String::from);
    name.ok_or_else(|| wrong("it names no `task`".into()))
}

fn read(path: &Path) -> Result<String, TaskError> {
    read_text(path, SMALL_FILE).map_err(|error| match error {
        FileError::Io { source, .. } => TaskError::Checkpoint {
            path: path.to_path_buf(),
            found: source.to_string(),
        },
        error => error.into(),
    })
}

/// Copies a file that the section names into the checkpoint, under another name if one of the
/// checkpoint's own files has its name; gives its path there.
fn keep_copy(
    file: &Path,
    directory: &Path,
    taken: &mut HashSet<OsString>,
) -> Result<PathBuf, TaskError> {
    let name = file.file_name().unwrap_or_default();
    let mut kept = name.to_os_string();
    for number in 1.. {
        if taken.insert(kept.clone()) {
            break;
        }
        kept = format!("{number}-{}", Path::new(name).display()).into();
    }
    std::fs::copy(file, directory.join(&kept))
        .map_err(FileError::io("copy into the checkpoint", file))?;
    Ok(kept.into())
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
        let mut taken = HashSet::from([OsString::from(CONFIG_FILE)]);
        for (folder, name) in [
            ("a", CONFIG_FILE),
            ("a", "answers.json"),
            ("b", "answers.json"),
        ] {
            let file = place.path().join(folder).join(name);
            std::fs::create_dir_all(place.path().join(folder)).unwrap();
            std::fs::write(&file, format!("{folder}/{name}")).unwrap();
            let copy = keep_copy(&file, &checkpoint, &mut taken).unwrap();
            let content = std::fs::read_to_string(checkpoint.join(&copy)).unwrap();
            assert_eq!(content, format!("{folder}/{name}"));
            kept.push(copy);
        }
        assert_eq!(kept[1], Path::new("answers.json"));
        let config = std::fs::read_to_string(checkpoint.join(CONFIG_FILE)).unwrap();
        assert_eq!(config, "of the model");
        kept.dedup();
        assert_eq!(kept.len(), 3);
    }
}
