//! What can be wrong with a task's checkpoint, data or question.

use std::path::PathBuf;

use oscar_core::checkpoint::CheckpointError;
use oscar_core::config::ConfigError;
use oscar_core::input::{InputError, SourceError};
use oscar_files::FileError;

/// Why a task cannot be opened, asked or scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// A value is out of range.
    #[error(transparent)]
    Value(#[from] ConfigError),
    /// The `[model]` section of a recipe, or the `config.json` of a checkpoint.
    #[error("in [model]: {0}")]
    Model(ConfigError),
    /// Vocabulary, encoder or padding.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A directory that does not hold weights of this task.
    #[error(
        "{}: {found}; give the `best` or `last` directory of a finished run of this task",
        path.display()
    )]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// Weights that cannot be loaded.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    /// A question that the task cannot be asked.
    #[error("{0}")]
    Question(String),
    /// A picture is asked about, but nothing finds its regions.
    #[error(
        "{task} reads regions of pictures, and there is no extractor that finds them; set the \
         extractor of the features that the model was trained on"
    )]
    NoExtractor {
        /// Name of the task.
        task: &'static str,
    },
    /// Regions of another size than the model reads.
    #[error(
        "the regions have {found} values, but the model reads {expected}: it was trained on other features"
    )]
    RegionDim {
        /// Values per region.
        found: usize,
        /// Values that the model reads.
        expected: usize,
    },
    /// Data, or a file that the task's section names, cannot be read; the error names it.
    #[error("{0}")]
    Data(#[source] SourceError),
    /// A split cannot be scored.
    #[error("cannot score: {0}")]
    Score(#[source] SourceError),
    /// A file cannot be read, written or copied.
    #[error(transparent)]
    File(#[from] FileError),
}
