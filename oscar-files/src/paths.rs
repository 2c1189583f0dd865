//! Paths that come out of files.

use std::path::{Component, Path, PathBuf};

use crate::FileError;

/// The path that the file `file` means by `name`: relative to its directory, and inside it.
///
/// Data sets and checkpoints come from others, so a name in them must not reach other files:
/// absolute paths and paths that climb out of the directory are refused. Symbolic links are
/// followed, since whoever set up the directory made them.
///
/// # Errors
///
/// [`FileError::Outside`] if `name` leads out of the directory.
pub fn named_by(file: &Path, name: impl AsRef<Path>) -> Result<PathBuf, FileError> {
    let name = name.as_ref();
    match stays_inside(name) {
        true => Ok(file.with_file_name("").join(name)),
        false => Err(FileError::Outside {
            path: file.to_path_buf(),
            name: name.to_path_buf(),
        }),
    }
}

/// Whether `name`, taken relative to a directory, stays inside it.
pub fn stays_inside(name: &Path) -> bool {
    let mut depth = 0i32;
    name.components().all(|component| {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth -= 1,
            Component::RootDir | Component::Prefix(_) => depth = -1,
        }
        depth >= 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_directory_of_the_file() {
        let file = Path::new("data/val.yaml");
        for name in ["a.tsv", "b/../a.tsv", "./b/a.tsv", ""] {
            let found = named_by(file, name).unwrap();
            assert_eq!(found, Path::new("data").join(name));
        }
        assert_eq!(
            named_by(Path::new("val.yaml"), "a").unwrap(),
            Path::new("a")
        );
        for name in ["/etc/passwd", "..", "../a", "b/../../a", "b/../../data/a"] {
            let error = named_by(file, name).unwrap_err();
            assert!(matches!(error, FileError::Outside { .. }), "{error}");
            assert!(error.to_string().contains("val.yaml"), "{error}");
        }
    }
}
