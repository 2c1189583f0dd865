//! The kinds of things there are, and their names.

use std::path::Path;
use std::sync::Arc;

use oscar_datasets::mapped::read_file;
use oscar_datasets::{DatasetError, Result};
use serde::{Deserialize, Serialize};

pub(super) const HINT: &str = "it belongs to the drawings that ship with the repository \
                               (datasets/sample/scenes); give that directory, or check out the \
                               repository again";

pub(super) const KINDS_FILE: &str = "kinds.json";

/// A kind of thing.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    /// Its place on the sheets.
    #[serde(skip)]
    pub index: usize,
    /// One or two common words: `hot dog`.
    pub name: String,
    /// More than one of it: `hot dogs`, `pairs of glasses`.
    pub plural: String,
    /// What stands before one of it: `a`, `an` or `some`.
    pub article: String,
    /// What it is: `food`.
    pub category: String,
    /// Whether captions of training never name it.
    pub novel: bool,
    /// Whether its drawings are never mirrored, since they carry letters, a dial or a map.
    pub one_way: bool,
}

impl Kind {
    /// `a hot dog`, `some jeans`.
    pub fn one(&self) -> String {
        format!("{} {}", self.article, self.name)
    }

    /// Whether one of it is spoken of in the plural: "there are some jeans".
    pub fn is_plural(&self) -> bool {
        self.article == "some" && self.name.ends_with('s')
    }
}

/// Reads the kinds in `dir`, in the order of the sheets.
///
/// # Errors
/// A file that is missing or malformed, or names a kind twice.
pub fn read(dir: &Path) -> Result<Vec<Arc<Kind>>> {
    let path = dir.join(KINDS_FILE);
    let wrong = |found: String| DatasetError::malformed(&path, found, HINT);
    let mut kinds: Vec<Kind> = serde_json::from_slice(&read_file(&path, HINT)?)
        .map_err(|error| wrong(error.to_string()))?;
    for index in 0..kinds.len() {
        let (before, this) = kinds.split_at_mut(index);
        this[0].index = index;
        if before.iter().any(|kind| kind.name == this[0].name) {
            return Err(wrong(format!("two kinds are called {}", this[0].name)));
        }
    }
    if !kinds.iter().any(|kind| kind.novel) || !kinds.iter().any(|kind| !kind.novel) {
        return Err(wrong("novel kinds and others are expected".into()));
    }
    Ok(kinds.into_iter().map(Arc::new).collect())
}
