//! The one error type of this crate.
//!
//! Every message names the file, line or image key it is about, says what was found there, and
//! what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result of this crate's operations.
pub type Result<T, E = DatasetError> = std::result::Result<T, E>;

/// What can go wrong with a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A directory to be written is already there.
    #[error("{} already exists; remove it, choose another place, or ask to overwrite it", path.display())]
    AlreadyExists {
        /// The directory.
        path: PathBuf,
    },
    /// A directory to be overwritten does not hold what would be written there.
    #[error(
        "{} is not overwritten: it holds no {marker}, so it was not made by this program; \
         remove it yourself or choose another place", path.display()
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// The file by which our directories are known.
        marker: &'static str,
    },
    /// A store, or a part of one, is missing.
    #[error("{} is missing: {hint}", path.display())]
    Missing {
        /// What was looked for.
        path: PathBuf,
        /// What it would be, and how to get it.
        hint: &'static str,
    },
    /// A file is there but cannot be what it should be.
    #[error("{}: {found}; {fix}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// A file of a format version this program does not read.
    #[error(
        "{}: format version {found}, but this program reads version {expected}; build it again",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Version found.
        found: String,
        /// Version read by this program.
        expected: u32,
    },
    /// An image handed to a store cannot be stored.
    #[error("image `{key}`: {found}; {fix}")]
    Image {
        /// The image's key.
        key: String,
        /// What was found.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// Two images with one key.
    #[error("image `{key}` is stored twice; keys must be unique, drop one of the two")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// Rows of a corpus are wrong.
    #[error("{} wrong row(s) in {}:{}", total, path.display(), List { lines: problems, total: *total })]
    Corpus {
        /// The corpus file.
        path: PathBuf,
        /// The first problems, each opening with `file:line`.
        problems: Vec<String>,
        /// How many rows are wrong altogether.
        total: usize,
    },
    /// A line of an annotation file is wrong.
    #[error("{}:{line}: {found}; {fix}", path.display())]
    Annotation {
        /// The annotation file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What was found.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// A row of a task's annotations is wrong.
    #[error("{origin}: {found}; {fix}")]
    Row {
        /// File and row.
        origin: String,
        /// What was found.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// An image file cannot be used.
    #[error("{} in {}: {found}; {fix}", name, images.display())]
    ImageFile {
        /// The image's file name.
        name: String,
        /// The archive or directory it stands in.
        images: PathBuf,
        /// What was found.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// Objects found in the pixels are not the annotated ones.
    #[error(
        "{total} image(s) of {} show other objects than {} says:{}; \
         do images and annotations belong together?",
        images.display(), annotations.display(), List { lines: problems, total: *total }
    )]
    Mismatch {
        /// The archive or directory of images.
        images: PathBuf,
        /// The annotation file.
        annotations: PathBuf,
        /// The first differences, each opening with the image's name.
        problems: Vec<String>,
        /// How many images differ.
        total: usize,
    },
}

impl DatasetError {
    /// Wraps a system error: `.map_err(DatasetError::io("open", path))`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A file whose content is wrong.
    pub fn malformed(path: &Path, found: impl Into<String>, fix: &'static str) -> Self {
        Self::Malformed {
            path: path.to_path_buf(),
            found: found.into(),
            fix,
        }
    }
}

/// Prints problems one to a line, and how many were left out.
struct List<'a> {
    lines: &'a [String],
    total: usize,
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines {
            write!(f, "\n  {line}")?;
        }
        match self.total.saturating_sub(self.lines.len()) {
            0 => Ok(()),
            more => write!(f, "\n  … and {more} more"),
        }
    }
}

/// The beginning of a text in quotes, for messages: texts from files may be very long.
pub fn excerpt(text: &str) -> String {
    let mut start: String = text.chars().take(40).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}
