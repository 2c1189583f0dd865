//! The two checksums of the hub: SHA-256 of large files, git's SHA-1 of small ones.

use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::reference::is_hex;
use crate::{FileError, for_each_piece, hex};

/// A checksum that grows with what arrives.
pub(super) enum Digest {
    Sha256(Sha256),
    Git(Sha1),
}

impl Digest {
    /// The kind of checksum that `etag` is, of a content of `size` bytes.
    pub(super) fn of(etag: &str, size: u64) -> Option<Self> {
        if is_hex(etag, 64) {
            return Some(Self::Sha256(Sha256::new()));
        }
        // Git hashes a header with the length first.
        let header = format!("blob {size}\0");
        is_hex(etag, 40).then(|| Self::Git(Sha1::new().chain_update(header)))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Git(hash) => hash.update(bytes),
        }
    }

    /// Takes in a whole file.
    pub(super) fn update_from(&mut self, file: impl Read, path: &Path) -> Result<(), FileError> {
        for_each_piece(file, path, |piece| self.update(piece))
    }

    pub(super) fn finish(self) -> String {
        match self {
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::Git(hash) => hex(&hash.finalize()),
        }
    }
}
