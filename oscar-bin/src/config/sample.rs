//! The shipped sample: located near the program or the working directory, expanded once.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oscar_sample::{CLIP, build_clip, build_sample};

use super::configuration::Configuration;

/// Prefix of a path in the expanded sample.
const PREFIX: &str = "sample:";

/// Expands the sample if `config` uses it, and replaces `sample:…` by real paths.
///
/// # Errors
/// If the sample is not found or cannot be expanded.
pub fn provide(config: &mut impl Configuration, runs: &Path) -> Result<()> {
    let mut expanded = None;
    let mut real = |path: &str| -> Result<Option<PathBuf>> {
        let Some(rest) = path.strip_prefix(PREFIX) else {
            return Ok(None);
        };
        let directory: &PathBuf = match &expanded {
            Some(directory) => directory,
            None => expanded.insert(expand(runs)?),
        };
        if Path::new(rest).starts_with(CLIP) {
            build_clip(directory).context("cannot embed the pictures of the sample")?;
        }
        Ok(Some(directory.join(rest)))
    };
    for path in config.data_paths() {
        if let Some(found) = real(path.to_str().unwrap_or_default())? {
            *path = found;
        }
    }
    if let Some(vocab) = config.sections().vocab
        && let Some(found) = real(vocab)?
    {
        *vocab = found.to_string_lossy().into_owned();
    }
    Ok(())
}

/// The path of `sample:…` in the sample as it is shipped, not expanded.
pub fn shipped(path: &str) -> Option<PathBuf> {
    Some(find()?.join(path.strip_prefix(PREFIX)?))
}

fn expand(runs: &Path) -> Result<PathBuf> {
    let source = find().context(
        "cannot find the shipped sample (datasets/sample): run from the repository, \
         or set data.train and data.validation to your own data",
    )?;
    let out = runs.join(".sample");
    std::fs::create_dir_all(runs).with_context(|| format!("cannot create {}", runs.display()))?;
    let info = build_sample(&source, &out)
        .with_context(|| format!("cannot expand the sample {}", source.display()))?;
    if info.built {
        tracing::info!(
            "sample expanded into {}: {} training and {} held-out boxes, from pixels",
            out.display(),
            info.train.counts.boxes,
            info.dev.counts.boxes
        );
    }
    Ok(out)
}

/// `datasets/sample` in or above the working directory, or above the program, or in the source tree of
/// the build.
fn find() -> Option<PathBuf> {
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    [here, program, Some(built)]
        .into_iter()
        .flatten()
        .find_map(|start| {
            let candidates = start
                .ancestors()
                .map(|ancestor| ancestor.join("datasets/sample"));
            candidates.into_iter().find(|path| path.is_dir())
        })
}
