//! Checks every row of a corpus when it is opened, on all cores.

use std::path::Path;

use rayon::prelude::*;

use crate::error::{DatasetError, Result, excerpt};

/// How many wrong rows an error shows; the others are counted.
const SHOWN: usize = 20;

/// Rows checked by one thread at a time.
const CHUNK: usize = 4096;

/// Longer lines are not texts but damage.
pub(super) const MAX_LINE: usize = 1 << 20;

/// What `check` found in each of the `rows` rows of `path`, in order; `state` is kept from row to
/// row of a chunk, and those of all chunks are returned too.
///
/// # Errors
/// No row, or more than fit into 32 bits; [`DatasetError::Corpus`] with the first problems.
pub(super) fn check_rows<T: Send, S: Send + Default>(
    path: &Path,
    rows: usize,
    check: impl Fn(&mut S, usize) -> Result<T, String> + Sync,
) -> Result<(Vec<T>, Vec<S>)> {
    if rows == 0 || rows > u32::MAX as usize {
        let found = format!("a corpus of {rows} rows");
        return Err(DatasetError::malformed(
            path,
            found,
            "give 1 to 4,294,967,295 rows",
        ));
    }
    let starts: Vec<usize> = (0..rows).step_by(CHUNK).collect();
    let chunks: Vec<Checked<T, S>> = starts
        .into_par_iter()
        .map(|start| {
            let mut checked = Checked::default();
            for index in start..(start + CHUNK).min(rows) {
                let found = check(&mut checked.state, index);
                checked.add(path, index, found);
            }
            checked
        })
        .collect();

    let mut found = Vec::with_capacity(rows);
    let (mut states, mut problems, mut total) = (Vec::new(), Vec::new(), 0);
    for chunk in chunks {
        found.extend(chunk.found);
        states.push(chunk.state);
        let room = SHOWN - problems.len();
        problems.extend(chunk.problems.into_iter().take(room));
        total += chunk.total;
    }
    match total {
        0 => Ok((found, states)),
        _ => Err(DatasetError::Corpus {
            path: path.to_path_buf(),
            problems,
            total,
        }),
    }
}

/// What was learned from one chunk of rows.
struct Checked<T, S> {
    found: Vec<T>,
    state: S,
    problems: Vec<String>,
    total: usize,
}

impl<T, S: Default> Default for Checked<T, S> {
    fn default() -> Self {
        Self {
            found: Vec::new(),
            state: S::default(),
            problems: Vec::new(),
            total: 0,
        }
    }
}

impl<T, S> Checked<T, S> {
    fn add(&mut self, path: &Path, index: usize, found: Result<T, String>) {
        match found {
            Ok(found) => self.found.push(found),
            Err(problem) => {
                self.total += 1;
                if self.problems.len() < SHOWN {
                    self.problems
                        .push(format!("{}:{}: {problem}", path.display(), index + 1));
                }
            }
        }
    }
}

/// Refuses a line that is too long to be a row.
pub(super) fn check_length(line: &[u8]) -> Result<(), String> {
    match line.len() > MAX_LINE {
        false => Ok(()),
        true => Err(format!(
            "a line of {} bytes; rows may have up to {MAX_LINE} bytes, split or drop it",
            line.len()
        )),
    }
}

/// Refuses a text of which no token would be left.
pub(super) fn has_words(name: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err(format!("an empty `{name}`; write it or drop the row"));
    }
    if !text.chars().any(char::is_alphanumeric) {
        return Err(format!(
            "`{name}` is {}, without any letter or digit; write a text or drop the row",
            excerpt(text)
        ));
    }
    Ok(())
}
