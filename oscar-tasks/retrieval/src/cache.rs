//! A file of scores from which an interrupted evaluation resumes.
//!
//! | part | holds |
//! |---|---|
//! | header | what the file is, the [`Fingerprint`] of what is scored, the number of scores |
//! | records, one after the other | a count, as many scores, a checksum of both and of their place |
//!
//! All little-endian. A record that is cut off, as the last one of a killed process may be, is
//! dropped and scored again; one that does not fit its checksum is an error.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use oscar_files::FileError;

const MAGIC: &[u8; 8] = b"oscarsc1";
const HEADER: usize = MAGIC.len() + 32 + 8;
const FIX: &str = "delete the file, and its scores are computed again";

/// What scores were computed of: weights, texts, regions, settings.
///
/// (The official cache is known by the names of a directory and a split: it is taken for the 5K test
/// images when it was made for the 1K ones.)
#[derive(Clone, Debug, Default)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Takes a part in; the parts' borders count too.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn digest(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }
}

/// An open file of scores, locked.
#[derive(Debug)]
pub struct ScoreCache {
    path: PathBuf,
    file: File,
    done: usize,
    total: usize,
}

impl ScoreCache {
    /// Opens the file of `fingerprint` in `directory`, or makes it; gives the scores
    /// in it, the first ones of `total`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written, is damaged, holds other scores, or is being written by
    /// another process.
    pub fn open(
        directory: &Path,
        fingerprint: &Fingerprint,
        total: usize,
    ) -> Result<(Self, Vec<f32>), FileError> {
        std::fs::create_dir_all(directory).map_err(FileError::io("create", directory))?;
        let digest = fingerprint.digest();
        let name = oscar_files::hex(&digest[..8]);
        let path = directory.join(format!("retrieval-{name}.scores"));
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(FileError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let found = "another process writes its scores to it";
                return Err(FileError::malformed(&path, found, "wait for it to end"));
            }
            Err(TryLockError::Error(error)) => {
                return Err(FileError::io("lock", &path)(error));
            }
        }
        let header: Vec<u8> = [&MAGIC[..], &digest, &(total as u64).to_le_bytes()].concat();
        let mut cache = Self {
            path,
            file,
            done: 0,
            total,
        };
        let scores = cache.read(&header)?;
        cache.done = scores.len();
        Ok((cache, scores))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads all whole records, and cuts the file after the last of them.
    fn read(&mut self, header: &[u8]) -> Result<Vec<f32>, FileError> {
        let io = |source| FileError::io("read", &self.path)(source);
        let wrong = |found: String| FileError::malformed(&self.path, found, FIX);
        let length = self.file.metadata().map_err(io)?.len();
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        let mut found = vec![0; HEADER.min(length as usize)];
        reader.read_exact(&mut found).map_err(io)?;
        if !header.starts_with(&found) {
            let what = match found.starts_with(MAGIC) {
                true => "it holds scores of other weights, captions or settings",
                false => "it is not a score cache",
            };
            return Err(wrong(what.into()));
        }
        let mut end = HEADER as u64;
        let mut scores: Vec<f32> = Vec::new();
        if found.len() < HEADER {
            // A process that was killed as it began.
            self.file.set_len(0).map_err(io)?;
            self.file.rewind().map_err(io)?;
            self.file
                .write_all(header)
                .map_err(FileError::io("write", &self.path))?;
            return Ok(scores);
        }
        while end < length {
            let rest = length - end;
            let mut count = [0; 4];
            let cut = match rest < 8 {
                true => true,
                false => {
                    reader.read_exact(&mut count).map_err(io)?;
                    rest < 8 + 4 * u64::from(u32::from_le_bytes(count))
                }
            };
            let number = u32::from_le_bytes(count) as usize;
            if number > self.total - scores.len() {
                let done = scores.len();
                return Err(wrong(format!("after {done} scores: a record of {number}")));
            }
            if cut {
                tracing::warn!(
                    "{}: cut off after {} scores, as by a killed process; the rest is scored again",
                    self.path.display(),
                    scores.len()
                );
                break;
            }
            let mut values = vec![0; 4 * number];
            let mut sum = [0; 4];
            reader.read_exact(&mut values).map_err(io)?;
            reader.read_exact(&mut sum).map_err(io)?;
            if checksum(scores.len(), &values) != u32::from_le_bytes(sum) {
                let done = scores.len();
                return Err(wrong(format!("the record after {done} scores is damaged")));
            }
            let (values, _) = values.as_chunks::<4>();
            scores.extend(values.iter().map(|value| f32::from_le_bytes(*value)));
            end += 8 + 4 * number as u64;
        }
        drop(reader);
        self.file.set_len(end).map_err(io)?;
        self.file.seek(SeekFrom::Start(end)).map_err(io)?;
        Ok(scores)
    }

    /// Writes the next scores.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn append(&mut self, scores: &[f32]) -> Result<(), FileError> {
        let values: Vec<u8> = scores
            .iter()
            .flat_map(|score| score.to_le_bytes())
            .collect();
        let sum = checksum(self.done, &values);
        let count = scores.len() as u32;
        // One call, so that a process that is killed between calls leaves whole records.
        let record = [&count.to_le_bytes()[..], &values, &sum.to_le_bytes()].concat();
        self.file
            .write_all(&record)
            .map_err(FileError::io("write", &self.path))?;
        self.done += scores.len();
        Ok(())
    }
}

fn checksum(place: usize, values: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(place as u64).to_le_bytes());
    hasher.update(values);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(text: &str) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        fingerprint.add(text.as_bytes());
        fingerprint
    }

    fn filled(directory: &Path) -> PathBuf {
        let (mut cache, scores) = ScoreCache::open(directory, &fingerprint("a"), 10).unwrap();
        assert!(scores.is_empty());
        cache.append(&[1.0, 2.0, 3.0]).unwrap();
        cache.append(&[4.0, 5.0]).unwrap();
        cache.path().to_path_buf()
    }

    #[test]
    fn goes_on_after_what_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = filled(directory.path());
        let whole = std::fs::read(&path).unwrap();
        // Wherever it is cut, what is whole is kept, and the rest can be written again.
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (mut cache, scores) =
                ScoreCache::open(directory.path(), &fingerprint("a"), 10).unwrap();
            let records = length.saturating_sub(HEADER);
            let kept: &[f32] = match records {
                36.. => &[1.0, 2.0, 3.0, 4.0, 5.0],
                20.. => &[1.0, 2.0, 3.0],
                _ => &[],
            };
            assert_eq!(scores, kept, "cut to {length}");
            cache.append(&[7.0]).unwrap();
            drop(cache);
            let (_, scores) = ScoreCache::open(directory.path(), &fingerprint("a"), 10).unwrap();
            assert_eq!(scores, [kept, &[7.0]].concat(), "cut to {length}");
        }
    }

    #[test]
    fn damage_and_other_scores_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = filled(directory.path());
        let whole = std::fs::read(&path).unwrap();
        let open = |text| {
            let opened = ScoreCache::open(directory.path(), &fingerprint(text), 10);
            opened.map(|(_, scores)| scores)
        };
        // Other captions have a file of their own.
        assert!(open("b").unwrap().is_empty());
        // One that was renamed.
        let path_of = |text| {
            let (cache, _) = ScoreCache::open(directory.path(), &fingerprint(text), 10).unwrap();
            cache.path().to_path_buf()
        };
        let other = path_of("b");
        std::fs::write(&other, &whole).unwrap();
        let found = open("b").unwrap_err().to_string();
        assert!(
            found.contains("other weights, captions or settings"),
            "{found}"
        );
        assert!(found.contains("delete the file"), "{found}");

        for (at, wanted) in [
            (HEADER + 5, "after 0 scores is damaged"),
            (HEADER + 2, "a record of"),
        ] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            std::fs::write(&path, damaged).unwrap();
            let found = open("a").unwrap_err().to_string();
            assert!(found.contains(wanted), "{at}: {found}");
        }
        std::fs::write(&path, "scores").unwrap();
        let found = open("a").unwrap_err().to_string();
        assert!(found.contains("not a score cache"), "{found}");
    }

    #[test]
    fn one_process_writes() {
        let directory = tempfile::tempdir().unwrap();
        let _held = ScoreCache::open(directory.path(), &fingerprint("a"), 10).unwrap();
        let found = ScoreCache::open(directory.path(), &fingerprint("a"), 10);
        let found = found.unwrap_err().to_string();
        assert!(found.contains("another process"), "{found}");
    }
}
