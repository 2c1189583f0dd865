//! Directories that hold region stores and rows about their images.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_files::is_system_file;

use super::format::{JsonRows, Sniff, detect};
use super::region_store::check_store;
use super::{Context, Format, Report};
use crate::data_set::DATASET_FILE;
use crate::findings::{Counts, Defect, Kind, Problem};
use crate::mapped::read_file;
use crate::rows::Key;
use crate::store::{INDEX_FILE, RegionStore};
use serde::Deserialize;

/// A data set may hold data sets, as the expanded sample holds two splits.
const DEPTH: usize = 3;

/// The format of what `data build` makes.
pub(super) const DATA_SET: Format = Format {
    name: "data-set",
    about: "a directory with region stores and files of rows",
    names_images: false,
    recognizes: Some(recognizes),
    check: check_all,
};

pub(super) fn recognizes(path: &Sniff) -> bool {
    path.has(DATASET_FILE)
        || path
            .dir
            .as_deref()
            .is_some_and(|dir| !path.has(INDEX_FILE) && !stores(dir).is_empty())
}

fn check_all(paths: &[PathBuf], context: &Context, report: &mut Report) {
    for path in paths {
        check_dir(path, DEPTH, context, report);
    }
}

fn check_dir(dir: &Path, depth: usize, context: &Context, report: &mut Report) {
    let (stores, files) = (stores(dir), files_of_rows(dir));
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
    for file in &files {
        let keys = image_keys(file);
        let known =
            |store: &&Arc<RegionStore>| keys.iter().filter(|key| store.find(key).is_some()).count();
        // Rows are about the store that knows most of their images, the first of equals.
        let store = opened.iter().rev().max_by_key(known);
        let context = Context {
            images: store.cloned().map(|store| store as _),
            ..*context
        };
        match Sniff::open(file).and_then(|seen| detect(file, &seen)) {
            Ok(format) => (format.check)(std::slice::from_ref(file), &context, report),
            Err(error) => report.error(file, &error),
        }
    }
    for inner in subdirectories(dir) {
        if depth > 0 && inner.join(DATASET_FILE).exists() {
            check_dir(&inner, depth - 1, context, report);
        }
    }
    if report.checked.len() == before {
        let found = "it has neither a region store nor a file of rows";
        let defect = Defect::of(Kind::Unreadable, found).fix("build the data set again");
        report.push(Problem::of_file(dir, defect));
        report.checked(dir, "data-set", Counts::default());
    }
}

/// Checks that the description, if there is one, is JSON.
fn check_info(path: &Path, report: &mut Report) {
    if !path.exists() {
        return;
    }
    let found = match read_file(path, "it describes the data set") {
        Err(error) => Defect::of(Kind::Unreadable, format!("cannot read it ({error})")),
        Ok(bytes) => match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Err(error) => Defect::of(Kind::Json, error.to_string()),
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

fn files_of_rows(dir: &Path) -> Vec<PathBuf> {
    let mut files = entries(dir);
    files.retain(|path| path.is_file() && path.extension().is_some_and(|e| e == "jsonl"));
    files
}

/// Keys of images that the first rows of `path` name.
fn image_keys(path: &Path) -> Vec<String> {
    const KEYS: [&str; 4] = ["image", "image_id", "left", "right"];
    let rows = JsonRows::open(path).map_or(Vec::new(), |rows| rows.objects);
    let keys = rows
        .iter()
        .flat_map(|(_, row)| KEYS.map(|key| row.get(key)));
    keys.filter_map(|key| Some(Key::deserialize(key?).ok()?.0))
        .collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let data = entries.filter(|entry| !is_system_file(&entry.file_name().to_string_lossy()));
    let mut paths: Vec<PathBuf> = data.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
