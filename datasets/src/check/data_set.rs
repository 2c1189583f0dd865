//! Directories that hold stores and the corpora about their images.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::corpus::{check_corpus, knows};
use super::problem::{Finding, Kind, Problem};
use super::region_store::check_store;
use super::{Context, Counts, Format, Report, Sniff};
use crate::draw::DATASET_FILE;
use crate::store::{INDEX_FILE, RegionStore};

/// A data set may hold data sets, as the expanded sample holds two splits.
const DEPTH: usize = 3;

/// The format of what `data build` makes.
pub(super) struct DataSets;

impl Format for DataSets {
    fn name(&self) -> &'static str {
        "data-set"
    }

    fn about(&self) -> &'static str {
        "a directory with stores and corpora"
    }

    fn recognizes(&self, path: &Sniff) -> bool {
        path.has(DATASET_FILE)
            || path
                .dir
                .as_deref()
                .is_some_and(|dir| !path.has(INDEX_FILE) && !stores(dir).is_empty())
    }

    fn check(&self, paths: &[PathBuf], context: &Context, report: &mut Report) {
        for path in paths {
            check_dir(path, DEPTH, context, report);
        }
    }
}

fn check_dir(dir: &Path, depth: usize, context: &Context, report: &mut Report) {
    let (stores, corpora) = (stores(dir), corpora(dir));
    let before = report.checked.len();
    check_info(&dir.join(DATASET_FILE), report);
    for store in &stores {
        check_store(store, context, report);
    }
    // One that does not open has been reported.
    let opened: Vec<Arc<RegionStore>> = stores
        .iter()
        .filter_map(|dir| RegionStore::open(dir).ok())
        .collect();
    for corpus in &corpora {
        // A corpus is about the store that knows most of its images, the first of equals.
        let store = opened.iter().rev().max_by_key(|store| knows(corpus, store));
        check_corpus(corpus, store.cloned().map(|s| s as _), context, report);
    }
    for inner in subdirectories(dir) {
        if depth > 0 && inner.join(DATASET_FILE).exists() {
            check_dir(&inner, depth - 1, context, report);
        }
    }
    if report.checked.len() == before {
        let found = "neither a store nor a corpus is in it; build the data set again";
        report.push(Problem::of_file(dir, Finding::new(Kind::Unreadable, found)));
        report.checked(dir, "data-set", Counts::default());
    }
}

/// Checks that the description, if there is one, is JSON.
fn check_info(path: &Path, report: &mut Report) {
    if !path.exists() {
        return;
    }
    let found = match fs::read(path) {
        Err(error) => Finding::new(Kind::Unreadable, format!("cannot read it ({error})")),
        Ok(bytes) => match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Err(error) => Finding::new(Kind::Json, error.to_string()),
            Ok(_) => return,
        },
    };
    report.push(Problem::of_file(path, found));
}

/// The stores directly in `dir`, sorted by name.
pub(crate) fn stores(dir: &Path) -> Vec<PathBuf> {
    let mut stores = subdirectories(dir);
    stores.retain(|path| path.join(INDEX_FILE).exists());
    stores
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    entries(dir)
        .into_iter()
        .filter(|path| path.is_dir())
        .collect()
}

fn corpora(dir: &Path) -> Vec<PathBuf> {
    let mut files = entries(dir);
    files.retain(|path| path.is_file() && path.extension().is_some_and(|e| e == "jsonl"));
    files
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
