//! Weights under the official names, in safetensors files, both ways.
//!
//! A model's field paths are the official parameter names but for the spellings that `names`
//! maps, and but for the layout of linear weights: PyTorch keeps `[out, in]`, Burn `[in, out]`.
//! Files hold the official layout; the transposition happens here and nowhere else.

mod error;
mod load;
mod names;
mod save;

pub use error::{CheckpointError, ShapeMismatch};
pub use load::{LoadReport, RandomInit, load, read_tensors};
pub use names::{Parameter, parameters};
pub use save::{NamedTensor, save, write_tensors};

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
