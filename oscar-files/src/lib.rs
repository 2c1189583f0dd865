//! Bytes on disk, without a tensor framework.
//!
//! [`pytorch`] reads the files of PyTorch and of Python's `pickle` without executing them.

mod map;
pub mod pytorch;

pub use map::map_file;
