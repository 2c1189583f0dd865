//! What a check found.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::findings::{Counts, Problems};

/// What was read, and what is wrong with it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was read, path by path.
    pub checked: Vec<Checked>,
    #[serde(flatten)]
    problems: Problems,
}

/// A file or directory that was read.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The file or directory.
    #[serde(serialize_with = "oscar_files::serialize_shown")]
    pub path: PathBuf,
    /// Its format.
    pub format: &'static str,
    /// What it holds.
    pub counts: Counts,
    /// What could not be checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Report {
    /// An empty report that will list at most `limit` problems, and count all.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            checked: Vec::new(),
            problems: Problems::new(limit),
        }
    }

    /// Adds what was read.
    pub(super) fn checked(
        &mut self,
        path: &Path,
        format: &'static str,
        counts: Counts,
    ) -> &mut Checked {
        self.checked.push(Checked {
            path: path.to_path_buf(),
            format,
            counts,
            notes: Vec::new(),
        });
        let last = self.checked.len() - 1;
        &mut self.checked[last]
    }
}

impl Deref for Report {
    type Target = Problems;

    fn deref(&self) -> &Problems {
        &self.problems
    }
}

impl DerefMut for Report {
    fn deref_mut(&mut self) -> &mut Problems {
        &mut self.problems
    }
}
