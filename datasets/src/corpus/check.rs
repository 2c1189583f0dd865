//! Checks every row of a corpus when it is opened, on all cores.

use std::path::Path;

use rayon::prelude::*;

use crate::error::{DatasetError, Result};
use crate::findings::{Defect, Kind, Problems};

/// Rows checked by one thread at a time.
const CHUNK: usize = 4096;

/// Chunks whose results are in memory at a time: what is wrong with a row may take more than the row.
const AT_A_TIME: usize = 64;

/// Longer lines are not texts but damage.
pub(super) const MAX_LINE: usize = 1 << 20;

/// What `check` finds in each of the `rows` rows of `path`, in order, without the wrong ones, which
/// are added to `problems`; `state` is kept from row to row of a chunk, and those of all chunks are
/// returned too.
///
/// # Errors
/// No row, or more than fit into 32 bits.
pub(super) fn check_rows<T: Send, S: Send + Default>(
    path: &Path,
    rows: usize,
    problems: &mut Problems,
    check: impl Fn(&mut S, usize) -> Result<T, Defect> + Sync,
) -> Result<(Vec<T>, Vec<S>)> {
    if rows == 0 || rows > u32::MAX as usize {
        let found = format!("a corpus of {rows} rows");
        let fix = "give 1 to 4,294,967,295 rows";
        return Err(DatasetError::malformed(path, found, fix));
    }
    let starts: Vec<usize> = (0..rows).step_by(CHUNK).collect();
    let (mut found, mut states) = (Vec::new(), Vec::new());
    for starts in starts.chunks(AT_A_TIME) {
        let empty = &*problems;
        let chunks: Vec<(Vec<T>, S, Problems)> = starts
            .par_iter()
            .map(|start| {
                let (mut found, mut state, mut problems) = (Vec::new(), S::default(), empty.like());
                for index in *start..(start + CHUNK).min(rows) {
                    match check(&mut state, index) {
                        Ok(row) => found.push(row),
                        Err(defect) => problems.at_line(path, index + 1, defect),
                    }
                }
                (found, state, problems)
            })
            .collect();
        for (its_found, state, its_problems) in chunks {
            found.extend(its_found);
            states.push(state);
            problems.extend(its_problems);
        }
    }
    Ok((found, states))
}

/// Refuses a line that is too long to be a row.
pub(super) fn check_length(bytes: u64) -> Result<(), Defect> {
    // The newline is not counted.
    match bytes > MAX_LINE as u64 + 2 {
        false => Ok(()),
        true => {
            let found = format!("a line of {bytes} bytes");
            let fix = "rows may have up to 1,048,576 bytes: split or drop it";
            Err(Defect::of(Kind::Json, found).fix(fix))
        }
    }
}
