//! A mapped file that another process cuts off: the process ends with its name, not by a signal.

#![cfg(target_os = "linux")]

use std::fs::{File, OpenOptions};
use std::process::Command;

use oscar_files::{map_file, report_shrunk_maps};

const CHILD: &str = "OSCAR_TEST_SHRINKS";

/// Reads beyond the end of a file that has shrunk, in the process that the test below starts.
#[test]
#[ignore = "a part of the other test, which runs it in a process of its own"]
fn reads_beyond_the_end() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let path = std::path::PathBuf::from(path);
    report_shrunk_maps();
    let other = path.with_file_name("whole");
    std::fs::copy(&path, &other).unwrap();
    let maps = [map_file(&other).unwrap(), map_file(&path).unwrap()];
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(10).unwrap();
    let sum: u64 = maps
        .iter()
        .flat_map(|map| map.iter())
        .map(|b| u64::from(*b))
        .sum();
    panic!("read {sum}");
}

#[test]
fn a_file_that_shrinks_is_named() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("re\ngions");
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "reads_beyond_the_end"])
        .env(CHILD, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        said.contains("re\\ngions") && said.contains("SIGBUS"),
        "{said}"
    );
}
