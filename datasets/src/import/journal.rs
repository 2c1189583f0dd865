//! Lets an import resume after its process was killed.
//!
//! While a store is imported to `OUT`, everything is in `OUT.partial`:
//!
//! | there | is |
//! |---|---|
//! | `import.json` | what is imported, and how: only the same import can resume |
//! | `store/` | the store being written |
//! | `shard-00000.json` … | for each complete shard, its images and the progress after it |
//! | `finished.json` | the result, written just before `store/` is renamed to `OUT` |
//! | `lock` | held by the process that imports |
//!
//! Each file appears whole or not at all, after what it speaks of is safe on disk. What was
//! written after the last complete shard is discarded when the import resumes, so that it ends
//! with the same bytes as one that was never interrupted.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use oscar_files::{FileError, StagedDir, check_target, write_file};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{DatasetError, Result};
use crate::store::{INDEX_FILE, ShardPart};

const IDENTITY_FILE: &str = "import.json";
const FINISHED_FILE: &str = "finished.json";
const LOCK_FILE: &str = "lock";
const STORE_DIR: &str = "store";
const RESTART: &str = "set `restart` to start over, which removes what was imported so far";

/// What must be the same for an import to resume: names and values.
pub(super) type Identity = BTreeMap<String, String>;

/// A complete shard, and how far the import had come after it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record<P> {
    pub(super) part: ShardPart,
    pub(super) progress: P,
}

/// The directory of a started import.
pub(super) struct Journal {
    out: PathBuf,
    dir: PathBuf,
    overwrite: bool,
    /// Complete shards on record.
    records: usize,
    /// Held until dropped.
    _lock: File,
}

/// How an import begins.
pub(super) enum Start<P, R> {
    /// At the beginning, or after the records.
    At(Journal, Vec<Record<P>>),
    /// It was killed after it had finished: this is the result.
    Finished(R),
}

impl Journal {
    /// Begins the import of `identity` to `out`, or resumes it.
    ///
    /// # Errors
    /// If `out` is there and may not be overwritten; if another import to it was started (unless
    /// `restart` says to remove it) or is running.
    pub(super) fn begin<P: DeserializeOwned, R: DeserializeOwned>(
        out: &Path,
        identity: &Identity,
        overwrite: bool,
        restart: bool,
    ) -> Result<Start<P, R>> {
        let dir = partial_dir(out)?;
        let held = dir.exists().then(|| lock(&dir)).transpose()?;
        if let Some(result) = finished(out, &dir, identity)? {
            remove(&dir)?;
            return Ok(Start::Finished(result));
        }
        check_target(out, INDEX_FILE, overwrite)?;
        fs::create_dir_all(&dir).map_err(DatasetError::io("create", &dir))?;
        let mut journal = Self {
            out: out.to_path_buf(),
            overwrite,
            records: 0,
            _lock: held.map_or_else(|| lock(&dir), Ok)?,
            dir,
        };
        let path = journal.dir.join(IDENTITY_FILE);
        match read_json::<Identity>(&path)? {
            None => journal.check_empty()?,
            Some(_) if restart => clear(&journal.dir)?,
            Some(started) if started == *identity => {
                let records = journal.read_records()?;
                return Ok(Start::At(journal, records));
            }
            Some(started) => {
                let found = format!(
                    "an unfinished import to this directory differs from this one ({})",
                    differences(&started, identity)
                );
                let fix = "run the same import again to resume it, or set `restart` to start over";
                return Err(DatasetError::malformed(&journal.dir, found, fix));
            }
        }
        write_json(&path, identity)?;
        Ok(Start::At(journal, Vec::new()))
    }

    /// The directory in which the store is written.
    pub(super) fn stage(&self) -> Result<StagedDir> {
        let store = self.dir.join(STORE_DIR);
        Ok(StagedDir::reopen(
            &self.out,
            &store,
            INDEX_FILE,
            self.overwrite,
        )?)
    }

    /// Number of complete shards on record.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Puts the next complete shard on record.
    pub(super) fn record<P: Serialize>(&mut self, record: &Record<P>) -> Result<()> {
        write_json(&self.dir.join(record_file(self.records)), record)?;
        self.records += 1;
        Ok(())
    }

    /// Gives the store its name, and removes everything else.
    pub(super) fn finish<R: Serialize>(self, store: StagedDir, result: &R) -> Result<()> {
        write_json(&self.dir.join(FINISHED_FILE), result)?;
        store.commit()?;
        remove(&self.dir)
    }

    /// Ends an import that failed: keeps its complete shards, or, if there is none, nothing.
    pub(super) fn abandon(self) {
        match self.records {
            // What cannot be removed is found, and named, by the next import.
            0 => drop(remove(&self.dir)),
            shards => tracing::warn!(
                "{shards} complete shard(s) are kept in {}; the same import resumes after them",
                self.dir.display()
            ),
        }
    }

    fn read_records<P: DeserializeOwned>(&mut self) -> Result<Vec<Record<P>>> {
        let mut records = Vec::new();
        while let Some(record) = read_json(&self.dir.join(record_file(records.len())))? {
            records.push(record);
        }
        self.records = records.len();
        Ok(records)
    }

    /// Before `import.json` there is nothing but the lock in a directory of ours.
    fn check_empty(&self) -> Result<()> {
        for entry in fs::read_dir(&self.dir).map_err(DatasetError::io("list", &self.dir))? {
            let name = entry
                .map_err(DatasetError::io("list", &self.dir))?
                .file_name();
            if name != LOCK_FILE && !name.to_string_lossy().starts_with(".import.json.") {
                let (path, marker) = (self.dir.clone(), IDENTITY_FILE);
                return Err(FileError::NotOurs { path, marker }.into());
            }
        }
        Ok(())
    }
}

/// The directory of the import to `out`.
fn partial_dir(out: &Path) -> Result<PathBuf> {
    let Some(name) = out.file_name() else {
        let found = "this is not a directory name";
        return Err(DatasetError::malformed(out, found, "name a directory"));
    };
    let mut name = name.to_os_string();
    name.push(".partial");
    Ok(out.with_file_name(name))
}

fn record_file(number: usize) -> String {
    format!("shard-{number:05}.json")
}

/// The result of an import that was killed between giving the store its name and tidying up.
fn finished<R: DeserializeOwned>(out: &Path, dir: &Path, identity: &Identity) -> Result<Option<R>> {
    let at_the_end = out.join(INDEX_FILE).exists() && !dir.join(STORE_DIR).exists();
    let same = read_json::<Identity>(&dir.join(IDENTITY_FILE))?.is_some_and(|i| i == *identity);
    match at_the_end && same {
        true => read_json(&dir.join(FINISHED_FILE)),
        false => Ok(None),
    }
}

/// Removes a partial directory, unless it has files that are not an import's.
fn remove(dir: &Path) -> Result<()> {
    clear(dir)?;
    let lock = dir.join(LOCK_FILE);
    fs::remove_file(&lock).map_err(DatasetError::io("remove", &lock))?;
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty => {
            Err(DatasetError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// Removes what an import wrote but its lock; what identifies the directory as ours goes last.
fn clear(dir: &Path) -> Result<()> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(DatasetError::io("list", dir))? {
        let entry = entry.map_err(DatasetError::io("list", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = [IDENTITY_FILE, FINISHED_FILE, STORE_DIR].contains(&name.as_str())
            || (name.starts_with("shard-") && name.ends_with(".json"))
            || (name.starts_with('.') && name.contains(".oscar-tmp-"));
        if ours {
            paths.push(entry.path());
        }
    }
    paths.sort_by_key(|path| path.ends_with(IDENTITY_FILE));
    for path in paths {
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.map_err(DatasetError::io("remove", &path))?;
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK_FILE);
    let file = File::create(&path).map_err(DatasetError::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DatasetError::malformed(
            dir,
            "another process is importing to this directory",
            "wait until it ends, or choose another directory",
        )),
        Err(TryLockError::Error(error)) => Err(DatasetError::io("lock", &path)(error)),
    }
}

/// `dtype was F16 and is F32 now; …`
fn differences(started: &Identity, now: &Identity) -> String {
    let names: std::collections::BTreeSet<&String> = started.keys().chain(now.keys()).collect();
    let value = |identity: &Identity, name: &String| match identity.get(name) {
        Some(value) => value.clone(),
        None => "not given".into(),
    };
    let changed = names
        .into_iter()
        .filter(|name| started.get(*name) != now.get(*name))
        .map(|name| {
            format!(
                "{name} was {} and is {} now",
                value(started, name),
                value(now, name)
            )
        });
    changed.collect::<Vec<_>>().join("; ")
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DatasetError::io("read", path)(error)),
    };
    let value = serde_json::from_slice(&text).map_err(|error| {
        let found = format!("not a record of a started import ({error})");
        DatasetError::malformed(path, found, RESTART)
    })?;
    Ok(Some(value))
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text =
        serde_json::to_vec(value).map_err(|error| DatasetError::io("write", path)(error.into()))?;
    Ok(write_file(path, &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Begun = Start<u32, String>;

    fn begin(out: &Path, value: &str) -> Result<Begun> {
        let identity = Identity::from([("dtype".to_string(), value.to_string())]);
        Journal::begin(out, &identity, false, false)
    }

    fn journal(start: Begun) -> Journal {
        match start {
            Start::At(journal, _) => journal,
            Start::Finished(result) => panic!("finished: {result}"),
        }
    }

    #[test]
    fn killed_between_the_name_and_tidying_up() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let started = journal(begin(&out, "F16").unwrap());
        let store = started.stage().unwrap();
        fs::write(store.path().join(INDEX_FILE), "index").unwrap();
        // As in `finish`, up to the removal of the partial directory.
        write_json(&started.dir.join(FINISHED_FILE), &"result").unwrap();
        store.commit().unwrap();
        drop(started);
        // Another import finds the store, and nothing of its own.
        let other = begin(&out, "F32").err().expect("an error").to_string();
        assert!(other.contains("already exists"), "{other}");
        let again = begin(&out, "F16").unwrap();
        assert!(matches!(again, Start::Finished(result) if result == "result"));
        assert!(out.join(INDEX_FILE).exists() && !partial_dir(&out).unwrap().exists());
    }

    #[test]
    fn killed_before_its_identity_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let partial = partial_dir(&out).unwrap();
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join(".import.json.oscar-tmp-0"), "{\"dty").unwrap();
        let started = journal(begin(&out, "F16").unwrap());
        started.abandon();
        assert!(!partial.exists());
    }

    #[test]
    fn damaged_records_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut started = journal(begin(&out, "F16").unwrap());
        let record = Record {
            part: ShardPart::default(),
            progress: 7,
        };
        started.record(&record).unwrap();
        drop(started);
        let Ok(Start::At(_, records)) = begin(&out, "F16") else {
            panic!("it does not resume")
        };
        assert_eq!(records[0].progress, 7);
        let path = partial_dir(&out).unwrap().join(record_file(0));
        fs::write(&path, "{").unwrap();
        let found = begin(&out, "F16").err().expect("an error").to_string();
        assert!(
            found.contains("shard-00000.json") && found.contains("`restart`"),
            "{found}"
        );
    }
}
