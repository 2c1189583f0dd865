//! Keys of many rows, found by binary search.

use std::path::Path;

use rayon::prelude::*;

use crate::error::Result;
use crate::keys::{self, Other};

/// Rows handed to a thread at a time.
const CHUNK: usize = 4096;

/// The keys of a file's rows: the texts themselves and twelve bytes a row.
#[derive(Debug, Default)]
pub struct KeyIndex {
    bytes: Vec<u8>,
    /// Where each key ends in `bytes`.
    ends: Vec<u64>,
    /// Rows by ascending key.
    sorted: Vec<u32>,
}

impl KeyIndex {
    /// Indexes rows `0..rows`, whose keys `key` reads, on all cores.
    ///
    /// Keys may occur twice: see [`repeated`](Self::repeated). There are at most 4,294,967,295
    /// rows.
    ///
    /// # Errors
    /// The first error of `key`.
    pub(crate) fn build<'a>(
        rows: usize,
        key: impl Fn(usize) -> Result<&'a str> + Sync,
    ) -> Result<Self> {
        let starts: Vec<usize> = (0..rows).step_by(CHUNK).collect();
        let chunks: Vec<Result<(Vec<u8>, Vec<usize>)>> = starts
            .into_par_iter()
            .map(|start| {
                let (mut bytes, mut ends) = (Vec::new(), Vec::new());
                for row in start..(start + CHUNK).min(rows) {
                    bytes.extend_from_slice(key(row)?.as_bytes());
                    ends.push(bytes.len());
                }
                Ok((bytes, ends))
            })
            .collect();
        let mut index = Self::default();
        for chunk in chunks {
            let (bytes, ends) = chunk?;
            let start = index.bytes.len() as u64;
            index
                .ends
                .extend(ends.iter().map(|end| start + *end as u64));
            index.bytes.extend(bytes);
        }
        index.sort();
        Ok(index)
    }

    fn sort(&mut self) {
        let mut sorted: Vec<u32> = (0..self.len() as u32).collect();
        sorted.par_sort_unstable_by(|a, b| {
            let keys = (self.key_bytes(*a as usize), self.key_bytes(*b as usize));
            keys.0.cmp(keys.1).then(a.cmp(b))
        });
        self.sorted = sorted;
    }

    /// The earliest row that repeats a key, and the row it repeats.
    pub(crate) fn repeated(&self) -> Option<(usize, usize)> {
        let twins = self
            .sorted
            .windows(2)
            .filter(|pair| self.key_bytes(pair[0] as usize) == self.key_bytes(pair[1] as usize));
        let earliest = twins.min_by_key(|pair| pair[1])?;
        Some((earliest[0] as usize, earliest[1] as usize))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The key of row `row`, which must be below [`len`](Self::len).
    pub fn key(&self, row: usize) -> &str {
        // It was a text when it was added.
        std::str::from_utf8(self.key_bytes(row)).unwrap_or_default()
    }

    /// The keys, by row.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(move |row| self.key(row))
    }

    /// The row with this key.
    pub fn find(&self, key: &str) -> Option<usize> {
        let found = self
            .sorted
            .binary_search_by(|row| self.key_bytes(*row as usize).cmp(key.as_bytes()));
        found.ok().map(|at| self.sorted[at] as usize)
    }

    /// The row with this key, or with one that other files write for it: see [`keys`](crate::keys).
    /// `path` is of the file.
    pub(crate) fn find_otherwise(&self, path: &Path, key: &str) -> Option<usize> {
        self.find(key).or_else(
            || match keys::find_otherwise(key, |other| self.find(other)) {
                Other::One(row, spelling) => {
                    keys::tell(path, key, &spelling);
                    Some(row)
                }
                _ => None,
            },
        )
    }

    /// How many keys of `self` `other` lacks, and the first of them in order of the keys.
    pub(crate) fn missing_from(&self, other: &Self) -> (usize, Option<&str>) {
        let mut theirs = other.sorted.iter().peekable();
        let (mut missing, mut first) = (0, None);
        for &row in &self.sorted {
            let key = self.key_bytes(row as usize);
            while theirs
                .next_if(|row| other.key_bytes(**row as usize) < key)
                .is_some()
            {}
            let there = theirs
                .peek()
                .is_some_and(|row| other.key_bytes(**row as usize) == key);
            if !there {
                missing += 1;
                first = first.or(Some(self.key(row as usize)));
            }
        }
        (missing, first)
    }

    fn key_bytes(&self, row: usize) -> &[u8] {
        let start = match row {
            0 => 0,
            _ => self.ends[row - 1] as usize,
        };
        &self.bytes[start..self.ends[row] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(keys: &[String]) -> KeyIndex {
        KeyIndex::build(keys.len(), |row| Ok(keys[row].as_str())).unwrap()
    }

    #[test]
    fn finds_every_key() {
        let keys: Vec<String> = (0..10_000u64)
            .map(|n| format!("k{}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
            .collect();
        let built = index(&keys);
        for (row, key) in keys.iter().enumerate() {
            assert_eq!((built.find(key), built.key(row)), (Some(row), key.as_str()));
        }
        assert_eq!((built.find("k"), built.find("l")), (None, None));
        let some = index(&keys[..9_998]);
        assert_eq!(some.missing_from(&built), (0, None));
        let mut lacking = [keys[9_998].as_str(), keys[9_999].as_str()];
        lacking.sort_unstable();
        assert_eq!(built.missing_from(&some), (2, Some(lacking[0])));
    }

    #[test]
    fn names_the_first_repeated_key() {
        let keys = ["b", "c", "a", "c", "a"].map(String::from);
        assert_eq!(index(&keys).repeated(), Some((1, 3)));
        assert_eq!(index(&keys[..3]).repeated(), None);
        assert_eq!(index(&[]).len(), 0);
    }
}
