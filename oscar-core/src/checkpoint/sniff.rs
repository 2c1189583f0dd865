//! Which file holds the weights, and its format by its first bytes.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use oscar_files::FileError;

use super::CheckpointError;

/// File names of weights in a directory, in order of preference.
pub const WEIGHT_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// The weight file at `path`, or in the directory `path`.
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
        .ok_or_else(|| {
            let found = format!("the directory holds neither {}", WEIGHT_FILES.join(" nor "));
            FileError::io("read", path)(Error::new(ErrorKind::NotFound, found)).into()
        })
}

/// The format of a file.
pub(super) enum Sniffed {
    Safetensors,
    Torch,
    /// Neither, and why people have such a file.
    Other(&'static str),
}

/// The format of a file that begins with `bytes`; none if it is unknown.
pub(super) fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    if bytes.is_empty() {
        return Some(Sniffed::Other("it is empty"));
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return Some(Sniffed::Other(
            "it is a Git LFS pointer instead of the file; fetch the file with git lfs pull",
        ));
    }
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"<") {
        return Some(Sniffed::Other(
            "it is an HTML or XML page, which servers send instead of a file that they refuse; \
             download it again",
        ));
    }
    // A pickle of protocol 2 or later; a header of safetensors is not that long.
    let pickle = matches!(bytes, [0x80, 2..=5, ..])
        && bytes
            .first_chunk()
            .is_some_and(|length| u64::from_le_bytes(*length) > bytes.len() as u64);
    if bytes.get(8) == Some(&b'{') && !pickle {
        return Some(Sniffed::Safetensors);
    }
    (bytes.starts_with(b"PK") || bytes.starts_with(b"\x80")).then_some(Sniffed::Torch)
}
