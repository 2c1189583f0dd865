//! How results are printed.

mod evaluation;

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

pub use self::evaluation::{bar, json, print};

/// Prints one JSON document on standard output.
pub fn print_json(document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// `111,684,668`
pub fn thousands(number: impl ToString) -> String {
    let digits = number.to_string();
    let mut output = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            output.push(',');
        }
        output.push(digit);
    }
    output
}
