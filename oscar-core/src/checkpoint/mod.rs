//! Reading and writing weights under the official names, as safetensors and PyTorch files.
//!
//! A model's field paths are the official parameter names except for the spellings that `names`
//! maps and the layout of linear weights: PyTorch stores `[out, in]`, Burn `[in, out]`. Files have
//! the official layout; only this module transposes.

mod backbone;
mod beside;
mod content;
mod error;
mod export;
mod family;
mod fit;
mod gpt2;
mod import;
mod inspect;
mod kind;
mod load;
mod locate;
mod names;
mod official;
mod published;
mod rosita;
mod save;
mod shards;
mod sniff;
mod unwrap;
mod weights;

pub use error::{CheckpointError, ShapeMismatch};
pub use export::{Exported, Layout, export, export_as};
pub use import::{ImportOptions, Imported, import};
pub use inspect::{Inspection, TensorInfo, inspect};
pub use kind::{ModelKind, Part, Sizes};
pub use load::{LoadReport, RandomInit, compare, load, read_tensors};
pub use locate::{WEIGHT_FILES, locate};
pub use names::{Parameter, parameters};
pub use official::Change;
pub use published::{Published, TrainingArgs};
pub use save::{NamedTensor, save, write_tensors};
pub use weights::{Weight, WeightFile, WeightFormat};

use burn::module::Module;
use burn::tensor::backend::Backend;

/// A model that has official checkpoints.
pub trait Checkpointed<B: Backend>: Module<B> {
    /// Whether it is a BERT: files of models that are not, some of which name their tensors alike, are
    /// then refused.
    fn is_bert(&self) -> bool {
        true
    }

    /// Additional names of parameters in files: `(alias, parameter)`.
    ///
    /// Written as copies, ignored when read.
    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}
