//! Files and directories that appear whole or not at all, whenever the process is killed or the
//! power fails.
//!
//! | name beside `NAME` | is |
//! |---|---|
//! | `.NAME.oscar-tmp-0` | content that is still being written, locked by its writer |
//! | `.NAME.oscar-old` | a complete directory while it is replaced |
//!
//! These names are hidden and carry the program's own suffixes, so that nothing that a user made is
//! ever taken for a leftover: `NAME.tmp`, `NAME.old` and `NAME.bak` are never touched. What a
//! killed process leaves under them is put right by the next one that writes `NAME`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::FileError;
use crate::regular::require_replaceable;

const TEMPORARY: &str = ".oscar-tmp-";
const REPLACED: &str = ".oscar-old";

/// How often a lock is tried, and the pause between: two renames take far less than all of it.
const LOCK_ATTEMPTS: u32 = 300;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Suffixes of temporary and replaced directories in run directories of earlier versions.
const OLD_TEMPORARY: &str = ".tmp";
const OLD_REPLACED: &str = ".old";

/// Writes a file: it appears whole or not at all, and is durable.
///
/// # Errors
///
/// If it cannot be written; a file that was there before is untouched then.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write_file_with(path, |temporary| {
        fs::write(temporary, content).map_err(FileError::io("write", path))
    })
}

/// Writes `value` as indented JSON, as [`write_file`] does.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let json = serde_json::to_vec_pretty(value);
    let json = json.map_err(|error| FileError::io("write", path)(error.into()))?;
    write_file(path, &json)
}

/// As [`write_file`], with the content that `fill` writes to the path it is given.
///
/// # Errors
///
/// Those of `fill`, and if the file cannot be synced or renamed; [`FileError::NotAFile`] for a link,
/// device, named pipe or directory, which the new file would take the place of.
pub fn write_file_with<E: From<FileError>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    require_replaceable(path)?;
    let temporary = Temporary::file(path)?;
    fill(&temporary.path)?;
    sync_file(&temporary.path)?;
    fs::rename(&temporary.path, path).map_err(FileError::io("write", path))?;
    temporary.keep();
    Ok(sync_directory(parent(path))?)
}

/// Fills a new directory and puts it in the place of `target`, which must be of this program's
/// making if it exists.
///
/// # Errors
///
/// Those of `fill`, and if the directory cannot be moved there, or `target` is a link; it is untouched
/// then.
pub fn write_directory<E: From<FileError>>(
    target: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    // In a run of others it may lead to anything: nothing tells whether that is of this program's making.
    if target.is_symlink() {
        let fix = "remove the link, or put the directory in its place";
        return Err(FileError::malformed(target, "it is a link, not a directory", fix).into());
    }
    recover(target)?;
    fs::create_dir_all(parent(target)).map_err(FileError::io("create", parent(target)))?;
    let temporary = Temporary::directory(target)?;
    fill(&temporary.path)?;
    sync_content(&temporary.path)?;
    replace(&temporary.path, target)?;
    temporary.keep();
    Ok(())
}

/// A directory that is written beside its target and gets its name when it is complete; dropped
/// before, it is removed.
pub struct StagedDir {
    target: PathBuf,
    path: PathBuf,
    marker: &'static str,
    overwrite: bool,
    /// None if the directory stays when it is dropped.
    temporary: Option<Temporary>,
}

impl StagedDir {
    /// Makes an empty directory beside `target`.
    ///
    /// `marker` is the file by which a finished directory of this kind is recognised: only such a
    /// directory is ever overwritten.
    ///
    /// # Errors
    ///
    /// If `target` exists (an empty directory does not count) and may not be overwritten, or the
    /// directory cannot be made.
    pub fn create(target: &Path, marker: &'static str, overwrite: bool) -> Result<Self, FileError> {
        let target = &behind_link(target)?;
        recover(target)?;
        check_target(target, marker, overwrite)?;
        fs::create_dir_all(parent(target)).map_err(FileError::io("create", parent(target)))?;
        let temporary = Temporary::directory(target)?;
        Ok(Self {
            target: target.to_path_buf(),
            path: temporary.path.clone(),
            marker,
            overwrite,
            temporary: Some(temporary),
        })
    }

    /// Continues with the directory `path`, or makes it; it must be on the file system of `target`.
    /// Dropped before it is committed, it stays for the next attempt.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn reopen(
        target: &Path,
        path: &Path,
        marker: &'static str,
        overwrite: bool,
    ) -> Result<Self, FileError> {
        let target = &behind_link(target)?;
        recover(target)?;
        check_target(target, marker, overwrite)?;
        fs::create_dir_all(path).map_err(FileError::io("create", path))?;
        Ok(Self {
            target: target.to_path_buf(),
            path: path.to_path_buf(),
            marker,
            overwrite,
            temporary: None,
        })
    }

    /// The directory to write to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether [`commit`](Self::commit) may replace what is at the target by then.
    pub fn allow_overwrite(&mut self, overwrite: bool) {
        self.overwrite = overwrite;
    }

    /// Makes the content durable and gives the directory its final name.
    ///
    /// # Errors
    ///
    /// If the target exists by now and may not be overwritten, or the system refuses.
    pub fn commit(self) -> Result<(), FileError> {
        sync_content(&self.path)?;
        check_target(&self.target, self.marker, self.overwrite)?;
        replace(&self.path, &self.target)?;
        self.temporary.into_iter().for_each(Temporary::keep);
        Ok(())
    }
}

/// The directory that is written when the user names `target`: what a link leads to, which stays; else
/// `target`.
///
/// # Errors
///
/// If a link leads nowhere.
pub fn behind_link(target: &Path) -> Result<PathBuf, FileError> {
    match target.is_symlink() {
        true => fs::canonicalize(target).map_err(FileError::io("follow the link", target)),
        false => Ok(target.to_path_buf()),
    }
}

/// Checks that a directory may be put at `target`.
///
/// # Errors
///
/// If `target` is not an empty directory, and it may not be overwritten or lacks `marker`.
pub fn check_target(target: &Path, marker: &'static str, overwrite: bool) -> Result<(), FileError> {
    let mut entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::io("write to", target)(error)),
    };
    let path = target.to_path_buf();
    match (entries.next(), overwrite) {
        (None, _) => Ok(()),
        (Some(_), false) => Err(FileError::AlreadyExists { path }),
        (Some(_), true) if !target.join(marker).exists() => {
            Err(FileError::NotOurs { path, marker })
        }
        (Some(_), true) => Ok(()),
    }
}

/// Deletes a directory that counts as complete as long as it has its name.
///
/// # Errors
///
/// If it cannot be deleted.
pub fn remove_directory(target: &Path) -> Result<(), FileError> {
    // It is deleted when this is dropped. Until then it has a name under which it counts as a
    // leftover, so that one that is half deleted is never taken for a complete one.
    let temporary = Temporary::directory(target)?;
    if !cfg!(unix) {
        // Only Unix replaces an empty directory.
        fs::remove_dir(&temporary.path).map_err(FileError::io("delete", target))?;
    }
    fs::rename(target, &temporary.path).map_err(FileError::io("delete", target))
}

/// Repairs what a process left that was killed while it replaced the directory `target`: the old
/// directory gets its name back unless the new one has it already.
///
/// # Errors
///
/// If a directory cannot be moved or deleted.
pub fn recover(target: &Path) -> Result<(), FileError> {
    let replaced = beside(target, REPLACED);
    if !replaced.exists() {
        return Ok(());
    }
    let _lock = lock_parent(target);
    restore(&replaced, target)
}

/// Repairs what killed processes left in the directory `run`, which only this program writes to.
///
/// Leftovers of earlier versions, directories such as `.best.tmp` and `.best.old`, are put right
/// too; `names` are those directories of `run` that are replaced, so that `.NAME.old` is complete.
///
/// # Errors
///
/// If something cannot be moved or deleted.
pub fn recover_all(run: &Path, names: &[&str]) -> Result<(), FileError> {
    // A directory that cannot be listed is reported by whoever looks for its content.
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some(name) = name.strip_prefix('.') else {
            continue;
        };
        let replaced = name.strip_suffix(OLD_REPLACED);
        if let Some(target) = name.strip_suffix(REPLACED) {
            recover(&run.join(target))?;
        } else if let Some(target) = replaced.filter(|target| names.contains(target)) {
            restore(&path, &run.join(target))?;
        } else if name.contains(TEMPORARY) && is_unlocked(&path)
            || (replaced.is_some() || name.ends_with(OLD_TEMPORARY)) && path.is_dir()
        {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Makes what was written to a file durable.
///
/// # Errors
///
/// If the system refuses.
pub fn sync_file(path: &Path) -> Result<(), FileError> {
    // Unix syncs a file that may only be read; other systems only what is open for writing.
    let file = match cfg!(unix) {
        true => File::open(path),
        false => File::options().append(true).open(path),
    };
    file.and_then(|file| file.sync_all())
        .map_err(FileError::io("sync", path))
}

/// Makes the names in a directory durable, where the system can.
///
/// # Errors
///
/// If the system refuses.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    match cfg!(unix) {
        true => File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(FileError::io("sync", path)),
        false => Ok(()),
    }
}

/// Syncs everything in a directory, and the directory itself.
fn sync_content(path: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(path).map_err(FileError::io("list", path))? {
        let entry = entry.map_err(FileError::io("list", path))?;
        match entry.file_type().map_err(FileError::io("read", path))? {
            kind if kind.is_dir() => sync_content(&entry.path())?,
            kind if kind.is_file() => sync_file(&entry.path())?,
            _ => {}
        }
    }
    sync_directory(path)
}

/// Moves the complete directory `new` to `target` and deletes what was there.
fn replace(new: &Path, target: &Path) -> Result<(), FileError> {
    let replaced = beside(target, REPLACED);
    let lock = lock_parent(target);
    restore(&replaced, target)?;
    // Two renames, since none replaces a directory that is not empty; `recover` takes the first
    // back if the second is not reached.
    let exists = target.exists();
    if exists {
        fs::rename(target, &replaced).map_err(FileError::io("replace", target))?;
    }
    if let Err(error) = fs::rename(new, target) {
        if exists {
            // The old directory is better than none.
            let _ = fs::rename(&replaced, target);
        }
        return Err(FileError::io("move the finished directory to", target)(
            error,
        ));
    }
    sync_directory(parent(target))?;
    drop(lock);
    match exists {
        true => remove_directory(&replaced),
        false => Ok(()),
    }
}

/// Gives a replaced directory its name back, or deletes it if the new one has the name.
fn restore(replaced: &Path, target: &Path) -> Result<(), FileError> {
    match (replaced.exists(), target.exists()) {
        (false, _) => Ok(()),
        (true, true) => remove(replaced),
        (true, false) => fs::rename(replaced, target).map_err(FileError::io("restore", target)),
    }
}

fn remove(path: &Path) -> Result<(), FileError> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FileError::io("delete", path)(error))
        }
        _ => Ok(()),
    }
}

/// A file or directory under a temporary name, locked as long as this lives and removed with it.
struct Temporary {
    path: PathBuf,
    /// None where the file system has no locks.
    _lock: Option<File>,
    keep: bool,
}

impl Temporary {
    /// An empty file beside `target`.
    fn file(target: &Path) -> Result<Self, FileError> {
        let options = |new: bool| {
            let mut options = File::options();
            options.write(true).create(true).create_new(new);
            options
        };
        Self::claim(
            target,
            |path| options(true).open(path).map(drop),
            |path| options(false).open(path),
        )
    }

    /// An empty directory beside `target`.
    fn directory(target: &Path) -> Result<Self, FileError> {
        Self::claim(target, |path| fs::create_dir(path), |path| File::open(path))
    }

    /// Takes the first name that no living process uses. A leftover of a killed one is emptied.
    fn claim(
        target: &Path,
        create: impl Fn(&Path) -> std::io::Result<()>,
        open: impl Fn(&Path) -> std::io::Result<File>,
    ) -> Result<Self, FileError> {
        if target.file_name().is_none() {
            let found = "the path does not end in a name";
            return Err(FileError::malformed(target, found, "give the path a name"));
        }
        for number in 0u32.. {
            let path = beside(target, &format!("{TEMPORARY}{number}"));
            let is_new = match create(&path) {
                Ok(()) => true,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                Err(error) => return Err(FileError::io("write", target)(error)),
            };
            let lock = match cfg!(unix) {
                true => open(&path).ok().map(|file| (file.try_lock(), file)),
                false => None,
            };
            let lock = match lock {
                Some((Ok(()), file)) if is_same(&file, &path) => Some(file),
                // Another process has it, or has just renamed it.
                Some((Ok(()) | Err(TryLockError::WouldBlock), _)) => continue,
                // No locks here: a leftover cannot be told from what is in use.
                _ if is_new => None,
                _ => continue,
            };
            let temporary = Self {
                path,
                _lock: lock,
                keep: false,
            };
            if !is_new {
                empty(&temporary.path)?;
            }
            return Ok(temporary);
        }
        Err(FileError::AlreadyExists {
            path: target.to_path_buf(),
        })
    }

    /// Leaves what has been renamed alone.
    fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing can be added to the error that led here; the next writer reuses the name.
            let _ = remove(&self.path);
        }
    }
}

/// Removes the content of a leftover.
fn empty(path: &Path) -> Result<(), FileError> {
    if !path.is_dir() {
        let file = File::options().write(true).truncate(true).open(path);
        return file.map(drop).map_err(FileError::io("write", path));
    }
    for entry in fs::read_dir(path).map_err(FileError::io("list", path))? {
        remove(&entry.map_err(FileError::io("list", path))?.path())?;
    }
    Ok(())
}

/// Whether no living process writes to the leftover `path`; false where that cannot be found out.
fn is_unlocked(path: &Path) -> bool {
    cfg!(unix) && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// Whether `path` still names the open file, and not a link to it.
#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(named)) => (file.dev(), file.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same(_: &File, _: &Path) -> bool {
    true
}

/// Keeps other processes from replacing directories beside `target`, where the system has locks.
///
/// A directory that is still being written needs none: its writer, which holds its lock, is the only
/// one to replace anything in it. Nobody is waited for without end: the user may hold a lock of their
/// own on the directory.
fn lock_parent(target: &Path) -> Option<File> {
    let directory = parent(target);
    let name = directory.file_name().unwrap_or_default();
    if name.to_string_lossy().contains(TEMPORARY) {
        return None;
    }
    let file = File::open(directory).ok()?;
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

/// `.NAMEsuffix` beside `NAME`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    // A replaced directory that is deleted is hidden already.
    name.push(path.file_name().unwrap_or(OsStr::new("")));
    name.push(suffix);
    path.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
