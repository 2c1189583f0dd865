//! Files for readers that open paths: in memory where there is such a place.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

thread_local! {
    static PLACE: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    /// The file that the last input changed, by directory.
    static CHANGED: RefCell<HashMap<String, String>> = RefCell::default();
}

/// A directory of this thread's own, kept from one input to the next.
fn place() -> PathBuf {
    PLACE.with_borrow_mut(|place| {
        let memory = Path::new("/dev/shm");
        let made = place.get_or_insert_with(|| {
            let made = match memory.is_dir() {
                true => tempfile::tempdir_in(memory),
                false => tempfile::tempdir(),
            };
            made.expect("a temporary directory")
        });
        made.path().to_path_buf()
    })
}

/// Writes `files` (name, content) into the directory `name`, and gives its path.
///
/// Files are replaced, not changed in place: the last input's may still be mapped.
pub fn directory(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let directory = place().join(name);
    for (file, content) in files {
        let path = directory.join(file);
        let parent = path.parent().expect("a file in a directory");
        std::fs::create_dir_all(parent).expect("a directory");
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, content).expect("a file");
    }
    directory
}

/// Writes one file, and gives its path.
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    directory("files", &[(name, content)]).join(name)
}

/// Copies a directory once per thread and name, with `changed` (path within it, content) in the
/// place of one file. What the last call changed is as it was.
pub fn changed_copy(name: &str, original: &[(String, Vec<u8>)], changed: (&str, &[u8])) -> PathBuf {
    let last = CHANGED.with_borrow_mut(|all| all.insert(name.into(), changed.0.into()));
    let files: Vec<(&str, &[u8])> = original
        .iter()
        .filter(|(file, _)| {
            let touched = file == changed.0 || last.as_ref() == Some(file);
            touched || last.is_none()
        })
        .map(|(file, content)| match file == changed.0 {
            true => (file.as_str(), changed.1),
            false => (file.as_str(), content.as_slice()),
        })
        .collect();
    directory(name, &files)
}

/// All files below `directory`, by their path within it.
pub fn collect(directory: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(root: &Path, directory: &Path, files: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(root, &path, files);
                continue;
            }
            let name = path.strip_prefix(root).expect("a path below");
            let name = name.to_string_lossy().into_owned();
            files.push((name, std::fs::read(&path).expect("a file")));
        }
    }
    let mut files = Vec::new();
    walk(directory, directory, &mut files);
    files.sort();
    files
}
