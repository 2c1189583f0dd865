//! The directory of a run: its name and its files.

pub mod header;
mod naming;
mod resume;
mod summary;

pub use self::naming::{existing_run, new_run, remove_unused};
pub use self::resume::require_same;
pub use self::summary::{BestStep, State, Summary, all_keys, differing_keys, flat, read_log};

/// The resolved configuration in a run directory.
pub const CONFIG_FILE: &str = "config.toml";

/// Log messages of a run while a dashboard uses the terminal.
pub const LOG_FILE: &str = "oscar.log";
