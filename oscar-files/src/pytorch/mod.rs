//! Files of PyTorch and of Python's `pickle`, read without running anything in them.
//!
//! A pickle is a program. Python runs it, and so runs whatever its author put into it. Here it only
//! builds [`Value`]s: the few classes that checkpoints and data sets need are known by name, and
//! any other is an error that names it. Depth, number of values and what shared values would grow
//! to are bounded, so that a small file cannot exhaust the memory or the stack.
//!
//! - [`TorchFile`] opens what `torch.save` wrote, in its zip format (PyTorch 1.6 and later) or the
//!   one before, and plain pickles. Tensors stay in the memory map until they are read.
//! - [`pickle::parse`] reads a pickle from memory.
//! - [`write_state_dict`] writes weights that `torch.load(.., weights_only=True)` reads.

mod array;
mod convert;
mod error;
mod file;
mod legacy;
pub mod pickle;
mod storage;
mod tensor;
mod value;
mod write;
mod zip;

pub use array::Array;
pub use error::{ReadError, TorchError};
pub use file::{TorchFile, TorchFormat};
pub use storage::Storage;
pub use tensor::TorchTensor;
pub use value::{Dict, Object, Value};
pub use write::{StateEntry, write_state_dict};

pub use safetensors::Dtype;
