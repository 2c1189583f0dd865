//! Fine-tuned weights as they were published: without the `task.json` of this project.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_core::checkpoint::ModelKind;
use oscar_core::config::ModelConfig;
use oscar_core::input::{AttentionRestriction, PaddingConfig, SequenceConfig};
use serde_json::{Map, Value};

use crate::{Config, EncoderConfig, Family, Task, TaskCheckpoint, TaskError};

/// What a directory of published weights says of itself.
#[derive(Clone, Debug)]
pub struct PublishedModel<C> {
    /// The directory.
    pub directory: PathBuf,
    /// Sizes and head, what the configuration lacks filled in from the weights.
    pub config: C,
    /// What the weights are, by their names and shapes.
    pub kind: ModelKind,
    /// Arguments of the script that trained them, where it left any.
    pub settings: Map<String, Value>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

/// What published weights do not say of themselves: a recipe has it.
#[derive(Clone, Debug, Default)]
pub struct Recipe<T: Task> {
    /// The task's section.
    pub task: T,
    /// How texts and regions become sequences.
    pub encoder: EncoderConfig<T>,
    /// How sequences become a batch.
    pub padding: PaddingConfig,
}

impl<C> PublishedModel<C> {
    /// An argument of the training script that is a number of tokens, regions or beams.
    pub fn count(&self, name: &str) -> Option<usize> {
        let value = self.settings.get(name)?.as_u64()?;
        usize::try_from(value).ok().filter(|value| *value > 0)
    }

    /// An argument of the training script that is on or off.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.settings.get(name)?.as_bool()
    }

    /// The first of the files `names` that is in the directory.
    pub fn find(&self, names: &[&str]) -> Option<PathBuf> {
        let paths = names.iter().map(|name| self.directory.join(name));
        paths.into_iter().find(|path| path.is_file())
    }

    /// The error that these weights are not what the task takes.
    pub fn wrong_kind(&self, task: &str, expected: &str) -> TaskError {
        TaskError::Checkpoint {
            path: self.directory.clone(),
            found: format!(
                "its weights are those of another model ({}); {task} takes {expected}",
                self.kind
            ),
        }
    }
}

impl PublishedModel<ModelConfig> {
    /// Sets the lengths, use of tags and attention that the training script was called with; lengths
    /// of the recipe are cut to what the model has positions for.
    pub fn set_lengths(&self, encoder: &mut SequenceConfig) {
        let positions = self.config.max_position_embeddings;
        encoder.max_seq_length = encoder.max_seq_length.min(positions);
        if let Some(length) = self.count("max_seq_length") {
            encoder.max_seq_length = length;
        }
        if let Some(regions) = self.count("max_img_seq_length") {
            encoder.max_regions = regions;
        }
        // Captioning and retrieval have the first, NLVR2 the second.
        let tags = self.flag("add_od_labels").or(self.flag("use_label_seq"));
        if let Some(tags) = tags {
            encoder.use_tags = tags;
        }
        let attention = self.settings.get("att_mask_type").and_then(Value::as_str);
        match attention {
            Some("CLR") => encoder.attention = AttentionRestriction::Clr,
            Some("CL") => encoder.attention = AttentionRestriction::Cl,
            Some("CR") => encoder.attention = AttentionRestriction::Cr,
            Some("LR") => encoder.attention = AttentionRestriction::Lr,
            _ => {}
        }
    }
}

impl<T: Task> Recipe<T> {
    /// Takes over what the published directory says, in the place of the recipe's own values.
    ///
    /// # Errors
    ///
    /// If the weights are another task's.
    pub fn adopt(&mut self, published: &PublishedModel<Config<T>>) -> Result<(), TaskError> {
        self.task.adopt(&mut self.encoder, published)
    }
}

impl<T: Task> TaskCheckpoint<T> {
    /// Opens published weights as the recipe says; neither is changed by the other, see
    /// [`Recipe::adopt`].
    ///
    /// # Errors
    ///
    /// If the vocabulary or an answer vocabulary is missing or has another size than the weights, or
    /// a value of the recipe is out of range.
    pub fn published(
        published: PublishedModel<Config<T>>,
        recipe: Recipe<T>,
    ) -> Result<Self, TaskError> {
        let Recipe {
            task,
            encoder,
            padding,
        } = recipe;
        let model = published.config;
        T::Family::validate(&model, &encoder)?;
        task.validate(&model, &encoder)?;
        let mut configured = model.clone();
        task.configure(&mut configured).map_err(TaskError::Data)?;
        T::Family::check_head(&configured, &model)?;
        let directory = Some(&*published.directory);
        let opened = T::Family::new_encoder(None, directory, encoder.clone(), padding)?;
        T::Family::check(&model, &opened).map_err(TaskError::Model)?;
        Ok(Self {
            model,
            task,
            encoder: Arc::new(opened),
            encoder_config: encoder,
            padding,
            extractor: None,
            path: published.directory,
        })
    }

    /// The same weights with another task's section and encoder.
    ///
    /// # Errors
    ///
    /// If a value is out of range.
    pub fn with(self, recipe: Recipe<T>) -> Result<Self, TaskError> {
        let Recipe {
            task,
            encoder,
            padding,
        } = recipe;
        T::Family::validate(&self.model, &encoder)?;
        task.validate(&self.model, &encoder)?;
        let opened = T::Family::new_encoder(None, Some(&self.path), encoder.clone(), padding)?;
        Ok(Self {
            task,
            encoder: Arc::new(opened),
            encoder_config: encoder,
            padding,
            ..self
        })
    }
}

/// Reads what a directory of published weights says of itself.
///
/// # Errors
///
/// If there are no weights of the task's family, or the files beside them are missing or wrong.
pub fn open_published<T: Task>(directory: &Path) -> Result<PublishedModel<Config<T>>, TaskError> {
    T::Family::open_published(directory)
}
