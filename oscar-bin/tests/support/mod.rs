//! Runs the program as a user would, in a directory of its own.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A directory to work in.
pub struct Workplace {
    pub directory: TempDir,
}

impl Workplace {
    /// An empty one.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program, with its runs in this directory and no configuration from the environment.
    pub fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oscar-bin"));
        command.env_remove("OSCAR_RUNS_DIR").env_remove("OSCAR_BACKEND").env_remove("RUST_LOG");
        command.current_dir(self.directory.path());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.program().args(args).output().expect("the program starts")
    }
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asserts that the program failed with a message that holds all `parts`, and did not panic.
pub fn assert_fails(output: &Output, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "expected exit code 1, got {output:?}");
    assert!(!text.contains("panicked"), "a panic: {text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in the message:\n{text}");
    }
}

/// Writes a text file.
pub fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file in a temporary directory");
}
