//! Directories that know what is in them: the length and the CRC-32 of each file.
//!
//! A disk or a copy that loses bits changes weights without a trace: a training that resumes from them
//! is another one. The checksums are against such damage, not against someone who wants to deceive.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{FileError, SMALL_FILE, for_each_piece, inside, open_regular, read_file, write_json};

/// Name of the list.
pub const CHECKSUMS_FILE: &str = "checksums.json";

const FIX: &str = "copy the directory again, or use another one";

#[derive(Serialize, Deserialize)]
struct Checksums {
    version: u32,
    files: BTreeMap<String, Checksum>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Checksum {
    bytes: u64,
    crc32: u32,
}

/// Writes the checksums of all files directly in `directory` beside them.
///
/// # Errors
///
/// If a file cannot be read, or the list cannot be written.
pub fn write_checksums(directory: &Path) -> Result<(), FileError> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(FileError::io("list", directory))? {
        let entry = entry.map_err(FileError::io("list", directory))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && name != CHECKSUMS_FILE && !name.starts_with('.') {
            files.insert(name, checksum(&entry.path())?);
        }
    }
    let list = Checksums { version: 1, files };
    write_json(&directory.join(CHECKSUMS_FILE), &list)
}

/// Checks the files in `directory` against their checksums; false if it has none, as those of earlier
/// versions.
///
/// # Errors
///
/// [`FileError::Malformed`] that names the first file that is missing or has changed; the system's
/// reason if one cannot be read.
pub fn verify_checksums(directory: &Path) -> Result<bool, FileError> {
    let Some(path) = inside(directory, CHECKSUMS_FILE)? else {
        return Ok(false);
    };
    let damaged = |path: &Path, found: String| FileError::malformed(path, found, FIX);
    let list: Checksums = serde_json::from_slice(&read_file(&path, SMALL_FILE)?)
        .map_err(|error| damaged(&path, format!("it is damaged: {error}")))?;
    for (name, expected) in &list.files {
        let file = directory.join(name);
        if inside(directory, name)?.is_none() {
            return Err(damaged(&file, "it is missing".into()));
        }
        let found = checksum(&file)?;
        if found != *expected {
            let what = match found.bytes == expected.bytes {
                true => format!(
                    "its checksum is {:08x} instead of {:08x}",
                    found.crc32, expected.crc32
                ),
                false => format!("it has {} bytes instead of {}", found.bytes, expected.bytes),
            };
            return Err(damaged(&file, format!("it is damaged: {what}")));
        }
    }
    Ok(true)
}

fn checksum(path: &Path) -> Result<Checksum, FileError> {
    let (file, _) = open_regular(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut bytes = 0;
    for_each_piece(file, path, |piece| {
        bytes += piece.len() as u64;
        hasher.update(piece);
    })?;
    let crc32 = hasher.finalize();
    Ok(Checksum { bytes, crc32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_file_is_noticed_and_named() {
        let place = tempfile::tempdir().unwrap();
        let weights = place.path().join("weights");
        fs::write(&weights, vec![7; 3 << 20]).unwrap();
        fs::write(place.path().join("state"), "state").unwrap();
        assert!(!verify_checksums(place.path()).unwrap());
        write_checksums(place.path()).unwrap();
        assert!(verify_checksums(place.path()).unwrap());
        // What is added is not the checkpoint's.
        fs::write(place.path().join("notes"), "mine").unwrap();
        assert!(verify_checksums(place.path()).unwrap());

        let whole = fs::read(&weights).unwrap();
        let is_named = |name: &str| {
            let error = verify_checksums(place.path()).unwrap_err();
            assert!(
                matches!(&error, FileError::Malformed { path, .. } if path.ends_with(name)),
                "{error}"
            );
        };
        let mut flipped = whole.clone();
        flipped[2 << 20] ^= 1;
        fs::write(&weights, &flipped).unwrap();
        is_named("weights");
        fs::write(&weights, &whole[1..]).unwrap();
        is_named("weights");
        fs::remove_file(&weights).unwrap();
        is_named("weights");
        fs::write(&weights, &whole).unwrap();
        assert!(verify_checksums(place.path()).unwrap());
        fs::write(place.path().join(CHECKSUMS_FILE), "{").unwrap();
        is_named(CHECKSUMS_FILE);
    }
}
