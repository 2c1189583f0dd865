//! How results are printed.

mod evaluation;
mod plain;
mod table;

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

pub use self::evaluation::{bar, json, print};
pub use self::plain::{Plain, escape, escape_line, quoted, stderr, stdout};
pub use self::table::{UNKNOWN, cells, print_table, thousands};

/// Prints one JSON document on standard output.
///
/// # Errors
/// If it cannot be written.
pub fn print_json(document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    writeln!(stdout(), "{text}")?;
    Ok(())
}
