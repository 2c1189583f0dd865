//! `imageid2idx.json` and `QA_qaid2idx.json`: which row of a table an id stands in.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use rayon::slice::ParallelSliceMut;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::error::{DatasetError, Result};
use crate::mapped::map_file;

const HINT: &str = "it says which row of the table beside it an id stands in";
const FIX: &str = "it belongs to another version of the table beside it; copy both again";

/// Rows of a table, by id.
///
/// Held only while a corpus is opened: the ids themselves and sixteen bytes each.
pub(super) struct IdMap {
    path: PathBuf,
    /// All ids, one after the other.
    text: String,
    /// Where an id ends in `text`, and its row; by ascending id.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    start: u64,
    len: u32,
    row: u32,
}

impl Entry {
    fn id<'a>(&self, text: &'a str) -> &'a str {
        let start = self.start as usize;
        &text[start..start + self.len as usize]
    }
}

impl IdMap {
    /// Reads the file at `path`, whose rows are those of a table of `rows` rows.
    ///
    /// # Errors
    /// A file that is not there or not a JSON object of ids and rows; a row that the table does not
    /// have; an id that stands there twice.
    pub(super) fn open(path: &Path, rows: usize) -> Result<Self> {
        let map = map_file(path, HINT)?;
        let wrong = |found: String| DatasetError::malformed(path, found, FIX);
        let mut parser = serde_json::Deserializer::from_slice(&map);
        let parsed = parser
            .deserialize_map(Ids)
            .and_then(|ids| parser.end().map(|()| ids));
        let (text, mut entries) = parsed
            .map_err(|error| wrong(format!("not a JSON object of ids and row numbers: {error}")))?;
        if let Some(entry) = entries.iter().find(|entry| entry.row as usize >= rows) {
            let found = format!(
                "id {:?} stands in row {}, but the table has {rows} rows",
                entry.id(&text),
                entry.row
            );
            return Err(wrong(found));
        }
        entries.par_sort_unstable_by(|a, b| a.id(&text).cmp(b.id(&text)));
        let twins = entries
            .windows(2)
            .find(|pair| pair[0].id(&text) == pair[1].id(&text));
        if let Some(pair) = twins {
            return Err(wrong(format!(
                "id {:?} stands there twice",
                pair[0].id(&text)
            )));
        }
        Ok(Self {
            path: path.to_path_buf(),
            text,
            entries,
        })
    }

    /// The row of `id`.
    ///
    /// # Errors
    /// If it is not there, without file and row.
    pub(super) fn row(&self, id: &str) -> Result<u32, String> {
        let at = self
            .entries
            .binary_search_by(|entry| entry.id(&self.text).cmp(id));
        match at {
            Ok(at) => Ok(self.entries[at].row),
            Err(_) => Err(format!(
                "id {id:?} is not in {}; drop the row, or bring the whole file",
                self.path.display()
            )),
        }
    }
}

/// Collects ids into one text.
struct Ids;

impl<'de> Visitor<'de> for Ids {
    type Value = (String, Vec<Entry>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object such as {\"1907\": 0}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut text, mut entries) = (String::new(), Vec::new());
        while let Some((Id(id), row)) = map.next_entry::<Id<'_>, u32>()? {
            entries.push(Entry {
                start: text.len() as u64,
                len: id.len() as u32,
                row,
            });
            text.push_str(&id);
        }
        Ok((text, entries))
    }
}

#[derive(Deserialize)]
struct Id<'a>(#[serde(borrow)] Cow<'a, str>);
