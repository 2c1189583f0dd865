//! What can be wrong, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use oscar_files::FileError;
use serde::Serialize;

use crate::error::DatasetError;

/// Kinds of problems, as scripts see them: `not-finite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A file is missing, cut off or damaged, so that it could not be read to its end.
    Unreadable,
    /// Text that is not UTF-8.
    NotUtf8,
    /// Broken JSON, or a line without any.
    Json,
    /// A member or column is missing, unknown, or of another type.
    Field,
    /// A row of a table without a tab.
    MissingTab,
    /// A `.lineidx` that does not say where lines begin.
    LineIndex,
    /// Content whose length does not fit what it should hold.
    ByteLength,
    /// Features that are no whole base64 text.
    Base64,
    /// A value that is NaN or infinite.
    NotFinite,
    /// A region's box that is empty, inverted or outside its image.
    Box,
    /// An object tag's box that is empty, inverted or outside its image.
    TagBox,
    /// An object tag without class, or with an impossible score.
    Tag,
    /// A key or identifier that occurs twice.
    DuplicateKey,
    /// A row about an image that is not there.
    UnknownImage,
    /// An annotation of something that is not there.
    OrphanAnnotation,
    /// Something that should be annotated and is not.
    MissingAnnotation,
    /// A text without any letter or digit.
    BlankText,
    /// Another number of answers than people were asked.
    Answers,
    /// Two records that should agree and do not.
    Mismatch,
    /// A picture that cannot be decoded.
    Picture,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What was found in a record, by whoever read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind of problem.
    pub kind: Kind,
    /// What was found.
    pub found: String,
}

impl Finding {
    /// A finding.
    pub fn new(kind: Kind, found: impl Into<String>) -> Self {
        let found = found.into();
        Self { kind, found }
    }
}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file or directory.
    pub file: PathBuf,
    /// Line of it, from 1, where it has lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Key of the image, or identifier of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The kind of problem.
    pub kind: Kind,
    /// What was found.
    pub found: String,
}

impl Problem {
    /// A problem of a whole file.
    pub fn of_file(file: &Path, finding: Finding) -> Self {
        Self {
            file: file.to_path_buf(),
            line: None,
            key: None,
            kind: finding.kind,
            found: finding.found,
        }
    }

    /// A problem in line `line`, from 1.
    pub fn at_line(file: &Path, line: usize, finding: Finding) -> Self {
        Self {
            line: Some(line),
            ..Self::of_file(file, finding)
        }
    }

    /// A problem of the image or record `key`.
    pub fn of_key(file: &Path, key: impl Into<String>, finding: Finding) -> Self {
        Self {
            key: Some(key.into()),
            ..Self::of_file(file, finding)
        }
    }

    /// The same problem, with the key of the record it is in.
    #[must_use]
    pub fn with_key(self, key: impl Into<String>) -> Self {
        let key = Some(key.into());
        Self { key, ..self }
    }

    /// What a reader of `file` failed with.
    pub(crate) fn from_error(file: &Path, error: &DatasetError) -> Self {
        // The readers' messages name the file, as the problem does.
        match error {
            DatasetError::Annotation {
                path, line, found, ..
            } => Self::at_line(path, *line, Finding::new(Kind::Unreadable, found)),
            DatasetError::File(FileError::Malformed { path, found, .. }) => {
                Self::of_file(path, Finding::new(Kind::Unreadable, found))
            }
            DatasetError::Missing { path, hint } => {
                let found = format!("it is missing: {hint}");
                Self::of_file(path, Finding::new(Kind::Unreadable, found))
            }
            DatasetError::File(FileError::Io {
                action,
                path,
                source,
            }) => {
                let found = format!("cannot {action} it ({source})");
                Self::of_file(path, Finding::new(Kind::Unreadable, found))
            }
            other => Self::of_file(file, Finding::new(Kind::Unreadable, other.to_string())),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": `{key}`")?;
        }
        write!(f, ": {}", self.found)
    }
}
