//! What decides the numbers of a run beside its configuration: the content of its data, and the program.
//! Recorded when a run starts, and compared when it resumes.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oscar_files::write_json;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Configuration;

/// The file in a run directory.
pub const INPUTS_FILE: &str = "inputs.json";

/// Files up to this size are read whole; of larger ones, a part at each of [`PARTS`] places.
const WHOLE: u64 = 64 << 20;
const PARTS: u64 = 64;
const PART: u64 = 1 << 18;

/// Of a folder of more files than this, names and sizes are enough.
const MANY: usize = 1000;

/// What a run is computed from.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// Version of the program.
    version: String,
    /// The backend that computes.
    backend: String,
    /// The instructions that the CPU backend uses: sums differ in their last bits between levels.
    processor: String,
    /// The files and folders of the data, with a hash of their content.
    data: Vec<Content>,
}

/// A file or folder, and a hash of its content.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Content {
    path: PathBuf,
    hash: String,
}

impl Inputs {
    /// Those of a run of `recipe`, whose paths lead to the data.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn of(recipe: &mut impl Configuration, backend: &str) -> Result<Self> {
        // A run that resumes has weights of its own.
        let start = recipe.sections().init.checkpoint.clone();
        let paths = recipe.data_paths().into_iter().map(|path| path.clone());
        let used =
            paths.filter(|path| !path.as_os_str().is_empty() && Some(path) != start.as_ref());
        let data = used.map(|path| {
            let hash = hash_of(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Content { path, hash })
        });
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").into(),
            backend: backend.into(),
            processor: processor().into(),
            data: data.collect::<Result<_>>()?,
        })
    }

    /// Records them in the directory of a run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, run: &Path) -> Result<()> {
        Ok(write_json(&run.join(INPUTS_FILE), self)?)
    }

    /// What differs from those that the run in `run` was started with; nothing if it has not recorded
    /// any, as earlier versions did not.
    ///
    /// # Errors
    /// If its record cannot be read.
    pub fn differences(&self, run: &Path) -> Result<Vec<String>> {
        let path = run.join(INPUTS_FILE);
        let Ok(text) = fs::read(&path) else {
            return Ok(Vec::new());
        };
        let before: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged; remove it to resume", path.display()))?;
        let mut found = Vec::new();
        for (what, before, now) in [
            ("version", &before.version, &self.version),
            ("backend", &before.backend, &self.backend),
            ("processor level", &before.processor, &self.processor),
        ] {
            if before != now {
                found.push(format!("{what} {before}, now {now}"));
            }
        }
        if before.data.len() != self.data.len() {
            found.push(format!(
                "{} files and folders of data, now {}",
                before.data.len(),
                self.data.len()
            ));
        }
        for (before, now) in before.data.iter().zip(&self.data) {
            let other = format!("another content of {}", now.path.display());
            // One file may be of training and of validation.
            if before.hash != now.hash && !found.contains(&other) {
                found.push(other);
            }
        }
        Ok(found)
    }
}

/// The level of instructions that the loops of the CPU backend are compiled for and use here.
fn processor() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return "x86-64-v4";
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return "x86-64-v3";
        }
    }
    std::env::consts::ARCH
}

/// A hash of the content of a file, or of the names and content in a folder. A query after the path
/// changes how it is read, not what it is.
fn hash_of(path: &Path) -> Result<String> {
    let text = path.to_string_lossy();
    let without_query = text.rsplit_once('?').map(|(plain, _)| PathBuf::from(plain));
    let path = match without_query {
        Some(plain) if !path.exists() => plain,
        _ => path.to_path_buf(),
    };
    let mut hash = Sha256::new();
    match path.is_dir() {
        false => add_file(&mut hash, &path)?,
        true => {
            let mut files = Vec::new();
            list(&path, &mut files)?;
            files.sort();
            let only_names = files.len() > MANY;
            for file in files {
                let name = file.strip_prefix(&path).unwrap_or(&file);
                hash.update(name.to_string_lossy().as_bytes());
                match only_names {
                    true => hash.update(file.metadata()?.len().to_le_bytes()),
                    false => add_file(&mut hash, &file)?,
                }
            }
        }
    }
    Ok(oscar_files::hex(&hash.finalize()[..16]))
}

/// The regular files in a folder and below. What is hidden belongs to the system, or is still being
/// written.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        match hidden {
            true => {}
            false if kind.is_dir() => list(&entry.path(), files)?,
            false if kind.is_file() => files.push(entry.path()),
            false => {}
        }
    }
    Ok(())
}

fn add_file(hash: &mut Sha256, path: &Path) -> Result<()> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(());
    }
    let length = metadata.len();
    hash.update(length.to_le_bytes());
    let mut buffer = vec![0; PART as usize];
    let mut add = |file: &mut File, mut left: u64| -> Result<()> {
        while left > 0 {
            let wanted = buffer.len().min(left as usize);
            let read = file.read(&mut buffer[..wanted])?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            left -= read as u64;
        }
        Ok(())
    };
    if length <= WHOLE {
        return add(&mut file, length);
    }
    for part in 0..PARTS {
        // The last part ends with the file.
        file.seek(SeekFrom::Start((length - PART) * part / (PARTS - 1)))?;
        add(&mut file, PART)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_of_the_content() {
        let place = tempfile::tempdir().expect("a directory");
        let path = |name: &str| place.path().join(name);
        fs::create_dir_all(path("a/b")).expect("a folder");
        fs::create_dir_all(path("c/b")).expect("a folder");
        for (file, text) in [
            ("a/b/x", "1"),
            ("c/b/x", "1"),
            ("c/.hidden", "2"),
            ("y", "12"),
        ] {
            fs::write(path(file), text).expect("a file");
        }
        let hash = |name: &str| hash_of(&path(name)).expect("a hash");
        assert_eq!(hash("a"), hash("c"));
        assert_eq!(hash("a"), hash("a?swap=1"));
        let before = hash("a");
        fs::write(path("a/b/x"), "2").expect("a file");
        assert_ne!(hash("a"), before);
        fs::rename(path("c/b/x"), path("c/b/z")).expect("a name");
        assert_ne!(hash("c"), before);
        assert!(hash_of(&path("nowhere")).is_err());
        // The end of a large file counts, too.
        let file = File::create(path("large")).expect("a file");
        file.set_len(WHOLE + 5).expect("a size");
        let before = hash("large");
        let mut file = File::options()
            .write(true)
            .open(path("large"))
            .expect("a file");
        file.seek(SeekFrom::Start(WHOLE + 4)).expect("a place");
        std::io::Write::write_all(&mut file, b"x").expect("a byte");
        assert_ne!(hash("large"), before);
    }
}
