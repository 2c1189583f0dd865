//! Bytes on disk, without a tensor framework.
//!
//! - [`write_file`], [`write_directory`] and [`StagedDir`]: what is written appears whole or not at
//!   all, and what a killed process leaves is put right. Nothing that the program did not make is
//!   ever deleted.
//! - [`map_file`] and [`OpenFile`]: files that are mapped, or read by position.
//! - [`TextFile`]: texts, plain or gzip, within a budget.
//! - [`open_regular`], [`read_file`] and [`inside`]: only regular files are read, and no link leaves
//!   its folder.
//! - [`write_checksums`] and [`verify_checksums`]: damage to the files of a directory is noticed.
//! - [`Budget`]: the one rule of how much memory reading a file may take.
//! - [`parse_json`]: JSON as Python writes it; [`python`]: fields of tables.
//! - [`report_shrunk_maps`]: what happens when a mapped file is cut off; [`report_file_size_limit`]: when one
//!   becomes too large.
//! - [`named_by`]: paths that come out of files stay in their directory; [`is_system_file`]: what is
//!   no data in a directory; [`serialize_shown`]: paths in documents.
//! - [`hub`]: the cache of the HuggingFace hub, and with the feature `hub` its client.
//! - [`pytorch`]: the files of PyTorch and of Python's `pickle`, read without executing them.

mod budget;
mod checksums;
mod error;
mod hashing;
pub mod hub;
mod json;
mod map;
mod other;
mod paths;
pub mod python;
pub mod pytorch;
mod regular;
mod shrunk;
mod size_limit;
mod text;
mod whole;

pub use budget::{Budget, OverBudget};
pub use checksums::{CHECKSUMS_FILE, verify_checksums, write_checksums};
pub use error::FileError;
pub use hashing::{for_each_piece, hex};
pub use json::{parse_json, printed_by_python};
pub use map::{OpenFile, map_file};
pub use other::{OtherFile, START_BYTES, other_file};
pub use paths::{is_system_file, named_by, serialize_shown, stays_inside};
pub use regular::{SMALL_FILE, inside, open_regular, read_file, read_text};
pub use shrunk::report_shrunk_maps;
pub use size_limit::report_file_size_limit;
pub use text::{TextFile, first_byte, without_bom};
pub use whole::{
    StagedDir, behind_link, check_target, recover, recover_all, remove_directory, sync_directory,
    sync_file, write_directory, write_file, write_file_with, write_json,
};
