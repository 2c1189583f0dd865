//! Weights under the official names, both ways: safetensors files, and those of PyTorch.
//!
//! A model's field paths are the official parameter names but for the spellings that `names`
//! maps, and but for the layout of linear weights: PyTorch keeps `[out, in]`, Burn `[in, out]`.
//! Files hold the official layout; the transposition happens here and nowhere else.

mod aside;
mod error;
mod export;
mod fit;
mod import;
mod inspect;
mod kind;
mod load;
mod names;
mod official;
mod save;
mod sniff;
mod weights;

pub use error::{CheckpointError, ShapeMismatch};
pub use export::{Exported, export};
pub use import::{ImportOptions, Imported, TrainingArgs, import};
pub use inspect::{Inspection, TensorInfo, inspect};
pub use kind::{ModelKind, Part, Sizes};
pub use load::{LoadReport, RandomInit, compare, load, read_tensors};
pub use names::{Parameter, parameters};
pub use official::Change;
pub use save::{NamedTensor, save, write_tensors};
pub use sniff::{WEIGHT_FILES, locate};
pub use weights::{Weight, WeightFile, WeightFormat};

use burn::module::Module;
use burn::tensor::backend::Backend;

/// A model that has official checkpoints.
pub trait Checkpointed<B: Backend>: Module<B> {
    /// Names that files hold although they are no parameters: `(alias, parameter)`.
    ///
    /// Written as copies, ignored when read.
    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}
