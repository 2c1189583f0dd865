//! Storages: the memory that tensors are views of.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::ReadError;
use super::zip::Member;

/// Bytes that tensors share, still in the file.
pub struct Storage {
    key: Arc<str>,
    source: Source,
    /// Result of reading a member of an archive, once it was read.
    checked: OnceLock<Result<Bytes, String>>,
}

enum Source {
    /// A part of the file.
    Bytes(Bytes),
    /// A member of an archive, whose header and checksum are verified when it is read.
    Member(Member),
}

impl Storage {
    /// A storage called `key` whose content is in memory or in a memory map.
    pub fn of_bytes(key: Arc<str>, bytes: Bytes) -> Self {
        Self {
            key,
            source: Source::Bytes(bytes),
            checked: OnceLock::new(),
        }
    }

    pub(super) fn of_member(key: Arc<str>, member: Member) -> Self {
        Self {
            key,
            source: Source::Member(member),
            checked: OnceLock::new(),
        }
    }

    /// Its name in the file.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Bytes(bytes) => bytes.len(),
            Source::Member(member) => member.len(),
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, in the file's memory map.
    ///
    /// # Errors
    ///
    /// If the archive is damaged: a header or a checksum is wrong.
    pub fn bytes(&self) -> Result<&Bytes, ReadError> {
        match &self.source {
            Source::Bytes(bytes) => Ok(bytes),
            Source::Member(member) => {
                self.checked
                    .get_or_init(|| member.read())
                    .as_ref()
                    .map_err(|reason| ReadError::Damaged {
                        reason: reason.clone(),
                    })
            }
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "storage({:?}, {} bytes)", self.key, self.len())
    }
}
