//! How results are printed.

mod evaluation;
mod table;

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

pub use self::evaluation::{bar, json, print};
pub use self::table::{UNKNOWN, cells, print_table, thousands};

/// Prints one JSON document on standard output.
///
/// # Errors
/// If it cannot be written.
pub fn print_json(document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
