//! How results are printed.

mod evaluation;
mod plain;
mod table;

use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

pub use self::evaluation::{bar, json, print};
pub use self::plain::{Plain, escape, escape_line, quoted, stderr, stdout};
pub use self::table::{UNKNOWN, cells, print_table, thousands};

/// Refuses to write to `out`, which `flag` names, if it is one of the files that the command reads, by
/// whatever path.
///
/// # Errors
/// If it is.
pub fn refuse_input<P: AsRef<Path>>(
    flag: &str,
    out: &Path,
    inputs: impl IntoIterator<Item = P>,
) -> Result<()> {
    // What is not there yet is not read either.
    let Ok(place) = out.canonicalize() else {
        return Ok(());
    };
    let is_it = |input: P| {
        let input = input.as_ref().canonicalize();
        input.is_ok_and(|input| input == place)
    };
    match inputs.into_iter().any(is_it) {
        true => bail!(
            "{flag} {}: this file is read, and would be overwritten; give another name",
            out.display()
        ),
        false => Ok(()),
    }
}

/// Prints one JSON document on standard output.
///
/// # Errors
/// If it cannot be written.
pub fn print_json(document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    writeln!(stdout(), "{text}")?;
    Ok(())
}
