//! Captions by image.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use foldhash::{HashMap, HashMapExt};
use oscar_files::{FileError, TextFile, first_byte};

use super::json::{self, Problem, Row};
use super::tsv;
use crate::error::Result;

/// Longest caption in bytes; the cost of scoring grows with the square of the length.
const MAX_BYTES: usize = 16 << 10;

const CANDIDATES: &str = "give captions as JSON `[{\"image_id\": …, \"caption\": …}]`, as such objects \
     one a line, or as lines of an image key, a tab, and JSON `[{\"caption\": …}]`";

const REFERENCES: &str = "give annotations in COCO's form: `{\"images\": [{\"id\": …}], \
     \"annotations\": [{\"image_id\": …, \"caption\": …}]}`, or captions by image id: \
     `{\"7\": [\"a dog\"]}`";

/// What to do about several captions of one image.
pub(super) const ONE_EACH: &str = "give one caption for each image";

/// One caption for each image, to be scored.
#[derive(Debug, Default)]
pub struct Candidates {
    pub(crate) images: Vec<(String, String)>,
}

/// The reference captions of each image.
#[derive(Debug, Default)]
pub struct References {
    /// Images in the order of the file.
    pub(crate) images: Vec<(String, Vec<String>)>,
    pub(crate) places: HashMap<String, usize>,
}

impl Candidates {
    /// Reads COCO's results (`[{"image_id": …, "caption": …}]`), the same objects one a line, captions
    /// by image id (`{"7": "a dog"}`), or the official code's prediction file (lines of an image
    /// key, a tab, and JSON `[{"caption": …, "conf": …}]`); plain or gzip.
    /// An image id is a number or a text. An empty caption is one, and scores nothing.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is neither, names an image twice, or has a caption of over 16 KiB.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |problem| wrong_file(path, problem, CANDIDATES);
        Ok(Self::parse_content(TextFile::open(path)?).map_err(wrong)?)
    }

    /// [`read`](Self::read) for the content of a file; the error says what was found.
    pub fn parse(reader: impl Read) -> Result<Self, String> {
        Self::parse_content(reader).map_err(|problem| problem.found)
    }

    fn parse_content(reader: impl Read) -> Result<Self, Problem> {
        let mut reader = BufReader::new(reader);
        let found = match first(&mut reader)? {
            b'[' => Self::of_rows(numbered(json::parse::<Vec<Row>>(reader)?)),
            b'{' => Self::of_rows(json::objects(&json::text(reader)?)?.into_iter()),
            _ => Self::of_rows(tsv::rows(reader)?.into_iter()),
        }?;
        match found.is_empty() {
            true => Err("no caption".into()),
            false => Ok(found),
        }
    }

    /// Captions by image id.
    ///
    /// # Errors
    ///
    /// An id occurs twice, or a caption is too long.
    pub fn of(captions: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let rows = numbered(captions.into_iter().map(Row::from));
        Self::of_rows(rows).map_err(|problem| problem.found)
    }

    fn of_rows(rows: impl Iterator<Item = (usize, Row)>) -> Result<Self, Problem> {
        let mut found = Self::default();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (number, row) in rows {
            let row = row.check(number)?;
            if let Some(first) = seen.insert(row.image_id.clone(), number) {
                let id = excerpt(&row.image_id);
                let found = format!("image {id} has a caption in row {first} and in row {number}");
                return Err(Problem::new(found, ONE_EACH));
            }
            found.images.push((row.image_id, row.caption));
        }
        Ok(found)
    }

    /// Renames images for which `other` gives another name; how many.
    pub fn rename(&mut self, other: impl Fn(&str) -> Option<String>) -> usize {
        let mut renamed = 0;
        for (id, _) in &mut self.images {
            if let Some(name) = other(id) {
                *id = name;
                renamed += 1;
            }
        }
        renamed
    }

    /// The ids of the images.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.images.iter().map(|(id, _)| id.as_str())
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }
}

impl References {
    /// Renames each image by `name`, unless two would have one name.
    pub fn rename(&mut self, name: impl Fn(&str) -> String) {
        let mut places = HashMap::new();
        for (place, (id, _)) in self.images.iter().enumerate() {
            places.insert(name(id), place);
        }
        if places.len() == self.images.len() {
            for (id, _) in &mut self.images {
                *id = name(id);
            }
            self.places = places;
        }
    }

    /// Whether there is an image of this id.
    pub fn has(&self, id: &str) -> bool {
        self.places.contains_key(id)
    }

    /// Reads COCO's annotations (`{"images": [{"id": …}], "annotations": [{"image_id": …,
    /// "caption": …}]}`), the list of annotations alone, or captions by image id (`{"7": ["a dog"]}`);
    /// plain or gzip.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is neither, or has a caption of over 16 KiB.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |problem| wrong_file(path, problem, REFERENCES);
        Ok(Self::parse_content(TextFile::open(path)?).map_err(wrong)?)
    }

    /// [`read`](Self::read) for the content of a file; the error says what was found.
    pub fn parse(reader: impl Read) -> Result<Self, String> {
        Self::parse_content(reader).map_err(|problem| problem.found)
    }

    fn parse_content(reader: impl Read) -> Result<Self, Problem> {
        let mut reader = BufReader::new(reader);
        let mut found = Self::default();
        match first(&mut reader)? {
            b'[' => found.add(numbered(json::parse::<Vec<Row>>(reader)?))?,
            b'{' => {
                let json::Annotations {
                    images,
                    annotations,
                } = json::annotations(reader)?;
                for image in images {
                    found.push(image.id, None);
                }
                found.add(numbered(annotations))?;
            }
            _ => return Err("it is not JSON".into()),
        }
        match found.is_empty() {
            true => Err("no image".into()),
            false => Ok(found),
        }
    }

    /// References by image id, in any order.
    ///
    /// # Errors
    ///
    /// A caption is too long.
    pub fn of(captions: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let mut found = Self::default();
        let added = found.add(numbered(captions.into_iter().map(Row::from)));
        added.map_err(|problem| problem.found)?;
        Ok(found)
    }

    /// References of images, which may have none.
    ///
    /// # Errors
    ///
    /// A caption is too long.
    pub fn of_images(
        images: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Result<Self, String> {
        let mut found = Self::default();
        for (id, captions) in images {
            found.push(id.clone(), None);
            let rows = captions
                .into_iter()
                .map(|caption| Row::from((id.clone(), caption)));
            found.add(numbered(rows)).map_err(|problem| problem.found)?;
        }
        Ok(found)
    }

    fn add(&mut self, rows: impl Iterator<Item = (usize, Row)>) -> Result<(), Problem> {
        for (number, row) in rows {
            let row = row.check(number)?;
            self.push(row.image_id, Some(row.caption));
        }
        Ok(())
    }

    /// Number of images, including those without a reference.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    fn push(&mut self, image: String, caption: Option<String>) {
        let place = match self.places.get(&image) {
            Some(&place) => place,
            None => {
                self.places.insert(image.clone(), self.images.len());
                self.images.push((image, Vec::new()));
                self.images.len() - 1
            }
        };
        self.images[place].1.extend(caption);
    }
}

/// The error of a file; `form` is advised where the form is wrong, and nowhere else.
fn wrong_file(path: &Path, problem: Problem, form: &'static str) -> FileError {
    FileError::malformed(path, problem.found, problem.fix.unwrap_or(form))
}

/// Rows with their numbers, from 1.
fn numbered(rows: impl IntoIterator<Item = Row>) -> impl Iterator<Item = (usize, Row)> {
    (1..).zip(rows)
}

/// The first byte that is not white space.
fn first(reader: &mut impl BufRead) -> Result<u8, String> {
    let first = first_byte(reader).map_err(|error| error.to_string())?;
    first.ok_or_else(|| "an empty file".into())
}

impl From<(String, String)> for Row {
    fn from((image_id, caption): (String, String)) -> Self {
        Self { image_id, caption }
    }
}

impl Row {
    /// The row, unless its caption is too long.
    fn check(self, number: usize) -> Result<Self, Problem> {
        let bytes = self.caption.len();
        if bytes > MAX_BYTES {
            let id = excerpt(&self.image_id);
            let found = format!(
                "row {number}: a caption of {bytes} bytes for image {id}, more than the {MAX_BYTES} that \
                 are scored"
            );
            return Err(Problem::new(found, "shorten it, or remove it"));
        }
        Ok(self)
    }
}

/// The beginning of a text, quoted.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The number of items, and the first of them.
pub(crate) fn some_of<T: Display>(ids: &[T]) -> String {
    let first: Vec<String> = ids
        .iter()
        .take(5)
        .map(|id| excerpt(&id.to_string()))
        .collect();
    let more = if ids.len() > first.len() { ", …" } else { "" };
    format!("{} ({}{more})", ids.len(), first.join(", "))
}
