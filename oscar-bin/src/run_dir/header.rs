//! The configuration file of a run: the recipe and command it was started with, then all keys.

use std::path::Path;

use anyhow::Result;
use oscar_files::write_file;
use serde::Serialize;

use crate::config::to_toml;

/// Start of the first line of a run's configuration.
const RECIPE: &str = "# Recipe: ";

/// Start of the second line.
const COMMAND: &str = "# Command: ";

/// The recipe that a run was started with, if its configuration file records it.
pub fn recipe_of(config: &str) -> Option<&str> {
    config.lines().next()?.strip_prefix(RECIPE)
}

/// The command that started a run, `finetune --task vqa`, if its configuration file records it.
pub fn command_of(config: &str) -> Option<&str> {
    config.lines().nth(1)?.strip_prefix(COMMAND)
}

/// Writes the resolved configuration, which is enough to repeat the run. If the process is killed
/// meanwhile, the file is the old or the new one, never half of it.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, config: &impl Serialize, recipe: &str, command: &str) -> Result<()> {
    let recipe = recipe.escape_debug();
    let text = format!("{RECIPE}{recipe}\n{COMMAND}{command}\n{}", to_toml(config)?);
    Ok(write_file(path, text.as_bytes())?)
}
