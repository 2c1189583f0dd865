//! Files that appear whole or not at all, whenever the process is killed or the power fails.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::TrainError;

/// Fills a new directory beside `target`, syncs it and puts it in the place of `target`.
///
/// # Errors
///
/// If it cannot be filled; `target` is untouched then.
pub fn write_directory(
    target: &Path,
    fill: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(io("create", parent))?;
    let aside = sibling(target, "tmp");
    remove(&aside)?;
    fs::create_dir(&aside).map_err(io("create", &aside))?;
    let filled = fill(&aside).and_then(|()| sync_content(&aside));
    if let Err(error) = filled {
        let _ = fs::remove_dir_all(&aside);
        return Err(error);
    }
    // Two renames, since none replaces a directory that is not empty; `put_right` takes the first
    // back if the second is not reached.
    let old = sibling(target, "old");
    remove(&old)?;
    if target.exists() {
        fs::rename(target, &old).map_err(io("move", target))?;
    }
    fs::rename(&aside, target).map_err(io("move", &aside))?;
    sync_directory(parent)?;
    remove(&old)
}

/// Deletes a directory that counts as complete as long as it has its name.
///
/// # Errors
///
/// If it cannot be deleted.
pub(crate) fn remove_directory(target: &Path) -> Result<(), TrainError> {
    let old = sibling(target, "old");
    remove(&old)?;
    fs::rename(target, &old).map_err(io("delete", target))?;
    remove(&old)
}

/// Puts right what a killed process left of [`write_directory`] for `target`.
///
/// # Errors
///
/// If a directory cannot be moved or deleted.
pub(crate) fn put_right(target: &Path) -> Result<(), TrainError> {
    let old = sibling(target, "old");
    if old.exists() && !target.exists() {
        fs::rename(&old, target).map_err(io("move", &old))?;
    }
    remove(&old)?;
    remove(&sibling(target, "tmp"))
}

/// Deletes what killed processes left of [`write_directory`] for any target in `parent`.
///
/// # Errors
///
/// If something cannot be deleted.
pub(crate) fn remove_leftovers(parent: &Path) -> Result<(), TrainError> {
    // What cannot be listed is reported by those who look for what is complete.
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && (name.ends_with(".tmp") || name.ends_with(".old")) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Writes `value` as JSON: the file appears whole or not at all.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    let json = serde_json::to_vec_pretty(value);
    write_file(
        path,
        &json.map_err(|error| io("write", path)(error.into()))?,
    )
}

/// Writes a file beside `path`, syncs it and renames it: it appears whole or not at all.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), TrainError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().map_err(|error| {
        // Nothing to add to the first error if this fails too.
        let _ = fs::remove_file(&aside);
        io("write", path)(error)
    })?;
    match path.parent() {
        Some(parent) if parent != Path::new("") => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// `.NAME.suffix` beside `NAME`.
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

fn remove(path: &Path) -> Result<(), TrainError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("delete", path)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a directory's files durable, and their names.
fn sync_content(path: &Path) -> Result<(), TrainError> {
    for entry in fs::read_dir(path).map_err(io("list", path))? {
        let file = entry.map_err(io("list", path))?.path();
        sync_file(&file)?;
    }
    sync_directory(path)
}

/// Makes what was written to a file durable.
///
/// # Errors
///
/// If it cannot be.
pub(crate) fn sync_file(path: &Path) -> Result<(), TrainError> {
    // Some systems sync only what is open for writing.
    let file = File::options().append(true).open(path);
    file.and_then(|file| file.sync_all())
        .map_err(io("sync", path))
}

/// Makes the names in a directory durable, where the system can.
fn sync_directory(path: &Path) -> Result<(), TrainError> {
    match cfg!(unix) {
        true => File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(io("sync", path)),
        false => Ok(()),
    }
}

pub(crate) fn io(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> TrainError + use<> {
    let path = path.to_path_buf();
    move |source| TrainError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> String {
        fs::read_to_string(path.join("file")).expect("a file")
    }

    #[test]
    fn a_replacement_that_was_not_finished_is_taken_back() {
        let place = tempfile::tempdir().expect("a directory");
        let target = place.path().join("best");
        let write = |text: &str| {
            write_directory(&target, |directory| {
                write_file(&directory.join("file"), text.as_bytes())
            })
        };
        write("first").expect("written");
        write("second").expect("written");
        assert_eq!(content(&target), "second");

        // Killed between the two renames, then while it filled the new directory.
        let aside = sibling(&target, "tmp");
        fs::create_dir(&aside).expect("a directory");
        fs::rename(&target, sibling(&target, "old")).expect("moved");
        put_right(&target).expect("put right");
        assert_eq!(content(&target), "second");
        fs::create_dir(&aside).expect("a directory");
        put_right(&target).expect("put right");
        assert_eq!(content(&target), "second");
        let names: Vec<_> = fs::read_dir(place.path()).expect("a directory").collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn what_cannot_be_filled_leaves_the_old_directory() {
        let place = tempfile::tempdir().expect("a directory");
        let target = place.path().join("best");
        let error = |_: &Path| Err(TrainError::Worker);
        write_directory(&target, |directory| {
            write_file(&directory.join("file"), b"kept")
        })
        .expect("written");
        write_directory(&target, error).expect_err("not filled");
        assert_eq!(content(&target), "kept");
    }
}
