//! What a check found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Kind;
use super::problem::{Finding, Problem};
use crate::error::DatasetError;

/// What was read, and what is wrong with it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// What was read, path by path.
    pub checked: Vec<Checked>,
    /// The first problems.
    pub problems: Vec<Problem>,
    /// How many problems there are altogether.
    pub total: usize,
    /// How many of each kind.
    pub by_kind: BTreeMap<Kind, usize>,
    #[serde(skip)]
    limit: usize,
}

/// A file or directory that was read.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The file or directory.
    pub path: PathBuf,
    /// Its format.
    pub format: &'static str,
    /// What it holds.
    pub counts: Counts,
    /// What could not be told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Numbers by name, in the order of their counting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    /// Adds `n` to the number `name`, which is there from now on, even if `n` is zero.
    pub fn add(&mut self, name: &'static str, n: usize) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += n as u64,
            None => self.0.push((name, n as u64)),
        }
    }

    /// Adds the numbers of another part.
    pub fn extend(&mut self, other: &Self) {
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

impl Report {
    /// An empty report that will list at most `limit` problems, and count all.
    pub fn new(limit: usize) -> Self {
        Self {
            ok: true,
            checked: Vec::new(),
            problems: Vec::new(),
            total: 0,
            by_kind: BTreeMap::new(),
            limit,
        }
    }

    /// Adds a problem.
    pub fn push(&mut self, problem: Problem) {
        self.ok = false;
        self.total += 1;
        *self.by_kind.entry(problem.kind).or_default() += 1;
        if self.problems.len() < self.limit {
            self.problems.push(problem);
        }
    }

    /// Adds a problem of line `line` of `file`.
    pub fn at_line(&mut self, file: &Path, line: usize, finding: Finding) {
        self.push(Problem::at_line(file, line, finding));
    }

    /// Adds what kept `file` from being read.
    pub(crate) fn error(&mut self, file: &Path, error: &DatasetError) {
        self.push(Problem::from_error(file, error));
    }

    /// Adds what was read.
    pub fn checked(&mut self, path: &Path, format: &'static str, counts: Counts) -> &mut Checked {
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
