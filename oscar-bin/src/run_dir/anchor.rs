//! The relative paths of a run, from wherever it is used.

use std::path::{Path, PathBuf};

use super::header::directory_of;
use super::newest_config;
use crate::config::Configuration;

/// Makes the relative paths of a run's configuration lead to where they led when it was started, if
/// something is there: a run may be resumed or reported on from another directory.
pub fn anchor(recipe: &mut impl Configuration, run: &Path) {
    let text = std::fs::read_to_string(newest_config(run));
    let Some(started) = text.ok().as_deref().and_then(directory_of) else {
        return;
    };
    if std::env::current_dir().is_ok_and(|here| here == started) {
        return;
    }
    for path in recipe.data_paths() {
        if let Some(found) = located(path, &started) {
            *path = found;
        }
    }
    // A name without an extension is that of a built-in vocabulary.
    if let Some(vocab) = recipe.sections().vocab
        && Path::new(vocab).extension().is_some()
        && let Some(found) = located(Path::new(vocab), &started)
    {
        *vocab = found.to_string_lossy().into_owned();
    }
}

/// `path` in `directory`, if it is relative and something is there; a query after it counts as no part
/// of its name.
fn located(path: &Path, directory: &Path) -> Option<PathBuf> {
    if path.as_os_str().is_empty() || path.is_absolute() {
        return None;
    }
    let found = directory.join(path);
    let text = found.to_string_lossy();
    let without_query = text.rsplit_once('?').map(|(plain, _)| Path::new(plain));
    let exists = found.exists() || without_query.is_some_and(Path::exists);
    exists.then(|| found.clone())
}
