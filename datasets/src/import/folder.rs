//! Folders with one file per image.

use std::fs;
use std::path::{Path, PathBuf};

use oscar_files::is_system_file;

use crate::error::{DatasetError, Result};

/// A file of one image may take at most this many bytes, 256 MiB.
const MAX_FILE: u64 = 1 << 28;

/// The images of a folder: a file each.
pub(super) struct Folder {
    paths: Vec<PathBuf>,
    keys: Vec<String>,
}

impl Folder {
    /// The files directly in `dir` that end in `.extension`, or `dir` itself if it is such a file,
    /// by name; those that `is_companion` says belong to another one are left out.
    ///
    /// # Errors
    /// A folder that cannot be listed; two files for one key, unless `repeated_keys`.
    pub(super) fn open(
        dir: &Path,
        extension: &str,
        is_companion: impl Fn(&str, &[String]) -> bool,
        repeated_keys: bool,
    ) -> Result<Self> {
        let mut paths = match dir.is_dir() {
            true => with_extension(dir, extension)?,
            false => vec![dir.to_path_buf()],
        };
        let mut stems: Vec<String> = paths.iter().map(|path| stem(path)).collect();
        stems.sort_unstable();
        paths.retain(|path| !is_companion(&stem(path), &stems));
        let mut files: Vec<(String, PathBuf)> = paths
            .into_iter()
            .map(|path| (key(&stem(&path)).to_string(), path))
            .collect();
        files.sort();
        let twin = files.windows(2).find(|pair| pair[0].0 == pair[1].0);
        if let Some([(key, first), (_, second)]) = twin.filter(|_| !repeated_keys) {
            let found = format!("it has the key `{key}`, as {} has", first.display());
            let fix = "keys must be unique: remove or rename one of the files";
            return Err(DatasetError::malformed(second, found, fix));
        }
        let (keys, paths) = files.into_iter().unzip();
        Ok(Self { paths, keys })
    }

    pub(super) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The key of image `row`: its file's name without extension, and without that of the image.
    pub(super) fn key(&self, row: usize) -> &str {
        &self.keys[row]
    }

    /// The file of image `row`, whole.
    pub(super) fn read(&self, row: usize) -> Result<Vec<u8>> {
        read_file(&self.paths[row])
    }
}

/// A file of one image, whole.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let meta = fs::metadata(path).map_err(DatasetError::io("read", path))?;
    if meta.len() > MAX_FILE {
        let found = format!("{} bytes for one image", meta.len());
        return Err(DatasetError::malformed(
            path,
            found,
            "give a file per image",
        ));
    }
    Ok(oscar_files::read_file(path, MAX_FILE)?)
}

/// The files directly in `dir` with this extension.
pub(super) fn with_extension(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(DatasetError::io("list", dir))? {
        let path = entry.map_err(DatasetError::io("list", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let system = is_system_file(&name);
        if path.extension().is_some_and(|e| e == extension) && !system && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// A file's name without its last extension.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A name without the extension of the image that it was made from.
fn key(stem: &str) -> &str {
    let images = [".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG"];
    images
        .iter()
        .find_map(|end| stem.strip_suffix(end))
        .unwrap_or(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b.jpg.npz",
            "a.npz",
            "a_bbox.npz",
            "readme.txt",
            "c.npy",
            "._a.npz",
            ".npz",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let companion = |stem: &str, stems: &[String]| {
            let main = stem.strip_suffix("_bbox").map(String::from);
            main.is_some_and(|main| stems.contains(&main))
        };
        let folder = Folder::open(dir.path(), "npz", companion, false).unwrap();
        assert_eq!(folder.keys, ["a", "b"]);
        let one = Folder::open(&dir.path().join("b.jpg.npz"), "npz", companion, false).unwrap();
        assert_eq!(one.keys, ["b"]);
        fs::write(dir.path().join("a.png.npz"), "").unwrap();
        let twice = Folder::open(dir.path(), "npz", companion, false);
        let found = twice.err().unwrap().to_string();
        assert!(
            found.contains("a.png.npz: it has the key `a`, as"),
            "{found}"
        );
        assert!(Folder::open(dir.path(), "npz", companion, true).is_ok());
    }
}
