//! Text files, plain or compressed by gzip.

use std::path::Path;

use oscar_files::{TextFile, is_system_file};

use crate::error::{DatasetError, Result};

const HINT: &str = "it is a text file, plain or compressed by gzip; check the path";

/// What to do with a directory of parts, as GQA's train_all_questions.
const JOIN: &str = "give its files one by one where several are taken, or join them into one: \
                    jq -s add DIR/*.json";

/// Opens `path`, decompressing it if it begins as gzip does.
///
/// # Errors
/// A missing or unreadable file; a directory, whose files are told if they are JSON.
pub fn open_text(path: &Path) -> Result<TextFile> {
    TextFile::open(path).map_err(|error| match parts(path) {
        Some(found) => DatasetError::malformed(path, found, JOIN),
        None => DatasetError::missing(HINT)(error),
    })
}

/// What JSON files are in the directory `path`, if it is one and has some.
fn parts(path: &Path) -> Option<String> {
    let entries = path.read_dir().ok()?.flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names
        .filter(|name| name.ends_with(".json") && !is_system_file(name))
        .collect();
    names.sort();
    let first = names.first()?;
    Some(format!(
        "it is a directory of {} JSON file(s), the first is {first}",
        names.len()
    ))
}
