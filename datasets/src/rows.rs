//! Rows of annotations about images: what the files of all tasks have in common.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{DatasetError, Result};
use crate::findings::{Counts, Defect, Kind, Problem, Problems};
use crate::images::{ImageSource, SharedImages};
use crate::records::Records;

/// A row of annotations about images.
pub trait Row: Sized {
    /// What its label is called.
    const LABEL: &'static str = "label";

    /// The row's own name, which no other row of the file may have.
    fn id(&self) -> Option<&str>;

    /// Whether it says what a model is to learn.
    fn is_labelled(&self) -> bool;

    /// Checks the row by itself, and against the first row of its file.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, first: &Self) -> Result<(), Defect>;

    /// Adds the rows of its images in `images` to `found`.
    ///
    /// # Errors
    /// If one of them is not there.
    fn find_images(&self, images: &dyn ImageSource, found: &mut Vec<usize>) -> Result<(), Defect>;

    /// Counts what it holds.
    fn count(&self, counts: &mut Counts);
}

/// Reads every row of `path`, a JSON array or JSON lines, plain or gzip.
///
/// # Errors
/// A file that is missing or damaged, or without any row; [`DatasetError::Problems`] with the first
/// wrong rows.
pub fn read_rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let rows = Problems::refuse(|problems| read(path, problems))?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// Reads every row of `path`, a JSON array or JSON lines, plain or gzip, with its number from 1;
/// rows that are wrong are left out.
///
/// # Errors
/// A file that is missing or damaged, or without any row.
pub(crate) fn read<T: DeserializeOwned>(
    path: &Path,
    problems: &mut Problems,
) -> Result<Vec<(usize, T)>> {
    parse(path, Records::open(path, &[])?, problems)
}

/// The same, of an opened file.
pub(crate) fn parse<T: DeserializeOwned>(
    path: &Path,
    records: Records,
    problems: &mut Problems,
) -> Result<Vec<(usize, T)>> {
    parse_keyed(path, records, problems, |_, _| {})
}

/// The same; `name` is called with the key of each row of an object of rows.
pub(crate) fn parse_keyed<T: DeserializeOwned>(
    path: &Path,
    mut records: Records,
    problems: &mut Problems,
    name: impl Fn(&str, &mut T),
) -> Result<Vec<(usize, T)>> {
    let (mut rows, mut any) = (Vec::new(), false);
    while let Some(record) = records.next()? {
        any = true;
        let number = record.number;
        match (record.parse(), record.key) {
            (Ok(mut row), Some(key)) => {
                name(key, &mut row);
                rows.push((number, row));
            }
            (Ok(row), None) => rows.push((number, row)),
            (Err(defect), Some(key)) => problems.push(Problem::of_key(path, key, defect)),
            (Err(defect), None) => problems.at_line(path, number, defect),
        }
    }
    match any {
        true => Ok(rows),
        false => Err(no_row(path)),
    }
}

/// The error about a file without rows.
pub(crate) fn no_row(path: &Path) -> DatasetError {
    DatasetError::malformed(path, "no row", "give at least one")
}

/// The rows of a file, each checked, with the images they are about.
#[derive(Clone)]
pub struct RowSet<R> {
    path: PathBuf,
    rows: Vec<R>,
    /// The number of each row in its file.
    numbers: Vec<u32>,
    /// What a row is called that is known by its id instead of its number.
    named: Option<&'static str>,
    source: Option<SharedImages>,
    /// Rows of the images in the source, those of all rows one after the other.
    images: Vec<u32>,
    /// Where those of each row end.
    ends: Vec<u32>,
}

impl<R: Row> RowSet<R> {
    /// Reads the rows of `path`, a JSON array or JSON lines, plain or gzip; the images they name
    /// must be in `images`.
    ///
    /// # Errors
    /// A file that is missing or damaged, or without any row; [`DatasetError::Problems`] with the
    /// first wrong rows.
    pub fn open(path: &Path, images: Option<SharedImages>) -> Result<Self>
    where
        R: DeserializeOwned,
    {
        Problems::refuse(|problems| Self::read(path, images, problems))
    }

    /// The same; what is wrong is added to `problems`, and the rows are those that are right.
    pub(crate) fn read(
        path: &Path,
        images: Option<SharedImages>,
        problems: &mut Problems,
    ) -> Result<Self>
    where
        R: DeserializeOwned,
    {
        let rows = read(path, problems)?;
        Ok(Self::new(path, rows, None, images, problems))
    }

    /// The good ones of `rows`, which have numbers in the file at `path`; `named` is what one is
    /// called where rows are known by their ids.
    pub(crate) fn new(
        path: &Path,
        rows: Vec<(usize, R)>,
        named: Option<&'static str>,
        source: Option<SharedImages>,
        problems: &mut Problems,
    ) -> Self {
        let mut set = Self {
            path: path.to_path_buf(),
            rows: Vec::with_capacity(rows.len()),
            numbers: Vec::with_capacity(rows.len()),
            named,
            images: Vec::new(),
            ends: Vec::with_capacity(rows.len()),
            source,
        };
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut found = Vec::new();
        for (number, row) in rows {
            let mut wrong = |defect| problems.push(set.place(number, row.id(), defect));
            let checked = row.check(set.rows.first().unwrap_or(&row));
            found.clear();
            let looked_up = match &set.source {
                Some(source) => row.find_images(&**source, &mut found),
                None => Ok(()),
            };
            let first = row
                .id()
                .and_then(|id| seen.insert(id.to_owned(), number).map(|first| (id, first)));
            let twice = first.map(|(id, first)| {
                let found = format!("the id {id} occurs in row {first} too");
                Defect::of(Kind::DuplicateKey, found).fix("give each row an id of its own")
            });
            let defects = [checked.err(), looked_up.err(), twice];
            if defects.iter().any(Option::is_some) {
                defects.into_iter().flatten().for_each(&mut wrong);
                continue;
            }
            set.images.extend(found.iter().map(|row| *row as u32));
            set.ends.push(set.images.len() as u32);
            set.numbers.push(number as u32);
            set.rows.push(row);
        }
        set
    }

    fn place(&self, number: usize, id: Option<&str>, defect: Defect) -> Problem {
        match (self.named, id) {
            (Some(_), Some(id)) => Problem::of_key(&self.path, id, defect),
            _ => Problem::at_line(&self.path, number, defect),
        }
    }

    /// Checks that all rows have a label, or none if `all` is not asked for.
    pub(crate) fn check_labels(&self, all: bool, problems: &mut Problems) {
        if !all && !self.rows.iter().any(Row::is_labelled) {
            return;
        }
        for index in (0..self.len()).filter(|index| !self.rows[*index].is_labelled()) {
            let defect = Defect::of(Kind::MissingAnnotation, format!("no `{}`", R::LABEL));
            problems.push(self.problem(index, defect.fix("give it, or drop the row")));
        }
    }

    /// Checks that all rows have a label, as training needs.
    ///
    /// # Errors
    /// The first rows that have none.
    pub fn require_labels(&self) -> Result<()> {
        Problems::refuse(|problems| {
            self.check_labels(true, problems);
            Ok(())
        })
    }

    /// Counts what the rows hold.
    pub(crate) fn count(&self, counts: &mut Counts) {
        counts.add("rows", self.len());
        self.rows.iter().for_each(|row| row.count(counts));
        let unlabelled = self.rows.iter().filter(|row| !row.is_labelled()).count();
        counts.add("rows without label", unlabelled);
        if let Some(source) = &self.source {
            let mut named = vec![false; source.len()];
            self.images
                .iter()
                .for_each(|row| named[*row as usize] = true);
            let count = named.iter().filter(|named| **named).count();
            counts.add("images named", count);
            counts.add("images that no row names", named.len() - count);
        }
    }

    /// The problem that row `index` has this defect.
    pub(crate) fn problem(&self, index: usize, defect: Defect) -> Problem {
        self.place(self.number(index), self.rows[index].id(), defect)
    }

    fn number(&self, index: usize) -> usize {
        self.numbers[index] as usize
    }

    /// The error that row `index` has this defect.
    pub fn refuse(&self, index: usize, defect: Defect) -> DatasetError {
        DatasetError::problem(self.problem(index, defect))
    }

    /// An error about row `index`.
    pub fn wrong(&self, index: usize, found: impl Into<String>, fix: &'static str) -> DatasetError {
        self.refuse(index, Defect::new(found, fix))
    }

    /// Where row `index` is, for messages: `dev.jsonl:17`.
    pub fn origin(&self, index: usize) -> String {
        let (path, id) = (self.path.display(), self.rows[index].id());
        match (self.named, id) {
            (Some(name), Some(id)) => format!("{path}: {name} {id}"),
            _ => format!("{path}:{}", self.number(index)),
        }
    }
}

impl<R> RowSet<R> {
    /// Whether rows are known by their ids: published files, whose rows have no line of their own.
    pub fn is_published(&self) -> bool {
        self.named.is_some()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rows in the source of the images that row `index` is about; none without a source.
    pub fn images(&self, index: usize) -> &[u32] {
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1],
        };
        &self.images[start as usize..self.ends[index] as usize]
    }

    /// The source of the images.
    pub fn source(&self) -> Option<&SharedImages> {
        self.source.as_ref()
    }

    /// Values per region; 0 without images.
    pub fn region_dim(&self) -> usize {
        self.source.as_ref().map_or(0, |source| source.region_dim())
    }

    /// Name of the extractor that found the regions, where their source names it.
    pub fn extractor(&self) -> Option<String> {
        self.source.as_ref()?.extractor().map(String::from)
    }

    /// The rows alone.
    pub fn into_rows(self) -> Vec<R> {
        self.rows
    }
}

impl<R> std::ops::Deref for RowSet<R> {
    type Target = [R];

    fn deref(&self) -> &[R] {
        &self.rows
    }
}

/// A key or an id: a text, or a whole number as its digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key(pub String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a whole number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
                Ok(Key(text.to_owned()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Key, E> {
                Ok(Key(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Key, E> {
                Ok(Key(number.to_string()))
            }

            // A column of ids with a gap becomes one of floats in pandas.
            fn visit_f64<E: Error>(self, number: f64) -> Result<Key, E> {
                match number.fract() == 0.0 && number.abs() < 9e15 {
                    true => Ok(Key((number as i64).to_string())),
                    false => Err(E::invalid_type(Unexpected::Float(number), &self)),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A label that is true or false: also as 1 or 0, and as the text of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truth(pub(crate) bool);

impl<'de> Deserialize<'de> for Truth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Truth;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false, or 1 or 0")
            }

            fn visit_bool<E: Error>(self, label: bool) -> Result<Truth, E> {
                Ok(Truth(label))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Truth, E> {
                match number {
                    0 | 1 => Ok(Truth(number == 1)),
                    _ => Err(E::invalid_type(Unexpected::Unsigned(number), &self)),
                }
            }

            // A column of labels with a gap becomes one of floats in pandas.
            fn visit_f64<E: Error>(self, number: f64) -> Result<Truth, E> {
                match number == 0.0 || number == 1.0 {
                    true => Ok(Truth(number == 1.0)),
                    false => Err(E::invalid_type(Unexpected::Float(number), &self)),
                }
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Truth, E> {
                // Tables become JSON with texts for numbers.
                let label = match word.to_ascii_lowercase().as_str() {
                    "true" | "1" | "1.0" => true,
                    "false" | "0" | "0.0" => false,
                    _ => return Err(E::invalid_type(Unexpected::Str(word), &self)),
                };
                Ok(Truth(label))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// Refuses a text that gives no token: blanks, control characters, and marks that are dropped with
/// accents. Punctuation alone is fine: published annotations have such texts.
///
/// # Errors
/// Names the text as `name`.
pub(crate) fn is_visible(name: &str, text: &str) -> Result<(), Defect> {
    let dropped = |c: char| {
        let mark = matches!(
            c,
            '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fffd}'
        );
        mark || c.is_whitespace() || c.is_control()
    };
    match text.chars().all(dropped) {
        false => Ok(()),
        true => Err(Defect::of(Kind::BlankText, format!("an empty `{name}`"))
            .fix("write it, or drop the row")),
    }
}

/// Refuses a text without letters and digits, which says nothing.
///
/// # Errors
/// Names the text as `name`.
pub(crate) fn has_words(name: &str, text: &str) -> Result<(), Defect> {
    is_visible(name, text)?;
    match text.chars().any(char::is_alphanumeric) {
        true => Ok(()),
        false => {
            let text = crate::error::excerpt(text);
            let found = format!("`{name}` is {text}, without any letter or digit");
            Err(Defect::of(Kind::BlankText, found).fix("write a text, or drop the row"))
        }
    }
}
