//! Files of PyTorch and of Python's `pickle`, read without executing anything in them.
//!
//! A pickle is a program: Python executes whatever its author put into it. Here it only builds
//! [`Value`]s. The few classes that checkpoints and data sets need are known by name, and any other
//! is an error that names it. Depth, number of values and the size that shared values expand to are
//! bounded, so that a small file cannot exhaust the memory or the stack.
//!
//! - [`TorchFile`] opens files of `torch.save`, in the zip format (PyTorch 1.6 and later) or the
//!   earlier one, and plain pickles. Tensors stay in the memory map until they are read.
//! - [`pickle::parse`] reads a pickle from memory.
//! - [`write_state_dict`] writes weights for `torch.load(.., weights_only=True)`.

mod convert;
mod error;
mod file;
mod legacy;
pub mod pickle;
mod storage;
mod tensor;
mod until_error;
mod value;
mod write;
mod zip;

pub use error::{ReadError, TorchError};
pub use file::{TorchFile, TorchFormat};
pub use storage::Storage;
pub use tensor::TorchTensor;
pub use value::{Dict, Object, TORCH_SCRIPT, Value};
pub use write::{StateEntry, write_module_dicts, write_state_dict};

pub use safetensors::Dtype;
