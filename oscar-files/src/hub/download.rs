//! Files of a repository, into the cache.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use serde::Deserialize;

use super::client::{Answer, Ask, Client};
use super::digest::Digest;
use super::reference::is_commit;
use super::{HubError, HubReference, HubSettings};
use crate::{FileError, sync_directory, sync_file};

/// Most bytes of the list of a repository's files.
const MAX_LIST: u64 = 32 << 20;

/// A client of the hub.
pub struct Hub {
    settings: HubSettings,
    client: Client,
    attempts: u32,
    pause: Duration,
}

/// What a repository holds at a commit.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The repository, at the revision that was asked for.
    pub reference: HubReference,
    /// The commit that the revision is now.
    pub commit: String,
    /// Names of its files.
    pub files: Vec<String>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Its checksum: SHA-256 if it is stored as a large file, else git's SHA-1.
    pub etag: String,
    /// Whether the cache has the content.
    pub is_cached: bool,
}

/// What happens to a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Another process downloads the same content, and is waited for.
    Waiting,
    /// It begins with so many bytes that are there from an earlier attempt.
    Began(u64),
    /// So many bytes have arrived.
    Received(u64),
    /// What was there cannot be continued; it begins anew.
    Restarted,
    /// The connection broke off, and is made again.
    Broken(&'a str),
}

#[derive(Deserialize)]
struct Repository {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Why a content did not arrive.
enum Failure {
    /// The connection; another attempt may succeed.
    Broken(String),
    /// Something that another attempt does not mend.
    Final(HubError),
}

impl<E: Into<HubError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

/// A content that is being written.
struct Partial<'a> {
    file: File,
    path: PathBuf,
    remote: &'a RemoteFile,
    digest: Digest,
    length: u64,
}

impl Hub {
    /// A client with these settings; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// If the settings forbid the network, or the system has no certificates.
    pub fn connect(settings: HubSettings) -> Result<Self, HubError> {
        if settings.offline {
            return Err(HubError::Offline);
        }
        Ok(Self {
            client: Client::new(&settings)?,
            settings,
            attempts: 5,
            pause: Duration::from_secs(1),
        })
    }

    /// Gives up after so many attempts in a row that bring nothing, with this pause after the first,
    /// which doubles.
    #[must_use]
    pub fn with_patience(mut self, attempts: u32, pause: Duration) -> Self {
        (self.attempts, self.pause) = (attempts, pause);
        self
    }

    /// What the repository holds now.
    ///
    /// # Errors
    ///
    /// If the hub cannot be reached, or does not have it or give it.
    pub fn list(&self, reference: &HubReference) -> Result<Listing, HubError> {
        let revision = reference.revision.replace('/', "%2F");
        let path = format!("api/models/{}/revision/{revision}", reference.repository);
        let Answer {
            mut response, url, ..
        } = self.client.ask(&path, Ask::From(0))?;
        let body = response.body_mut().with_config().limit(MAX_LIST);
        let body = body.read_to_vec().map_err(|error| HubError::Answer {
            url: url.clone(),
            found: error.to_string(),
        })?;
        let answer = |found: String| HubError::Answer {
            url: url.clone(),
            found,
        };
        let repository: Repository = serde_json::from_slice(&body)
            .map_err(|error| answer(format!("the answer is not a list of files ({error})")))?;
        if !is_commit(&repository.sha) {
            return Err(answer(format!("{:?} is not a commit", repository.sha)));
        }
        let names = repository.siblings.into_iter().map(|file| file.rfilename);
        let mut files: Vec<String> = names.filter(|name| is_safe(name)).collect();
        files.sort();
        Ok(Listing {
            reference: reference.clone(),
            commit: repository.sha,
            files,
        })
    }

    /// Size and checksum of a file.
    ///
    /// # Errors
    ///
    /// If the hub cannot be reached, does not have the file, or does not say them.
    pub fn describe(&self, listing: &Listing, name: &str) -> Result<RemoteFile, HubError> {
        let path = resolved(listing, name);
        let Answer { said, url, .. } = self.client.ask(&path, Ask::About)?;
        let missing = |what: &str| HubError::Answer {
            url: url.clone(),
            found: format!("the answer does not have the {what} of {name}"),
        };
        if said
            .commit
            .as_ref()
            .is_some_and(|commit| *commit != listing.commit)
        {
            return Err(missing("commit"));
        }
        let size = said.size.ok_or_else(|| missing("size"))?;
        let etag = said.etag.ok_or_else(|| missing("checksum"))?;
        if Digest::of(&etag, size).is_none() {
            return Err(HubError::Answer {
                url: url.clone(),
                found: format!("{etag:?} is not a checksum"),
            });
        }
        let blob = self.settings.cache.blob(&listing.reference, &etag);
        let is_cached =
            fs::metadata(blob).is_ok_and(|found| found.is_file() && found.len() == size);
        Ok(RemoteFile {
            name: name.into(),
            size,
            etag,
            is_cached,
        })
    }

    /// Makes `remote` a file of the cache. What the cache has is not downloaded again, unless
    /// `verify` is set and it is damaged.
    ///
    /// # Errors
    ///
    /// If it does not arrive whole, or cannot be written; what arrived is kept, unless it is wrong.
    pub fn download(
        &self,
        listing: &Listing,
        remote: &RemoteFile,
        verify: bool,
        event: &dyn Fn(Event<'_>),
    ) -> Result<(), HubError> {
        let (cache, reference) = (&self.settings.cache, &listing.reference);
        let blob = cache.blob(reference, &remote.etag);
        let lock = cache.lock(reference, &remote.etag);
        create_parent(&blob)?;
        create_parent(&lock)?;
        let _lock = self.lock(&lock, event)?;
        if !is_whole(&blob, remote, verify)? {
            let mut partial = Partial::open(&blob, remote)?;
            event(Event::Began(partial.length));
            self.fill(&mut partial, &resolved(listing, &remote.name), event)?;
            partial.finish(&blob)?;
        }
        Ok(cache.link(reference, &listing.commit, &remote.name, &remote.etag)?)
    }

    /// The folder of the files, once all that is wanted of the listing has been downloaded.
    ///
    /// # Errors
    ///
    /// If the cache cannot be written.
    pub fn finish(&self, listing: &Listing) -> Result<PathBuf, HubError> {
        let cache = &self.settings.cache;
        cache.set_commit(&listing.reference, &listing.commit)?;
        let repository = cache.repository(&listing.reference);
        Ok(repository.join("snapshots").join(&listing.commit))
    }

    fn lock(&self, path: &Path, event: &dyn Fn(Event<'_>)) -> Result<File, HubError> {
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(path);
        let file = file.map_err(FileError::io("write", path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                event(Event::Waiting);
                file.lock().map_err(FileError::io("lock", path))?;
            }
            // Where there are no locks, the checksum tells whether two processes met.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        Ok(file)
    }

    /// Requests what is missing until all is there.
    fn fill(
        &self,
        partial: &mut Partial<'_>,
        path: &str,
        event: &dyn Fn(Event<'_>),
    ) -> Result<(), HubError> {
        let mut idle = 0;
        while partial.length < partial.remote.size {
            let before = partial.length;
            let reason = match self.receive(partial, path, event) {
                Ok(()) => continue,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Broken(reason)) => reason,
            };
            match partial.length > before {
                true => idle = 0,
                false => idle += 1,
            }
            if idle >= self.attempts {
                return Err(HubError::Truncated {
                    file: partial.remote.name.clone(),
                    received: partial.length,
                    expected: partial.remote.size,
                    reason,
                });
            }
            event(Event::Broken(&reason));
            sleep(self.pause * 2_u32.pow(idle.min(5)));
        }
        Ok(())
    }

    /// One request, and all that arrives of it.
    fn receive(
        &self,
        partial: &mut Partial<'_>,
        path: &str,
        event: &dyn Fn(Event<'_>),
    ) -> Result<(), Failure> {
        let answer = match self.client.ask(path, Ask::From(partial.length)) {
            Ok(answer) => answer,
            Err(
                error @ (HubError::Unreachable { .. }
                | HubError::Status {
                    status: 429 | 500..,
                    ..
                }),
            ) => {
                return Err(Failure::Broken(error.to_string()));
            }
            Err(error) => return Err(Failure::Final(error)),
        };
        let status = answer.response.status().as_u16();
        if partial.length > 0 && (status != 206 || !continues(&answer, partial.length)) {
            partial.restart()?;
            event(Event::Restarted);
            if status != 200 {
                return Err(Failure::Broken(format!("the range is refused ({status})")));
            }
        }
        let mut body = answer.response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        while partial.length < partial.remote.size {
            let read = match body.read(&mut buffer) {
                Ok(0) => return Err(Failure::Broken("the connection ended".into())),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Broken(error.to_string())),
            };
            let left = partial.remote.size - partial.length;
            let read = usize::try_from(left).map_or(read, |left| read.min(left));
            partial.append(&buffer[..read])?;
            event(Event::Received(read as u64));
        }
        Ok(())
    }
}

impl<'a> Partial<'a> {
    /// What is there of the content, to be continued.
    fn open(blob: &Path, remote: &'a RemoteFile) -> Result<Self, HubError> {
        let mut name = blob.file_name().unwrap_or_default().to_os_string();
        name.push(".incomplete");
        let path = blob.with_file_name(name);
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(HubError::NotAFile { path });
        }
        let mut options = File::options();
        let file = options.read(true).append(true).create(true).open(&path);
        let file = file.map_err(FileError::io("write", &path))?;
        let mut partial = Self {
            file,
            path,
            remote,
            digest: new_digest(remote)?,
            length: 0,
        };
        let found = partial.file.metadata();
        let found = found.map_err(FileError::io("read", &partial.path))?.len();
        match found > remote.size {
            true => partial.restart()?,
            false => {
                partial.digest.update_from(&partial.file, &partial.path)?;
                partial.length = found;
            }
        }
        Ok(partial)
    }

    fn restart(&mut self) -> Result<(), HubError> {
        self.digest = new_digest(self.remote)?;
        self.length = 0;
        let emptied = self.file.set_len(0);
        Ok(emptied.map_err(FileError::io("write", &self.path))?)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let written = self.file.write_all(bytes);
        written.map_err(FileError::io("write", &self.path))?;
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Gives the content its name, if it is what the hub has.
    fn finish(self, blob: &Path) -> Result<(), HubError> {
        let found = self.digest.finish();
        if found != self.remote.etag {
            fs::remove_file(&self.path).map_err(FileError::io("delete", &self.path))?;
            return Err(HubError::Checksum {
                file: self.remote.name.clone(),
                expected: self.remote.etag.clone(),
                found,
            });
        }
        sync_file(&self.path)?;
        fs::rename(&self.path, blob).map_err(FileError::io("write", blob))?;
        Ok(sync_directory(blob.parent().unwrap_or(blob))?)
    }
}

fn new_digest(remote: &RemoteFile) -> Result<Digest, HubError> {
    Digest::of(&remote.etag, remote.size).ok_or_else(|| HubError::Answer {
        url: remote.name.clone(),
        found: format!("{:?} is not a checksum", remote.etag),
    })
}

/// Whether the cache has the whole content.
fn is_whole(blob: &Path, remote: &RemoteFile, verify: bool) -> Result<bool, HubError> {
    let Ok(metadata) = fs::metadata(blob) else {
        return Ok(false);
    };
    if !metadata.is_file() {
        return Err(HubError::NotAFile { path: blob.into() });
    }
    if metadata.len() != remote.size || !verify {
        return Ok(metadata.len() == remote.size);
    }
    let mut digest = new_digest(remote)?;
    let file = File::open(blob).map_err(FileError::io("read", blob))?;
    digest.update_from(file, blob)?;
    Ok(digest.finish() == remote.etag)
}

/// Whether an answer with a part of the content begins where it is needed.
fn continues(answer: &Answer, start: u64) -> bool {
    let range = answer.response.headers().get("content-range");
    let range = range.and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

fn create_parent(path: &Path) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(FileError::io("create", folder))
}

/// Whether a name that the hub gave stays in the folder of the files.
fn is_safe(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.split('/').all(plain) && !name.contains(['\\', ':', '\0'])
}

/// Path of a file at the listing's commit.
fn resolved(listing: &Listing, name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    let Listing {
        reference, commit, ..
    } = listing;
    format!("{}/resolve/{commit}/{escaped}", reference.repository)
}
