//! Bytes on disk, without a tensor framework.
//!
//! - [`write_file`], [`write_directory`] and [`StagedDir`]: what is written appears whole or not at
//!   all, and what a killed process leaves is put right. Nothing that the program did not make is
//!   ever deleted.
//! - [`map_file`] and [`OpenFile`]: files that are mapped, or read by position.
//! - [`open_regular`], [`read_file`] and [`inside`]: only regular files are read, and no link leaves
//!   its folder.
//! - [`Budget`]: the one rule of how much memory reading a file may take.
//! - [`TextFile`]: texts, plain or gzip, within a budget.
//! - [`named_by`]: paths that come out of files stay in their directory.
//! - [`pytorch`]: the files of PyTorch and of Python's `pickle`, read without executing them.

mod budget;
mod error;
mod map;
mod paths;
pub mod pytorch;
mod regular;
mod text;
mod whole;

pub use budget::{Budget, OverBudget};
pub use error::FileError;
pub use map::{OpenFile, map_file};
pub use paths::{named_by, stays_inside};
pub use regular::{SMALL_FILE, inside, open_regular, read_file, read_text};
pub use text::{TextFile, first_byte};
pub use whole::{
    StagedDir, check_target, recover, recover_all, remove_directory, sync_directory, sync_file,
    write_directory, write_file, write_file_with, write_json,
};
