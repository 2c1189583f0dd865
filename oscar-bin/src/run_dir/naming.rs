//! Names and directories of runs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oscar_train::{METRICS_FILE, NON_FINITE_FILE};

use super::{CONFIG_FILE, INPUTS_FILE, LOG_FILE};

/// The directory of a new run: NAME, which must be free, or the first free one of `stem`, `stem-2`,
/// `stem-3`, …, which is created, so that no other process uses it.
///
/// # Errors
/// If the name is in use or invalid, or a directory cannot be created.
pub fn new_run(runs: &Path, name: Option<&str>, stem: &str) -> Result<PathBuf> {
    if runs.exists() && !runs.is_dir() {
        bail!(
            "{} is not a directory; name a directory for the runs with --runs-dir",
            runs.display()
        );
    }
    if let Some(name) = name {
        let path = named(runs, name)?;
        // A run that failed before its first checkpoint may be started again under its name.
        if ["checkpoint", "best", "last"]
            .iter()
            .any(|name| path.join(name).exists())
        {
            bail!(
                "{} exists; resume it with --resume, or choose another --name",
                path.display()
            );
        }
        return Ok(path);
    }
    std::fs::create_dir_all(runs).with_context(|| {
        format!(
            "cannot create {}; name another directory for the runs with --runs-dir",
            runs.display()
        )
    })?;
    for number in 1_usize.. {
        let path = match number {
            1 => runs.join(stem),
            number => runs.join(format!("{stem}-{number}")),
        };
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot create {}", path.display()));
            }
        }
    }
    bail!(
        "{} has no free name left for the run; choose one with --name",
        runs.display()
    )
}

/// The directory of the run to resume: NAME, or the run that was trained last.
///
/// # Errors
/// If there is no run, or the name is invalid.
pub fn existing_run(runs: &Path, name: Option<&str>) -> Result<PathBuf> {
    if let Some(name) = name {
        return named(runs, name);
    }
    let nothing = || {
        format!(
            "no run in {} to resume; start one without --resume",
            runs.display()
        )
    };
    let entries = match std::fs::read_dir(runs) {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(nothing()),
        entries => {
            entries.with_context(|| format!("cannot list the runs in {}", runs.display()))?
        }
    };
    let newest = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let modified = |file: &str| path.join(file).metadata().ok()?.modified().ok();
            // A run that was resumed has written to its log since.
            let started = modified(CONFIG_FILE)?;
            let modified = modified(METRICS_FILE).map_or(started, |trained| trained.max(started));
            Some((modified, path))
        })
        .max();
    newest.map(|(_, path)| path).with_context(nothing)
}

/// Removes the directory of a run that failed before its first step, so that its name is free.
/// Files of others stay, and the directory with them.
pub fn remove_unused(run: &Path) {
    let metrics = run.join(METRICS_FILE);
    let started = metrics.metadata().is_ok_and(|metadata| metadata.len() > 0)
        || ["checkpoint", "best", "last", NON_FINITE_FILE]
            .iter()
            .any(|name| run.join(name).exists());
    if started {
        return;
    }
    let _ = std::fs::remove_file(metrics);
    for name in [CONFIG_FILE, INPUTS_FILE, LOG_FILE, ".lock"] {
        let _ = std::fs::remove_file(run.join(name));
    }
    let _ = std::fs::remove_dir(run);
}

/// The run that `given` names: its directory, one within it, or its name in `runs`.
pub fn run_at(runs: &Path, given: &Path) -> PathBuf {
    let is_run = |path: &Path| path.join(CONFIG_FILE).exists();
    let named = runs.join(given);
    let within = given.parent().filter(|parent| is_run(parent));
    match within {
        _ if is_run(given) => given.into(),
        // Its `best`, say.
        Some(run) if given.is_dir() => run.into(),
        _ if !given.exists() && is_run(&named) => named,
        _ => given.into(),
    }
}

/// The directory of the runs that `run` is in, also if it is given as `.`.
pub fn runs_of(run: &Path) -> PathBuf {
    let parent = |path: &Path| Some(path.parent()?.to_path_buf());
    let written = parent(run).filter(|runs| !runs.as_os_str().is_empty());
    let whole = || parent(&std::path::absolute(run).ok()?);
    written.or_else(whole).unwrap_or_else(|| ".".into())
}

/// A name is a single directory, or its path in the directory of the runs.
fn named(runs: &Path, name: &str) -> Result<PathBuf> {
    let within = Path::new(name).strip_prefix(runs).ok();
    let name = within
        .and_then(Path::to_str)
        .filter(|within| !within.is_empty())
        .unwrap_or(name);
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
    match plain {
        true => Ok(runs.join(name)),
        false => bail!(
            "--name {name:?}: must be the name of a directory, without / and without a leading .; \
             --runs-dir names the directory that it is in"
        ),
    }
}
