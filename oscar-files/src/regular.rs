//! The one way in which readers open files: only regular ones.
//!
//! An archive or a data set of others may hold links to `/dev/zero`, named pipes, sockets, or links
//! to files elsewhere. Reading the first has no end, opening the second blocks, and copying what the
//! last refer to gives away another's file. [`open_regular`] refuses all but regular files before it
//! opens them, [`read_file`] bounds what is read, and [`inside`] refuses links that leave a folder.

use std::fs::{self, File, Metadata};
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::text::refuse_other;
use crate::{FileError, stays_inside};

/// Most bytes of a file that is read as a whole and describes something: a configuration, a
/// vocabulary, an index. The largest published ones have under 20 MB.
pub const SMALL_FILE: u64 = 64 << 20;

/// Opens a regular file, or what a link to one refers to, for reading.
///
/// # Errors
///
/// [`FileError::NotAFile`] for a directory, device, named pipe or socket, which is not opened; else
/// the system's reason.
pub fn open_regular(path: &Path) -> Result<(File, Metadata), FileError> {
    // Opening a named pipe waits for its writer, and opening a device may do something.
    require_file(
        path,
        &fs::metadata(path).map_err(FileError::io("read", path))?,
    )?;
    let file = File::open(path).map_err(FileError::io("read", path))?;
    let metadata = file.metadata().map_err(FileError::io("read", path))?;
    require_file(path, &metadata)?;
    Ok((file, metadata))
}

/// Reads a whole regular file of at most `limit` bytes.
///
/// # Errors
///
/// As [`open_regular`], and [`FileError::TooLarge`], before anything is read.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let (file, metadata) = open_regular(path)?;
    let too_large = |length| FileError::TooLarge {
        path: path.to_path_buf(),
        length,
        limit,
    };
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::new();
    // Files of /proc have no length, and one may grow meanwhile.
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    match read.map_err(FileError::io("read", path))? as u64 {
        length if length > limit => Err(too_large(length)),
        _ => Ok(bytes),
    }
}

/// Reads a whole text in UTF-8 as [`read_file`] does, without the byte order mark that editors of
/// Windows put first.
///
/// # Errors
///
/// As [`read_file`], and [`FileError::Malformed`] with the line that is not UTF-8, or with what the file is if
/// it is [another one](crate::other_file) altogether.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let mut bytes = read_file(path, limit)?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    refuse_other(path, &bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let found = format!("line {line} is not UTF-8");
        FileError::malformed(path, found, "save the file as UTF-8")
    })
}

/// The file `name` in `directory`, if there is one under this name; it need not be a regular one.
///
/// A link to a file outside `directory` is refused, because what a checkpoint of others refers to is
/// read and copied on. The links of a HuggingFace cache are not: its snapshots consist of links into
/// a folder of contents beside them.
///
/// # Errors
///
/// [`FileError::Outside`] if `name` climbs out of the directory, [`FileError::Link`] if a link does.
pub fn inside(directory: &Path, name: impl AsRef<Path>) -> Result<Option<PathBuf>, FileError> {
    let name = name.as_ref();
    if !stays_inside(name) {
        return Err(FileError::Outside {
            path: directory.to_path_buf(),
            name: name.to_path_buf(),
        });
    }
    let path = directory.join(name);
    match fs::symlink_metadata(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::io("read", &path)(error)),
    }
    let target = fs::canonicalize(&path).map_err(|error| dangling(&path, error))?;
    let folder = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let folder = fs::canonicalize(folder).map_err(FileError::io("read", directory))?;
    match target.starts_with(&folder) || is_of_cache(&folder, &target) {
        true => Ok(Some(path)),
        false => Err(FileError::Link { path, target }),
    }
}

/// Whether `folder` is (in) a snapshot of a HuggingFace cache, and `target` a content of it.
fn is_of_cache(folder: &Path, target: &Path) -> bool {
    let snapshots = folder.ancestors().find(|path| path.ends_with("snapshots"));
    let repository = snapshots.and_then(Path::parent);
    repository.is_some_and(|repository| target.starts_with(repository.join("blobs")))
}

/// A link that leads nowhere is named as such: the file itself "does not exist", yet it is listed.
fn dangling(path: &Path, error: Error) -> FileError {
    match (error.kind(), fs::read_link(path)) {
        (ErrorKind::NotFound, Ok(target)) => {
            let found = format!("it is a link to {}, which does not exist", target.display());
            FileError::io("read", path)(Error::new(ErrorKind::NotFound, found))
        }
        _ => FileError::io("read", path)(error),
    }
}

/// Refuses a path that a new file must not take the place of: a link of the user's, `/dev/null`, a
/// directory.
pub(crate) fn require_replaceable(path: &Path) -> Result<(), FileError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => require_file(path, &metadata),
        // There is nothing, or the system says what is wrong when the file is written.
        Err(_) => Ok(()),
    }
}

/// Refuses what is not a regular file.
fn require_file(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(FileError::NotAFile {
            path: path.to_path_buf(),
            kind: kind(metadata),
        }),
    }
}

#[cfg(unix)]
fn kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match metadata.file_type() {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(not(unix))]
fn kind(metadata: &Metadata) -> &'static str {
    match metadata.is_dir() {
        true => "a directory",
        false => "a special file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_without_its_mark_and_its_wrong_line_is_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("text");
        fs::write(&path, b"\xef\xbb\xbfa\nb\n").unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), "a\nb\n");
        fs::write(&path, b"a\nb\xff\n").unwrap();
        assert!(matches!(
            read_text(&path, 100),
            Err(FileError::Malformed { found, .. }) if found.contains("line 2")
        ));
        assert!(matches!(
            read_file(&path, 3),
            Err(FileError::TooLarge {
                length: 5,
                limit: 3,
                ..
            })
        ));
        assert_eq!(read_file(&path, 5).unwrap().len(), 5);
    }

    #[test]
    #[cfg(unix)]
    fn only_regular_files_are_opened() {
        use std::os::unix::{fs::symlink, net::UnixListener};

        let place = tempfile::tempdir().unwrap();
        let named = |name: &str| place.path().join(name);
        symlink("/dev/zero", named("zero")).unwrap();
        symlink("/dev/null", named("null")).unwrap();
        fs::create_dir(named("folder")).unwrap();
        let _listener = UnixListener::bind(named("socket")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(named("pipe"))
            .status();
        assert!(made.unwrap().success());
        for (name, expected) in [
            ("zero", "a device"),
            ("null", "a device"),
            ("folder", "a directory"),
            ("socket", "a socket"),
            ("pipe", "a named pipe"),
        ] {
            let path = named(name);
            for error in [
                open_regular(&path).map(drop).unwrap_err(),
                read_file(&path, 10).map(drop).unwrap_err(),
                crate::map_file(&path).map(drop).unwrap_err(),
                crate::OpenFile::open(&path).map(drop).unwrap_err(),
                crate::TextFile::open(&path).map(drop).unwrap_err(),
            ] {
                assert!(
                    matches!(&error, FileError::NotAFile { path: of, kind } if *of == path && *kind == expected),
                    "{name}: {error}"
                );
            }
        }
    }

    #[test]
    #[cfg(unix)]
    fn links_stay_in_their_folder_or_in_a_cache() {
        use std::os::unix::fs::symlink;

        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("folder");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(place.path().join("secret"), "of another").unwrap();
        fs::write(folder.join("own"), "own").unwrap();
        symlink("own", folder.join("alias")).unwrap();
        symlink("../secret", folder.join("relative")).unwrap();
        symlink(place.path().join("secret"), folder.join("absolute")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        symlink("nowhere", folder.join("dangling")).unwrap();
        for name in ["own", "alias", "sub/../own"] {
            assert_eq!(inside(&folder, name).unwrap(), Some(folder.join(name)));
        }
        assert_eq!(inside(&folder, "none").unwrap(), None);
        for name in ["relative", "absolute", "up/secret"] {
            let error = inside(&folder, name).unwrap_err();
            assert!(
                matches!(&error, FileError::Link { target, .. } if target.ends_with("secret")),
                "{name}: {error}"
            );
        }
        let error = inside(&folder, "../secret").unwrap_err();
        assert!(matches!(error, FileError::Outside { .. }), "{error}");
        let error = inside(&folder, "dangling").unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");

        let repository = place.path().join("models--a--b");
        let snapshot = repository.join("snapshots/0123");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir(repository.join("blobs")).unwrap();
        fs::write(repository.join("blobs/content"), "content").unwrap();
        symlink("../../blobs/content", snapshot.join("vocab.txt")).unwrap();
        symlink("../../../secret", snapshot.join("config.json")).unwrap();
        assert!(inside(&snapshot, "vocab.txt").unwrap().is_some());
        let error = inside(&snapshot, "config.json").unwrap_err();
        assert!(matches!(error, FileError::Link { .. }), "{error}");
    }
}
