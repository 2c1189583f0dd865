//! Files and directories that appear whole or not at all, and what killed processes leave.

use std::fs;
use std::path::Path;

use oscar_files::{
    FileError, StagedDir, recover, recover_all, remove_directory, write_directory, write_file,
    write_file_with, write_json,
};

const MARKER: &str = "index";

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn content(directory: &Path) -> String {
    fs::read_to_string(directory.join(MARKER)).unwrap()
}

/// A finished directory with this content.
fn make(directory: &Path, text: &str) {
    fs::create_dir(directory).unwrap();
    fs::write(directory.join(MARKER), text).unwrap();
}

/// Replaces `target` by a directory with this content.
fn replace(target: &Path, text: &str) -> Result<(), FileError> {
    let staged = StagedDir::create(target, MARKER, true)?;
    fs::create_dir(staged.path().join("sub")).unwrap();
    fs::write(staged.path().join("sub/file"), "x").unwrap();
    fs::write(staged.path().join(MARKER), text).unwrap();
    staged.commit()
}

/// What users have beside what is written.
fn of_the_user(place: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let names = [
        format!("{name}.old"),
        format!("{name}.tmp"),
        format!("{name}.tmp-1"),
        format!(".{name}.old"),
        format!(".{name}.tmp"),
    ];
    let paths: Vec<_> = names.iter().map(|name| place.join(name)).collect();
    for path in &paths {
        fs::create_dir(path).unwrap();
        fs::write(path.join("my-backup.txt"), "precious").unwrap();
    }
    paths
}

#[test]
fn files_of_the_user_beside_a_target_are_never_touched() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("d");
    let mut theirs = of_the_user(place.path(), "d");
    replace(&target, "first").unwrap();
    replace(&target, "second").unwrap();
    recover(&target).unwrap();
    write_directory::<FileError>(&place.path().join("w"), |_| Ok(())).unwrap();
    theirs.extend(of_the_user(place.path(), "f.json"));
    for _ in 0..2 {
        write_json(&place.path().join("f.json"), &[1, 2]).unwrap();
    }
    remove_directory(&target).unwrap();
    for path in &theirs {
        assert_eq!(fs::read(path.join("my-backup.txt")).unwrap(), b"precious");
    }
    assert_eq!(names(place.path()).len(), theirs.len() + 2);
}

#[test]
fn a_file_that_cannot_be_filled_leaves_the_old_one() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("f");
    write_file(&path, b"old").unwrap();
    let failed: Result<(), FileError> = write_file_with(&path, |temporary| {
        fs::write(temporary, "half").unwrap();
        Err(FileError::malformed(&path, "a fault", "none"))
    });
    assert!(matches!(failed, Err(FileError::Malformed { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    // What a killed process left is used again.
    fs::write(place.path().join(".f.oscar-tmp-0"), "a longer leftover").unwrap();
    write_file(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(place.path()), ["f"]);
    let missing = write_file(&place.path().join("no/f"), b"x");
    assert!(matches!(
        missing,
        Err(FileError::Io {
            action: "write",
            ..
        })
    ));
}

#[test]
fn only_a_directory_of_ours_is_overwritten_and_only_on_request() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("d");
    fs::create_dir(&target).unwrap();
    replace(&target, "an empty directory is no obstacle").unwrap();
    let found = StagedDir::create(&target, MARKER, false).err();
    assert!(matches!(found, Some(FileError::AlreadyExists { .. })));
    let found = StagedDir::create(&target, "another", true).err();
    assert!(matches!(
        found,
        Some(FileError::NotOurs {
            marker: "another",
            ..
        })
    ));
    // What appears while the directory is written counts too.
    let other = place.path().join("e");
    let staged = StagedDir::create(&other, MARKER, true).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(other.join("holiday.png"), "x").unwrap();
    assert!(matches!(staged.commit(), Err(FileError::NotOurs { .. })));
    assert_eq!(names(place.path()), ["d", "e"]);
    assert_eq!(names(&other), ["holiday.png"]);
}

#[test]
fn two_writers_of_one_target_do_not_meet() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("d");
    let first = StagedDir::create(&target, MARKER, true).unwrap();
    let second = StagedDir::create(&target, MARKER, true).unwrap();
    for (staged, text) in [(&first, "first"), (&second, "second")] {
        fs::write(staged.path().join(MARKER), text).unwrap();
    }
    first.commit().unwrap();
    assert_eq!(content(&target), "first");
    second.commit().unwrap();
    assert_eq!(content(&target), "second");
    assert_eq!(names(place.path()), ["d"]);
}

/// Every state in which a killed process may leave a replacement.
#[test]
fn a_killed_replacement_is_put_right() {
    for (killed, expected) in [
        (["", ".d.oscar-tmp-0", ".d.oscar-old"], "old"),
        (["d", "", ".d.oscar-old"], "d"),
        (["d", ".d.oscar-tmp-0", ""], "d"),
        (["d", "", ""], "d"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("d");
        for name in killed.into_iter().filter(|name| !name.is_empty()) {
            let text = name.rsplit('-').next().unwrap();
            make(&place.path().join(name), text);
        }
        recover(&target).unwrap();
        assert_eq!(content(&target), expected, "{killed:?}");
        replace(&target, "new").unwrap();
        assert_eq!(content(&target), "new");
        assert_eq!(names(place.path()), ["d"], "{killed:?}");
        assert_eq!(names(&target), [MARKER, "sub"]);
    }
}

/// What versions before 0.2 left in run directories.
#[test]
fn leftovers_in_a_run_directory_are_put_right() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path();
    make(&run.join(".best.old"), "best");
    make(&run.join(".best.tmp"), "half");
    make(&run.join("last"), "last");
    make(&run.join(".last.old"), "older");
    make(&run.join(".step-00000002.tmp"), "half");
    make(&run.join(".step-00000001.oscar-tmp-0"), "half");
    fs::write(run.join(".state.json.oscar-tmp-3"), "{").unwrap();
    fs::write(run.join(".lock"), "").unwrap();
    recover_all(run, &["best", "last"]).unwrap();
    assert_eq!(names(run), [".lock", "best", "last"]);
    assert_eq!(content(&run.join("best")), "best");
    assert_eq!(content(&run.join("last")), "last");
}

#[test]
fn a_directory_is_written_inside_one_that_is_being_written() {
    let place = tempfile::tempdir().expect("a directory");
    let outer = StagedDir::create(&place.path().join("set"), "marker", false).expect("staged");
    let target = outer.path().join("regions");
    let inner = StagedDir::create(&target, "marker", false).expect("staged inside");
    fs::write(inner.path().join("marker"), b"inner").expect("written");
    inner.commit().expect("the inner one");
    fs::write(outer.path().join("marker"), b"outer").expect("written");
    outer.commit().expect("the outer one");
    let inner = place.path().join("set/regions/marker");
    assert_eq!(fs::read(inner).expect("whole"), b"inner");
}

#[test]
#[cfg(unix)]
fn a_lock_of_somebody_else_is_not_waited_for_without_end() {
    let place = tempfile::tempdir().expect("a directory");
    let held = fs::File::open(place.path()).expect("opened");
    held.lock().expect("locked");
    let staged = StagedDir::create(&place.path().join("set"), "marker", false).expect("staged");
    fs::write(staged.path().join("marker"), b"whole").expect("written");
    staged.commit().expect("written all the same");
    assert!(place.path().join("set/marker").exists());
}

#[test]
#[cfg(unix)]
fn nothing_but_a_file_is_replaced_by_a_file() {
    let place = tempfile::tempdir().unwrap();
    let [own, link, folder, socket] =
        ["own", "link", "folder", "socket"].map(|name| place.path().join(name));
    fs::write(&own, "mine").unwrap();
    std::os::unix::fs::symlink(&own, &link).unwrap();
    fs::create_dir(&folder).unwrap();
    let _open = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [&link, &folder, &socket] {
        let error = write_file(path, b"new").unwrap_err();
        assert!(matches!(error, FileError::NotAFile { .. }), "{error}");
    }
    assert!(link.is_symlink());
    assert_eq!(fs::read(&own).unwrap(), b"mine");
    assert_eq!(names(place.path()).len(), 4);
    write_file(&own, b"new").unwrap();
    assert_eq!(fs::read(&link).unwrap(), b"new");
}

#[test]
#[cfg(unix)]
fn a_directory_is_written_where_a_link_leads() {
    let place = tempfile::tempdir().unwrap();
    let (disk, link) = (place.path().join("disk"), place.path().join("link"));
    fs::create_dir(&disk).unwrap();
    std::os::unix::fs::symlink(&disk, &link).unwrap();
    for text in ["first", "second"] {
        replace(&link, text).unwrap();
        assert!(link.is_symlink());
        assert_eq!(content(&disk), text);
    }
    assert_eq!(names(place.path()), ["disk", "link"]);
    // Without a marker nothing tells whose directory it leads to.
    let error = write_directory::<FileError>(&link, |_| Ok(())).unwrap_err();
    assert!(matches!(error, FileError::Malformed { .. }), "{error}");
    assert_eq!(content(&disk), "second");
    // A link that leads nowhere stays, too.
    fs::remove_dir_all(&disk).unwrap();
    assert!(replace(&link, "third").is_err());
    assert_eq!(names(place.path()), ["link"]);
}
