//! Files that appear whole or not at all.

use std::fs::File;
use std::path::Path;

use super::CheckpointError;

/// Makes `path` through `write`, which is given a place beside it; then syncs and renames.
pub(super) fn write_aside(
    path: &Path,
    write: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), CheckpointError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let aside = Path::new(&aside);
    let written = write(aside)
        .and_then(|()| File::open(aside)?.sync_all())
        .and_then(|()| std::fs::rename(aside, path))
        .map_err(|source| CheckpointError::Io {
            action: "write",
            path: path.into(),
            source,
        });
    if written.is_err() {
        // Nothing to add to the first error if this fails too.
        let _ = std::fs::remove_file(aside);
    }
    written
}
