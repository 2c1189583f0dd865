//! What can go wrong with a file.

use std::io;
use std::path::{Path, PathBuf};

/// A file or directory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something already exists where a directory is to be written.
    #[error("{} already exists; remove it, choose another place, or ask to overwrite it", path.display())]
    AlreadyExists {
        /// The directory.
        path: PathBuf,
    },
    /// A directory to be overwritten was not made by this program.
    #[error(
        "{} is not overwritten: it holds no {marker}, so it was not made by this program; \
         remove it yourself or choose another place", path.display()
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// The file by which our directories are recognised.
        marker: &'static str,
    },
    /// The content of a file is not what it should be.
    #[error("{}: {found}; {fix}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found, and at which line, row or key.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// A file names a path outside its own directory.
    #[error(
        "{}: the path {} leads out of the file's directory; \
         give a path inside it, or link the file into it", path.display(), name.display()
    )]
    Outside {
        /// The file that names the path.
        path: PathBuf,
        /// The path.
        name: PathBuf,
    },
    /// A directory, device, named pipe or socket in the place of a file, or a link where one is written.
    #[error("{} is {kind}, not a regular file; give the file itself", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A file is larger than any of its kind.
    #[error(
        "{} has {length} bytes, and a file of its kind at most {limit}; \
         check that it is the right file", path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length, or as many bytes as were read of it.
        length: u64,
        /// The most it may have.
        limit: u64,
    },
    /// A link leads out of the directory whose files are read.
    #[error(
        "{} is a link to {}, outside its directory; \
         copy the file in place of the link if it belongs there", path.display(), target.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A file changed while it was being used.
    #[error("{} changed while it was open; do not edit or replace files that are in use", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl FileError {
    /// Wraps a system error: `.map_err(FileError::io("open", path))`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A file whose content is wrong: what was found, and what to do.
    pub fn malformed(path: &Path, found: impl Into<String>, fix: &'static str) -> Self {
        Self::Malformed {
            path: path.to_path_buf(),
            found: found.into(),
            fix,
        }
    }
}
