//! Bytes on disk, without a tensor framework.
//!
//! - [`write_file`], [`write_directory`] and [`StagedDir`]: what is written appears whole or not at
//!   all, and what a killed process leaves is put right. Nothing that the program did not make is
//!   ever deleted.
//! - [`map_file`] and [`OpenFile`]: files that are mapped, or read by position.
//! - [`TextFile`]: texts, plain or gzip, within a budget.
//! - [`named_by`]: paths that come out of files stay in their directory.
//! - [`pytorch`]: the files of PyTorch and of Python's `pickle`, read without executing them.

mod error;
mod map;
mod paths;
pub mod pytorch;
mod text;
mod whole;

pub use error::FileError;
pub use map::{OpenFile, map_file};
pub use paths::{named_by, stays_inside};
pub use text::{TextFile, first_byte};
pub use whole::{
    StagedDir, check_target, recover, recover_all, remove_directory, sync_directory, sync_file,
    write_directory, write_file, write_file_with, write_json,
};
