//! How results are printed.

mod evaluation;
mod plain;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Serialize;

pub use self::evaluation::{bar, json, print};
pub use self::plain::{Plain, escape_line, escape_message, quoted, stderr, stdout};
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

/// Checks that a file can be put at `out`, which `flag` names, before anything is computed for it.
///
/// A file that is there already stays, unless `overwrite`: nobody can tell predictions or a drawing of this
/// program from those of another. An empty file does not count, as an empty directory does not.
///
/// # Errors
/// If there is one, or no directory to put it in.
pub fn check_out(flag: &str, out: &Path, overwrite: bool) -> Result<()> {
    let folder = out.parent().filter(|path| !path.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|path| !path.is_dir()) {
        bail!(
            "{flag} {}: there is no directory {}; make it, or give another name",
            out.display(),
            folder.display()
        );
    }
    // What is no file, a link for instance, is refused by whoever writes, whatever is allowed here.
    let is_taken = out
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
    match is_taken && !overwrite {
        true => bail!(
            "{flag} {}: this file exists; give another name, or --overwrite to replace it",
            out.display()
        ),
        false => Ok(()),
    }
}

/// The first of `paths` that leads to the same place as one before it.
pub fn repeated(paths: &[PathBuf]) -> Option<&PathBuf> {
    let place = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let places: Vec<PathBuf> = paths.iter().map(place).collect();
    let at = (1..places.len()).find(|at| places[..*at].contains(&places[*at]))?;
    paths.get(at)
}

/// A path in a document, as messages show it: JSON has no form for a name that is not UTF-8.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
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
