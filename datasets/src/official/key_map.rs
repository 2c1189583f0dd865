//! JSON files that say where an image's row is: `imageid2idx.json` (key to row) and
//! `*_offset_map.json` (key to byte offset).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};

use super::KeyIndex;
use crate::error::{DatasetError, Result};
use crate::findings::Defect;

const FIX: &str = "it belongs to another version of the feature file: delete it, and it is not \
                   needed to read the file";

/// Keys with a number each, in file order; the keys lie one after the other in one text.
#[derive(Debug, Default)]
pub struct KeyMap {
    text: String,
    ends: Vec<usize>,
    numbers: Vec<u64>,
}

/// Reads a JSON object of keys with whole numbers.
///
/// # Errors
/// Anything else.
pub fn parse_key_map(json: &[u8]) -> Result<KeyMap, Defect> {
    let mut parser = serde_json::Deserializer::from_slice(json);
    let parsed = parser.deserialize_map(Entries);
    let map = parsed.and_then(|map| parser.end().map(|()| map));
    map.map_err(|error| {
        let found = format!("not a JSON object of keys and whole numbers ({error})");
        Defect::new(found, FIX)
    })
}

impl KeyMap {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Key and number of entry `entry`, which must be below [`len`](Self::len).
    pub fn get(&self, entry: usize) -> (&str, u64) {
        let start = match entry {
            0 => 0,
            _ => self.ends[entry - 1],
        };
        (&self.text[start..self.ends[entry]], self.numbers[entry])
    }

    /// The numbers, ascending.
    pub(super) fn sorted_numbers(&self) -> Vec<u64> {
        let mut numbers = self.numbers.clone();
        numbers.sort_unstable();
        numbers
    }

    /// The keys of rows `0..rows`; `row_of` turns a number into a row.
    ///
    /// # Errors
    /// Unless every row has exactly one key, and every key one row.
    pub(super) fn index(
        &self,
        rows: usize,
        row_of: impl Fn(u64) -> Option<usize>,
    ) -> Result<KeyIndex, Defect> {
        const NONE: u32 = u32::MAX;
        let mut entry_of = vec![NONE; rows];
        for entry in 0..self.len() {
            let (key, number) = self.get(entry);
            let row = row_of(number).filter(|row| *row < rows).ok_or_else(|| {
                let found =
                    format!("`{key}` is {number}, where the file of {rows} rows has no row");
                Defect::new(found, FIX)
            })?;
            if entry_of[row] != NONE {
                let (other, _) = self.get(entry_of[row] as usize);
                let found = format!("`{other}` and `{key}` are both {number}");
                return Err(Defect::new(found, FIX));
            }
            entry_of[row] = entry as u32;
        }
        if let Some(row) = entry_of.iter().position(|entry| *entry == NONE) {
            let found = format!(
                "{} keys for {rows} rows: row {} has none",
                self.len(),
                row + 1
            );
            return Err(Defect::new(found, FIX));
        }
        let key = |row: usize| Ok(self.get(entry_of[row] as usize).0);
        let index = KeyIndex::build(rows, key)
            .map_err(|error: DatasetError| Defect::new(error.to_string(), FIX))?;
        match index.repeated() {
            None => Ok(index),
            Some((first, _)) => Err(Defect::new(
                format!("image `{}` is there twice", index.key(first)),
                FIX,
            )),
        }
    }
}

/// Collects the entries without a text of its own for each.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = KeyMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<KeyMap, A::Error> {
        let mut map = KeyMap::default();
        while let Some((Key(key), number)) = entries.next_entry::<Key<'de>, u64>()? {
            map.text.push_str(key.trim());
            map.ends.push(map.text.len());
            map.numbers.push(number);
        }
        Ok(map)
    }
}

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> String {
        let index = parse_key_map(json.as_bytes())
            .and_then(|map| map.index(2, |number| Some(number as usize)));
        index.unwrap_err().found
    }

    #[test]
    fn keys_and_rows() {
        let map = parse_key_map(br#"{"b": 1, "a\u00e9": 0}"#).unwrap();
        assert_eq!(
            (map.len(), map.get(0), map.get(1)),
            (2, ("b", 1), ("aé", 0))
        );
        let index = map.index(2, |number| Some(number as usize)).unwrap();
        assert_eq!((index.key(0), index.key(1)), ("aé", "b"));
        assert_eq!(index.find("b"), Some(1));
    }

    #[test]
    fn maps_of_another_file() {
        for (json, wanted) in [
            (r#"{"a": 0}"#, "1 keys for 2 rows: row 2 has none"),
            (
                r#"{"a": 0, "b": 2}"#,
                "`b` is 2, where the file of 2 rows has no row",
            ),
            (r#"{"a": 1, "b": 1}"#, "`a` and `b` are both 1"),
            (r#"{"a": 1, "a": 0}"#, "image `a` is there twice"),
            (r#"{"a": "1"}"#, "not a JSON object"),
            (r#"{"a": -1}"#, "not a JSON object"),
            (r#"{"a": 0} 1"#, "trailing characters"),
            ("[1]", "not a JSON object"),
            ("", "not a JSON object"),
        ] {
            let found = problem(json);
            assert!(found.contains(wanted), "{json}: {found}");
        }
    }
}
