//! What is wrong with a piece of a file, before it is known where the piece stands.
//!
//! Parsers of bytes return it; the readers that know file and row turn it into a
//! [`DatasetError`].

use std::path::Path;

use crate::error::DatasetError;

/// What was found in a piece of a file, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found}; {fix}")]
pub struct Defect {
    /// What was found.
    pub found: String,
    /// What to do.
    pub fix: &'static str,
}

impl Defect {
    pub(crate) fn new(found: impl Into<String>, fix: &'static str) -> Self {
        Self {
            found: found.into(),
            fix,
        }
    }

    /// The same, with `context: ` before what was found.
    pub(crate) fn within(self, context: impl std::fmt::Display) -> Self {
        Self {
            found: format!("{context}: {}", self.found),
            fix: self.fix,
        }
    }

    /// The error about a whole file.
    pub(crate) fn in_file(self, path: &Path) -> DatasetError {
        DatasetError::malformed(path, self.found, self.fix)
    }

    /// The error about line `line`, from 1, of a file.
    pub(crate) fn in_line(self, path: &Path, line: usize) -> DatasetError {
        DatasetError::Annotation {
            path: path.to_path_buf(),
            line,
            found: self.found,
            fix: self.fix,
        }
    }
}
