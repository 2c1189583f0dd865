//! Paths that come out of files.

use std::path::{Component, Path, PathBuf};

use serde::Serializer;

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

/// Serialises a path as messages show it: `#[serde(serialize_with = "oscar_files::serialize_shown")]`.
///
/// A name on Linux need not be UTF-8, and `serde` refuses such a path: a document that tells what was
/// read or written would fail for the name of a folder. What is not UTF-8 becomes U+FFFD, as in
/// [`Path::display`]. Not for paths that are read back and opened.
///
/// # Errors
///
/// If the serializer fails.
pub fn serialize_shown<P: AsRef<Path>, S: Serializer>(
    path: &P,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.as_ref().display())
}

/// Whether an entry of a folder or archive is the operating system's and not data: hidden files
/// such as `.DS_Store` and `._1.npz`, `__MACOSX`, `Thumbs.db`.
pub fn is_system_file(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "__MACOSX",
        "Thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "$RECYCLE.BIN",
        "System Volume Information",
    ];
    name.starts_with('.') || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_system_are_no_data() {
        for name in [
            ".DS_Store",
            "._1.npz",
            "thumbs.db",
            "Desktop.ini",
            "__MACOSX",
            ".ipynb",
        ] {
            assert!(is_system_file(name), "{name}");
        }
        for name in ["1.npz", "_1.npz", "a.b", "MACOSX", "thumbs.db.npz"] {
            assert!(!is_system_file(name), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_are_not_utf_8_are_shown() {
        use std::os::unix::ffi::OsStrExt;

        #[derive(serde::Serialize)]
        struct Read {
            #[serde(serialize_with = "super::serialize_shown")]
            file: PathBuf,
        }
        for (name, shown) in [(&b"a/b"[..], "a/b"), (b"a\xff/b", "a\u{fffd}/b")] {
            let file = PathBuf::from(std::ffi::OsStr::from_bytes(name));
            let document = serde_json::to_value(Read { file }).expect("a document");
            assert_eq!(document["file"], shown);
        }
    }

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
