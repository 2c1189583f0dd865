//! The two checksums of the hub: SHA-256 of large files, git's SHA-1 of small ones.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::reference::is_hex;
use crate::FileError;

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
    pub(super) fn update_from(
        &mut self,
        mut file: impl Read,
        path: &Path,
    ) -> Result<(), FileError> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file
                .read(&mut buffer)
                .map_err(FileError::io("read", path))?
            {
                0 => return Ok(()),
                read => self.update(&buffer[..read]),
            }
        }
    }

    pub(super) fn finish(self) -> String {
        let bytes = match self {
            Self::Sha256(hash) => hash.finalize().to_vec(),
            Self::Git(hash) => hash.finalize().to_vec(),
        };
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
