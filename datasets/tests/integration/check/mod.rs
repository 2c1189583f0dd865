//! Checks of whole files find all that is wrong, each with its place.

mod objects;
mod rows;
mod stores;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use oscar_datasets::check::{CheckOptions, Kind, Report, check};
use tempfile::TempDir;

/// A directory with files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }
}

fn quiet() -> CheckOptions {
    CheckOptions {
        progress: false,
        ..CheckOptions::default()
    }
}

fn checked(paths: &[impl AsRef<Path>]) -> Report {
    check(paths, &quiet()).unwrap()
}

/// Asserts that the problems are these, in order: file name, line or key, kind, part of what was
/// found.
fn assert_problems(report: &Report, wanted: &[(&str, &str, Kind, &str)]) {
    let all: String = report.problems.iter().map(|p| format!("{p}\n")).collect();
    assert_eq!(report.problems.len(), wanted.len(), "{all}");
    assert_eq!((report.total, report.ok), (wanted.len(), wanted.is_empty()));
    for (problem, (file, place, kind, found)) in report.problems.iter().zip(wanted) {
        assert_eq!(problem.file.file_name().unwrap(), *file, "{problem}");
        let line = problem.line.map(|line| line.to_string());
        let key = problem.key.clone();
        let said = [line.as_deref(), key.as_deref()].contains(&Some(place));
        assert!(said || place.is_empty(), "not at {place}: {problem}");
        assert_eq!(problem.kind, *kind, "{problem}");
        assert!(
            problem.found.contains(found),
            "{found:?} is not in {problem}"
        );
    }
}

fn count(report: &Report, at: usize, name: &str) -> u64 {
    let counts = &report.checked[at].counts;
    counts
        .get(name)
        .unwrap_or_else(|| panic!("{name} is not counted: {counts:?}"))
}

/// Values of a region of two features and a box.
const REGION: [f32; 8] = [0.5, 1.5, 0.0, 0.0, 0.5, 0.25, 0.5, 0.25];

fn of_dim_two() -> CheckOptions {
    CheckOptions {
        feature_dim: 2,
        ..quiet()
    }
}

/// Numbers as base64.
fn base64(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    base64_simd::STANDARD.encode_to_string(bytes)
}
