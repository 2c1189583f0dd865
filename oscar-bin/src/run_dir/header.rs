//! The configuration file of a run: the recipe and command it was started with, then all keys.

use std::path::{Path, PathBuf};

use anyhow::Result;
use oscar_files::write_file;
use serde::Serialize;

use crate::config::to_toml;

/// Start of the first line of a run's configuration.
const RECIPE: &str = "# Recipe: ";

/// Start of the second line.
const COMMAND: &str = "# Command: ";

/// Start of the third line, which has the path as JSON.
const DIRECTORY: &str = "# Directory: ";

/// The recipe that a run was started with, if its configuration file records it.
pub fn recipe_of(config: &str) -> Option<&str> {
    config.lines().next()?.strip_prefix(RECIPE)
}

/// The command that started a run, `finetune --task vqa`, if its configuration file records it.
pub fn command_of(config: &str) -> Option<&str> {
    config.lines().nth(1)?.strip_prefix(COMMAND)
}

/// The directory that a run was started in, which its relative paths belong to, if its configuration
/// file records it.
pub fn directory_of(config: &str) -> Option<PathBuf> {
    let json = config.lines().nth(2)?.strip_prefix(DIRECTORY)?;
    let path: String = serde_json::from_str(json).ok()?;
    Some(path.into())
}

/// What a configuration file of a run says beside the configuration.
pub struct Header<'a> {
    /// The recipe that the run was started with.
    pub recipe: &'a str,
    /// The command that started it.
    pub command: &'a str,
    /// The directory it was started in.
    pub directory: &'a Path,
}

impl Header<'_> {
    /// Writes the resolved configuration, which is enough to repeat the run. If the process is killed
    /// meanwhile, the file is the old or the new one, never half of it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path, config: &impl Serialize) -> Result<()> {
        let Self {
            recipe, command, ..
        } = self;
        let directory = serde_json::to_string(&self.directory.to_string_lossy())?;
        let text = format!(
            "{RECIPE}{}\n{COMMAND}{command}\n{DIRECTORY}{directory}\n{}",
            recipe.escape_debug(),
            to_toml(config)?
        );
        Ok(write_file(path, text.as_bytes())?)
    }
}
