//! The shipped sample: located near the program or the working directory, expanded once.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oscar_sample::scenes::{HELD_OUT_SCENES, NOVEL_SCENES, TRAIN_SCENES, build_scenes_sample};
use oscar_sample::{CLIP, build_clip, build_sample};

use super::configuration::Configuration;

/// Prefix of a path in the expanded sample.
const PREFIX: &str = "sample:";

/// What a path of the sample begins with if it is one of scenes.
const SCENES: &str = "scenes/";

/// Makes a data set of the sample beside the runs.
type Maker = fn(&Path) -> Result<PathBuf>;

/// Expands the sample if `config` uses it, and replaces `sample:…` by real paths.
///
/// # Errors
/// If the sample is not found or cannot be expanded.
pub fn provide(config: &mut impl Configuration, runs: &Path) -> Result<()> {
    let (mut expanded, mut drawn) = (None, None);
    let mut real = |path: &str| -> Result<Option<PathBuf>> {
        let Some(rest) = path.strip_prefix(PREFIX) else {
            return Ok(None);
        };
        let (rest, made, make): (_, &mut Option<PathBuf>, Maker) = match rest.strip_prefix(SCENES) {
            Some(rest) => (rest, &mut drawn, draw),
            None => (rest, &mut expanded, expand),
        };
        let directory = match made {
            Some(directory) => directory,
            None => made.insert(make(runs)?),
        };
        if Path::new(rest).starts_with(CLIP) {
            build_clip(directory).context("cannot embed the pictures of the sample")?;
        }
        let real = directory.join(rest);
        // Fine-tuned weights ship as they are used, and are not copied beside the runs.
        let shipped = shipped(path).filter(|shipped| !real.exists() && shipped.is_dir());
        Ok(Some(shipped.unwrap_or(real)))
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

/// Draws the scenes of the sample.
fn draw(runs: &Path) -> Result<PathBuf> {
    let source = find().context(NOT_FOUND)?.join("scenes");
    let out = runs.join(".scenes");
    std::fs::create_dir_all(runs).with_context(|| format!("cannot create {}", runs.display()))?;
    let built = build_scenes_sample(&source, &out)
        .with_context(|| format!("cannot draw the scenes of {}", source.display()))?;
    if built {
        tracing::info!(
            "drew {TRAIN_SCENES} training, twice {HELD_OUT_SCENES} held-out scenes and {NOVEL_SCENES} of \
             novel kinds into {}",
            out.display()
        );
    }
    Ok(out)
}

const NOT_FOUND: &str = "cannot find the shipped sample (datasets/sample): run from the repository, \
                         or set data.train and data.validation to your own data";

fn expand(runs: &Path) -> Result<PathBuf> {
    let source = find().context(NOT_FOUND)?;
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
