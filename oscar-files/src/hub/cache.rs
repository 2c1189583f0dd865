//! The cache folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::HubReference;
use super::reference::is_commit;
#[cfg(feature = "hub")]
use crate::{FileError, write_file};

/// Longest name of a commit in a file of `refs`.
const MAX_COMMIT: u64 = 256;

/// The folder of downloaded files, which Python's `huggingface_hub` shares.
#[derive(Clone, Debug)]
pub struct HubCache {
    root: PathBuf,
}

impl HubCache {
    /// The cache in the folder `root`, which need not exist.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a repository.
    #[must_use]
    pub fn repository(&self, reference: &HubReference) -> PathBuf {
        let name = reference.repository.replace('/', "--");
        self.root.join(format!("models--{name}"))
    }

    /// The commit that the cache knows the revision by.
    #[must_use]
    pub fn commit(&self, reference: &HubReference) -> Option<String> {
        if reference.is_commit() {
            return Some(reference.revision.clone());
        }
        let file = self
            .repository(reference)
            .join("refs")
            .join(&reference.revision);
        let text = crate::read_text(&file, MAX_COMMIT).ok()?;
        Some(text.trim().to_string()).filter(|commit| is_commit(commit))
    }

    /// The folder with the files of the revision, as far as they were downloaded.
    #[must_use]
    pub fn snapshot(&self, reference: &HubReference) -> Option<PathBuf> {
        let commit = self.commit(reference)?;
        let folder = self.repository(reference).join("snapshots").join(commit);
        folder.is_dir().then_some(folder)
    }

    /// Names of the files that are there of the revision, sorted; links to contents that are gone do
    /// not count.
    #[must_use]
    pub fn files(&self, reference: &HubReference) -> Vec<String> {
        let entries = self
            .snapshot(reference)
            .and_then(|folder| fs::read_dir(folder).ok());
        let entries = entries.into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.path().is_file());
        let mut names: Vec<String> = files
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[cfg(feature = "hub")]
impl HubCache {
    /// Where the content with this checksum is, or will be.
    pub(super) fn blob(&self, reference: &HubReference, etag: &str) -> PathBuf {
        self.repository(reference).join("blobs").join(etag)
    }

    /// The file by which downloads of one content wait for each other, as Python's wait.
    pub(super) fn lock(&self, reference: &HubReference, etag: &str) -> PathBuf {
        let name = reference.repository.replace('/', "--");
        let locks = self.root.join(".locks").join(format!("models--{name}"));
        locks.join(format!("{etag}.lock"))
    }

    /// Makes the content a file of the snapshot.
    pub(super) fn link(
        &self,
        reference: &HubReference,
        commit: &str,
        name: &str,
        etag: &str,
    ) -> Result<(), FileError> {
        let repository = self.repository(reference);
        let path = repository.join("snapshots").join(commit).join(name);
        let blob = repository.join("blobs").join(etag);
        let is_same = |path: &Path| {
            let found = fs::canonicalize(path).ok();
            found.is_some() && found == fs::canonicalize(&blob).ok()
        };
        if is_same(&path) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(&repository);
        fs::create_dir_all(folder).map_err(FileError::io("create", folder))?;
        // From snapshots/COMMIT/, and from each folder of the name.
        let up = "../".repeat(2 + name.matches('/').count());
        let target = format!("{up}blobs/{etag}");
        put_link(&target, &blob, &path)
    }

    /// Records which commit the revision is.
    pub(super) fn set_commit(
        &self,
        reference: &HubReference,
        commit: &str,
    ) -> Result<(), FileError> {
        if reference.is_commit() || self.commit(reference).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self
            .repository(reference)
            .join("refs")
            .join(&reference.revision);
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder).map_err(FileError::io("create", folder))?;
        write_file(&path, commit.as_bytes())
    }
}

/// A link at `path`, in the place of what is there; a copy where there are no links.
#[cfg(all(feature = "hub", unix))]
fn put_link(target: &str, _blob: &Path, path: &Path) -> Result<(), FileError> {
    // A name of this process, so that two of them do not meet.
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".oscar-link-{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let _ = fs::remove_file(&temporary);
    std::os::unix::fs::symlink(target, &temporary).map_err(FileError::io("link", path))?;
    fs::rename(&temporary, path).map_err(FileError::io("link", path))
}

#[cfg(all(feature = "hub", not(unix)))]
fn put_link(_target: &str, blob: &Path, path: &Path) -> Result<(), FileError> {
    crate::write_file_with(path, |temporary| {
        fs::copy(blob, temporary)
            .map(drop)
            .map_err(FileError::io("copy", blob))
    })
}
