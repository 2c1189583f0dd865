//! Names and places of runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The resolved configuration in a run directory.
pub const CONFIG_FILE: &str = "config.toml";

/// The directory of a new run: NAME, which must be free, or the first free of
/// `stem`, `stem-2`, `stem-3`, ….
pub fn new_run(runs: &Path, name: Option<&str>, stem: &str) -> Result<PathBuf> {
    if let Some(name) = name {
        let path = named(runs, name)?;
        // A run that failed before it learned anything may be started again under its name.
        if ["checkpoint", "best", "last"].iter().any(|part| path.join(part).exists()) {
            bail!(
                "{} exists; go on with it by --resume, or choose another --name",
                path.display()
            );
        }
        return Ok(path);
    }
    let numbered = (1..).map(|number| match number {
        1 => runs.join(stem),
        number => runs.join(format!("{stem}-{number}")),
    });
    let mut free = numbered.filter(|path| !path.exists());
    free.next().context("no free name for the run")
}

/// The directory of the run to resume: NAME, or the run whose configuration is the newest.
pub fn existing_run(runs: &Path, name: Option<&str>) -> Result<PathBuf> {
    if let Some(name) = name {
        return named(runs, name);
    }
    let entries = std::fs::read_dir(runs)
        .with_context(|| format!("cannot list the runs in {}", runs.display()))?;
    let newest = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let modified = path.join(CONFIG_FILE).metadata().ok()?.modified().ok()?;
            Some((modified, path))
        })
        .max();
    match newest {
        Some((_, path)) => Ok(path),
        None => bail!("no run in {} to resume; start one without --resume", runs.display()),
    }
}

/// A name is one directory, not a path.
fn named(runs: &Path, name: &str) -> Result<PathBuf> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
    match plain {
        true => Ok(runs.join(name)),
        false => bail!("--name {name:?}: must be the name of a directory, without / and leading ."),
    }
}
