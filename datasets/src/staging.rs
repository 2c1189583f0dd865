//! A directory that appears under its final name only when it is complete.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{DatasetError, Result};

/// A sibling of the final directory that is renamed at the end, or removed when dropped before.
pub struct StagedDir {
    target: PathBuf,
    temporary: PathBuf,
    marker: &'static str,
    overwrite: bool,
    /// Leave the directory where it is when dropped.
    keep: bool,
}

impl StagedDir {
    /// Makes an empty directory beside `target`.
    ///
    /// `marker` is the file by which a finished directory of this kind is known: only such a
    /// directory is ever overwritten.
    ///
    /// # Errors
    /// If `target` is there (an empty directory is fine) and may not be overwritten, or if the
    /// directory cannot be made.
    pub fn create(target: &Path, marker: &'static str, overwrite: bool) -> Result<Self> {
        recover(target, marker)?;
        check_target(target, marker, overwrite)?;
        let name = target
            .file_name()
            .ok_or_else(|| {
                DatasetError::malformed(target, "this is not a directory name", "name a directory")
            })?
            .to_string_lossy()
            .into_owned();
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(DatasetError::io("create", parent))?;
        // The process id keeps two builders apart; the counter keeps two of one process apart.
        for attempt in 0u32.. {
            let temporary = parent.join(format!("{name}.tmp-{}-{attempt}", std::process::id()));
            match fs::create_dir(&temporary) {
                Ok(()) => {
                    return Ok(Self {
                        target: target.to_path_buf(),
                        temporary,
                        marker,
                        overwrite,
                        keep: false,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < 1000 => {}
                Err(error) => return Err(DatasetError::io("create", &temporary)(error)),
            }
        }
        Err(DatasetError::AlreadyExists {
            path: target.to_path_buf(),
        })
    }

    /// Goes on with the directory `temporary`, or makes it, which will be renamed to `target` on
    /// the same file system; dropped before, it stays for the next attempt.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub(crate) fn reopen(
        target: &Path,
        temporary: &Path,
        marker: &'static str,
        overwrite: bool,
    ) -> Result<Self> {
        recover(target, marker)?;
        check_target(target, marker, overwrite)?;
        fs::create_dir_all(temporary).map_err(DatasetError::io("create", temporary))?;
        Ok(Self {
            target: target.to_path_buf(),
            temporary: temporary.to_path_buf(),
            marker,
            overwrite,
            keep: true,
        })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Whether [`commit`](Self::commit) may replace what stands there by then.
    pub fn allow_overwrite(&mut self, overwrite: bool) {
        self.overwrite = overwrite;
    }

    /// Gives the directory its final name.
    pub fn commit(mut self) -> Result<()> {
        check_target(&self.target, self.marker, self.overwrite)?;
        sync_dir(&self.temporary)?;
        let old = replaced_dir(&self.target);
        let replaced = self.target.join(self.marker).exists();
        if replaced {
            remove_replaced(&old, self.marker)?;
            fs::rename(&self.target, &old).map_err(DatasetError::io("replace", &self.target))?;
        }
        if let Err(error) = fs::rename(&self.temporary, &self.target) {
            if replaced {
                // Put back what was there: better the old data than none.
                let _ = fs::rename(&old, &self.target);
            }
            return Err(DatasetError::io(
                "put the finished directory at",
                &self.target,
            )(error));
        }
        self.keep = true;
        if replaced {
            fs::remove_dir_all(&old).map_err(DatasetError::io("remove the replaced", &old))?;
        }
        match self.target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
            _ => sync_dir(Path::new(".")),
        }
    }
}

impl Drop for StagedDir {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

/// Where a directory stands from the moment it is replaced until it is deleted.
///
/// The name is hidden and carries a suffix of this program, so that it cannot be a directory that
/// the user made: `NAME.old` is a name that people give their backups.
fn replaced_dir(target: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".oscar-old");
    target.with_file_name(name)
}

/// Deletes a replaced directory, if there is one.
fn remove_replaced(old: &Path, marker: &'static str) -> Result<()> {
    if !old.exists() {
        return Ok(());
    }
    if !old.join(marker).exists() {
        return Err(DatasetError::NotOurs {
            path: old.to_path_buf(),
            marker,
        });
    }
    fs::remove_dir_all(old).map_err(DatasetError::io("remove the replaced", old))
}

/// Repairs what a process left that was killed while it replaced `target`: the old directory gets
/// its name back if the new one did not get it, and is deleted otherwise.
fn recover(target: &Path, marker: &'static str) -> Result<()> {
    let old = replaced_dir(target);
    if old.join(marker).exists() && !target.exists() {
        return fs::rename(&old, target).map_err(DatasetError::io("restore", target));
    }
    Ok(())
}

/// Checks that a directory may be put at `target`.
pub(crate) fn check_target(target: &Path, marker: &'static str, overwrite: bool) -> Result<()> {
    let mut entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(DatasetError::io("write to", target)(error)),
    };
    if entries.next().is_none() {
        return Ok(());
    }
    if !overwrite {
        return Err(DatasetError::AlreadyExists {
            path: target.to_path_buf(),
        });
    }
    if !target.join(marker).exists() {
        return Err(DatasetError::NotOurs {
            path: target.to_path_buf(),
            marker,
        });
    }
    Ok(())
}

/// Makes the names in `dir` durable; a system that cannot sync directories has nothing to sync.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    if cfg!(unix) {
        let handle = fs::File::open(dir).map_err(DatasetError::io("open", dir))?;
        handle.sync_all().map_err(DatasetError::io("sync", dir))?;
    }
    Ok(())
}

/// Writes a small file so that it appears whole or not at all, and makes it durable.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let aside = path.with_extension("tmp");
    write_file(&aside, content)?;
    fs::rename(&aside, path).map_err(DatasetError::io("write", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Writes a whole small file and makes it durable.
pub fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(path).map_err(DatasetError::io("create", path))?;
    file.write_all(content)
        .map_err(DatasetError::io("write", path))?;
    file.sync_all().map_err(DatasetError::io("sync", path))
}
