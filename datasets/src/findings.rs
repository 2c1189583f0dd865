//! What reading a file finds: how much it holds, and what is wrong with it.
//!
//! A parser of a piece of a file returns a [`Defect`]; the reader, which knows file and line, makes a
//! [`Problem`] of it and collects it in [`Problems`]. Training and `data check` use the same
//! readers: training fails with the first problems, a check lists them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use oscar_files::FileError;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::error::{DatasetError, Result};

/// How many problems the error of a failed opening shows.
pub(crate) const SHOWN: usize = 20;

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
    /// Features that are not valid base64.
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
    /// A row about an image that is not in the region store.
    UnknownImage,
    /// An annotation of something that does not exist.
    OrphanAnnotation,
    /// Something that should be annotated and is not.
    MissingAnnotation,
    /// A text without content.
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

/// What is wrong with a piece of a file, before it is known where the piece is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// The kind of problem.
    pub kind: Kind,
    /// What was found.
    pub found: String,
    /// What to do; empty if `found` says it all.
    pub fix: &'static str,
}

impl Defect {
    /// A member or column that is wrong.
    pub(crate) fn new(found: impl Into<String>, fix: &'static str) -> Self {
        Self::of(Kind::Field, found).fix(fix)
    }

    /// A defect of this kind.
    pub(crate) fn of(kind: Kind, found: impl Into<String>) -> Self {
        let (found, fix) = (found.into(), "");
        Self { kind, found, fix }
    }

    /// The same, with what to do about it.
    pub(crate) fn fix(self, fix: &'static str) -> Self {
        Self { fix, ..self }
    }

    /// The same, with `context: ` before what was found.
    pub(crate) fn within(self, context: impl fmt::Display) -> Self {
        let found = format!("{context}: {}", self.found);
        Self { found, ..self }
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

impl From<String> for Defect {
    /// A member or column that is wrong, said in full.
    fn from(found: String) -> Self {
        Self::of(Kind::Field, found)
    }
}

impl From<&str> for Defect {
    fn from(found: &str) -> Self {
        found.to_owned().into()
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fix {
            "" => f.write_str(&self.found),
            fix => write!(f, "{}; {fix}", self.found),
        }
    }
}

impl std::error::Error for Defect {}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file or directory.
    #[serde(serialize_with = "oscar_files::serialize_shown")]
    pub file: PathBuf,
    /// Line of it, from 1, where it has lines; the number of the row in a JSON array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Key of the image, or identifier of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The kind of problem.
    pub kind: Kind,
    /// What was found.
    pub found: String,
    /// What to do; empty if `found` says it all.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub fix: &'static str,
}

impl Problem {
    /// A problem of a whole file.
    pub(crate) fn of_file(file: &Path, defect: Defect) -> Self {
        Self {
            file: file.to_path_buf(),
            line: None,
            key: None,
            kind: defect.kind,
            found: defect.found,
            fix: defect.fix,
        }
    }

    /// A problem in line `line`, from 1.
    pub(crate) fn at_line(file: &Path, line: usize, defect: Defect) -> Self {
        let line = Some(line);
        Self {
            line,
            ..Self::of_file(file, defect)
        }
    }

    /// A problem of the image or record `key`.
    pub(crate) fn of_key(file: &Path, key: impl Into<String>, defect: Defect) -> Self {
        Self::of_file(file, defect).with_key(key)
    }

    /// The same problem, with the key of the record it is in.
    #[must_use]
    pub(crate) fn with_key(self, key: impl Into<String>) -> Self {
        let key = Some(key.into());
        Self { key, ..self }
    }

    /// What a reader of `file` failed with.
    pub(crate) fn from_error(file: &Path, error: &DatasetError) -> Self {
        let defect = |found: String, fix| Defect::of(Kind::Unreadable, found).fix(fix);
        // The readers' messages name the file, as the problem does.
        match error {
            DatasetError::Annotation {
                path,
                line,
                found,
                fix,
            } => Self::at_line(path, *line, defect(found.clone(), fix)),
            DatasetError::File(FileError::Malformed { path, found, fix }) => {
                Self::of_file(path, defect(found.clone(), fix))
            }
            DatasetError::Missing { path, hint } => {
                Self::of_file(path, defect(format!("it is missing: {hint}"), ""))
            }
            DatasetError::File(FileError::Io {
                action,
                path,
                source,
            }) => Self::of_file(path, defect(format!("cannot {action} it ({source})"), "")),
            other => Self::of_file(file, defect(other.to_string(), "")),
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
        write!(f, ": {}", self.found)?;
        match self.fix {
            "" => Ok(()),
            fix => write!(f, "; {fix}"),
        }
    }
}

/// Problems, of which the first are kept and all are counted.
#[derive(Clone, Debug, Serialize)]
pub struct Problems {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// The first problems.
    pub problems: Vec<Problem>,
    /// How many problems there are altogether.
    pub total: usize,
    /// How many of each kind.
    pub by_kind: BTreeMap<Kind, usize>,
    #[serde(skip)]
    limit: usize,
}

impl Problems {
    /// None yet; at most `limit` of them will be kept.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            ok: true,
            problems: Vec::new(),
            total: 0,
            by_kind: BTreeMap::new(),
            limit,
        }
    }

    /// None yet; as many will be kept as of these.
    pub(crate) fn like(&self) -> Self {
        Self::new(self.limit)
    }

    /// Adds a problem.
    pub(crate) fn push(&mut self, problem: Problem) {
        self.ok = false;
        self.total += 1;
        *self.by_kind.entry(problem.kind).or_default() += 1;
        if self.problems.len() < self.limit {
            self.problems.push(problem);
        }
    }

    /// Adds a problem of line `line` of `file`.
    pub(crate) fn at_line(&mut self, file: &Path, line: usize, defect: Defect) {
        self.push(Problem::at_line(file, line, defect));
    }

    /// Adds what kept `file` from being read.
    pub(crate) fn error(&mut self, file: &Path, error: &DatasetError) {
        self.push(Problem::from_error(file, error));
    }

    /// Adds all `others`, which are of the same reading.
    pub(crate) fn extend(&mut self, others: Self) {
        self.ok &= others.ok;
        self.total += others.total;
        for (kind, count) in others.by_kind {
            *self.by_kind.entry(kind).or_default() += count;
        }
        let room = self.limit - self.problems.len();
        self.problems.extend(others.problems.into_iter().take(room));
    }

    /// Calls `read` with an empty collection.
    ///
    /// # Errors
    /// The problems it collects, or its own error.
    pub(crate) fn refuse<T>(read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut problems = Self::new(SHOWN);
        let value = read(&mut problems)?;
        match problems.ok {
            true => Ok(value),
            false => Err(DatasetError::Problems {
                problems: problems.problems,
                total: problems.total,
            }),
        }
    }
}

/// Numbers by name, in the order of their counting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    /// Adds `n` to the number `name`, which is there from now on, even if `n` is zero.
    pub(crate) fn add(&mut self, name: &'static str, n: usize) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += n as u64,
            None => self.0.push((name, n as u64)),
        }
    }

    /// Adds the words of a text.
    pub(crate) fn add_words(&mut self, text: &str) {
        self.add("words", text.split_whitespace().count());
    }

    /// Adds the numbers of another part.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (name, n) in other.iter() {
            self.add(name, n as usize);
        }
    }

    /// The number `name`, if it was counted.
    pub fn get(&self, name: &str) -> Option<u64> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, count)| *count)
    }

    /// All numbers with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().copied()
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, count) in &self.0 {
            map.serialize_entry(&name.replace(' ', "_"), count)?;
        }
        map.end()
    }
}
