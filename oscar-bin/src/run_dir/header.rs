//! The configuration that a run directory keeps: what it was made from, then all keys.

use std::path::Path;

use anyhow::Result;
use oscar_train::write_file;
use serde::Serialize;

use crate::config::to_toml;

/// Start of the first line of a run's configuration.
const RECIPE: &str = "# Recipe: ";

/// Start of the second line.
const COMMAND: &str = "# Command: ";

/// The name of the recipe that a run's configuration was made from, if it says so.
pub fn recipe_of(config: &str) -> Option<&str> {
    config.lines().next()?.strip_prefix(RECIPE)
}

/// The command that a run's configuration is for, `finetune --task vqa`, if it says so.
pub fn command_of(config: &str) -> Option<&str> {
    config.lines().nth(1)?.strip_prefix(COMMAND)
}

/// Writes the resolved configuration: enough to repeat the run. A process that is killed meanwhile
/// leaves the file before or after, never half of it.
pub fn write(path: &Path, config: &impl Serialize, recipe: &str, command: &str) -> Result<()> {
    let recipe = recipe.escape_debug();
    let text = format!("{RECIPE}{recipe}\n{COMMAND}{command}\n{}", to_toml(config)?);
    Ok(write_file(path, text.as_bytes())?)
}
