//! The one error type of this crate.
//!
//! Every message names the file, line or image key it is about, says what was found there, and
//! what to do about it.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use oscar_files::FileError;

use crate::findings::Problem;

/// Result of this crate's operations.
pub type Result<T, E = DatasetError> = std::result::Result<T, E>;

/// What can go wrong with a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// A file or directory cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A store, or a part of one, is missing.
    #[error("{} is missing: {hint}", path.display())]
    Missing {
        /// What was looked for.
        path: PathBuf,
        /// What it would be, and how to get it.
        hint: &'static str,
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
    /// Rows of a file, or of files that belong together, are wrong.
    #[error("{}", Listed { problems, total: *total })]
    Problems {
        /// The first problems.
        problems: Vec<Problem>,
        /// How many there are altogether.
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
    /// A picture gives no regions.
    #[error(transparent)]
    Vision(#[from] oscar_vision::VisionError),
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
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let wrap = FileError::io(action, path);
        move |error| wrap(error).into()
    }

    /// One wrong row.
    pub(crate) fn problem(problem: Problem) -> Self {
        Self::Problems {
            problems: vec![problem],
            total: 1,
        }
    }

    /// A file whose content is wrong.
    pub fn malformed(path: &Path, found: impl Into<String>, fix: &'static str) -> Self {
        FileError::malformed(path, found, fix).into()
    }

    /// Gives an error about a file that does not exist a `hint` at what it should be.
    pub fn missing(hint: &'static str) -> impl FnOnce(FileError) -> Self {
        move |error| match error {
            FileError::Io { path, source, .. } if source.kind() == ErrorKind::NotFound => {
                Self::Missing { path, hint }
            }
            error => error.into(),
        }
    }
}

/// Prints one problem by itself, and more as a list.
struct Listed<'a> {
    problems: &'a [Problem],
    total: usize,
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lines, total) = (self.problems, self.total);
        match lines {
            [problem] if total == 1 => problem.fmt(f),
            _ => {
                let lines: Vec<String> = lines.iter().map(Problem::to_string).collect();
                let lines = &lines[..];
                write!(f, "{total} rows are wrong:{}", List { lines, total })
            }
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

/// The beginning of text that may not be UTF-8, in quotes; the rest, which may be a whole file, is not
/// looked at.
pub(crate) fn excerpt_bytes(bytes: &[u8]) -> String {
    excerpt(&String::from_utf8_lossy(&bytes[..bytes.len().min(256)]))
}

/// The beginning of a text in quotes, for messages: texts from files may be very long.
pub fn excerpt(text: &str) -> String {
    let mut start: String = text.chars().take(40).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}
