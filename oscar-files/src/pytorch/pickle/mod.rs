//! Python's pickle format, protocols 0 to 5, without Python.
//!
//! A pickle is a program for a stack machine. The machine here keeps what the program builds in
//! one arena of nodes that refer to each other by number, so that neither a deep nor a shared nor
//! a recursive structure costs stack. When the program has stopped, the node it left is turned
//! into a [`Value`] from the leaves up; there depth, sharing and recursion are checked.

mod arena;
mod calls;
mod classes;
mod cost;
mod cursor;
mod error;
mod freeze;
mod literals;
mod machine;
mod numpy;
mod tensors;

use std::sync::Arc;

use bytes::Bytes;

pub use error::printable;
pub use error::{PickleError, Problem};

pub(super) use arena::{Parsed, StorageSpec};
pub(super) use machine::{run, run_nested};

use super::{Storage, Value};

/// Bounds of what a pickle may build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Deepest nesting of the value.
    pub max_depth: usize,
    /// Most values, each counted once however often it is shared.
    pub max_values: usize,
    /// Bytes of memory that the program may take per byte of the file, beyond the base that a
    /// [`Budget`](crate::Budget) allows. Pickles of data sets, lists of small dictionaries of
    /// numbers, take up to 26.
    pub memory_factor: u64,
    /// Most values that a walk meets, shared ones counted each time, per byte of the pickle.
    /// Text counts as one value per eight bytes.
    pub max_expansion: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_depth: 128,
            max_values: 1 << 27,
            memory_factor: 32,
            max_expansion: 64,
        }
    }
}

impl Limits {
    /// Most values that a walk over what `bytes` of pickle build may meet.
    fn expansion_of(&self, bytes: usize) -> u64 {
        let allowed = bytes.saturating_mul(self.max_expansion);
        (allowed as u64).max(1 << 16)
    }
}

/// Reads the pickle that `bytes` holds; nothing in it is executed.
///
/// # Errors
///
/// If it is damaged or cut short, names a class outside the closed list, refers to storages
/// outside itself (then it is part of a PyTorch file), or exceeds `limits`.
pub fn parse(bytes: impl Into<Bytes>, limits: &Limits) -> Result<Value, PickleError> {
    let bytes = bytes.into();
    run(&bytes, 0, limits)?.freeze(&mut no_storages)
}

/// Finds no storage: for pickles that are no part of a PyTorch file.
pub(super) fn no_storages(_: &StorageSpec) -> Result<Arc<Storage>, String> {
    Err("this is a pickle alone, not a file of torch.save".into())
}
