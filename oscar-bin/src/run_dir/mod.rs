//! The directory of a run: its name and its files.

mod anchor;
pub mod header;
mod inputs;
mod naming;
mod resume;
mod summary;

pub use self::anchor::anchor;
pub use self::inputs::{INPUTS_FILE, Inputs};
pub use self::naming::{existing_run, new_run, remove_unused, run_at, runs_of};
pub use self::resume::{config_after, newest_config, require_same};
pub use self::summary::{BestStep, State, Summary, all_keys, differing_keys, flat, read_log};

/// The resolved configuration in a run directory.
pub const CONFIG_FILE: &str = "config.toml";

/// Log messages of a run while a dashboard uses the terminal.
pub const LOG_FILE: &str = "oscar.log";
