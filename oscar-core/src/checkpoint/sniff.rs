//! Which file holds the weights, and what its first bytes say it is.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use super::CheckpointError;

/// Names of the weights in a directory, the first that is there counts.
pub const WEIGHT_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// The file of weights that `path` is, or that the directory `path` holds.
///
/// # Errors
///
/// If a directory holds none.
pub fn locate(path: &Path) -> Result<PathBuf, CheckpointError> {
    if !path.is_dir() {
        return Ok(path.into());
    }
    let found = WEIGHT_FILES.iter().map(|name| path.join(name));
    found
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| CheckpointError::Io {
            action: "read",
            path: path.into(),
            source: Error::new(
                ErrorKind::NotFound,
                format!("the directory holds neither {}", WEIGHT_FILES.join(" nor ")),
            ),
        })
}

/// What a file seems to be.
pub(super) enum Look {
    Safetensors,
    Torch,
    Other(&'static str),
}

/// What a file is by its first bytes.
pub(super) fn looks_like(bytes: &[u8]) -> Option<Look> {
    if bytes.is_empty() {
        return Some(Look::Other("it is empty"));
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return Some(Look::Other(
            "it is the pointer that Git LFS leaves in place of the file; fetch the file itself \
             with git lfs pull",
        ));
    }
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"<") {
        return Some(Look::Other(
            "it is a page of HTML or XML, as servers send in place of a file that they refuse; \
             download it again",
        ));
    }
    // A pickle of protocol 2 or later; a header of safetensors is not that long.
    let pickle = matches!(bytes, [0x80, 2..=5, ..])
        && bytes
            .first_chunk()
            .is_some_and(|length| u64::from_le_bytes(*length) > bytes.len() as u64);
    if bytes.get(8) == Some(&b'{') && !pickle {
        return Some(Look::Safetensors);
    }
    (bytes.starts_with(b"PK") || bytes.starts_with(b"\x80")).then_some(Look::Torch)
}
