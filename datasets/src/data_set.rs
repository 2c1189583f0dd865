//! Data sets on disk: directories with region stores and corpora. Finds an image in one, and where
//! its picture was when the store was built.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::check::stores;
use crate::error::{DatasetError, Result};
use crate::keys::{self, Other, find_otherwise};
use crate::mapped::read_file;
use crate::store::{INDEX_FILE, RegionStore};

/// The file in which a built data set describes itself.
pub const DATASET_FILE: &str = "dataset.json";

/// Keys that an error names as near.
const NEAREST: usize = 5;

/// How much of a misspelt key is right.
const ALIKE: f64 = 0.5;

/// The image with this key in `dir`: a store, or a data set with stores in it.
///
/// # Errors
/// If `dir` holds no store, one cannot be opened, or none has the key: the nearest keys are named.
pub fn find_image(dir: &Path, key: &str) -> Result<(Arc<RegionStore>, usize)> {
    let mut opened = Vec::new();
    for path in stores_in(dir) {
        let store = RegionStore::open(&path)?;
        if let Some(row) = store.find(key) {
            return Ok((store, row));
        }
        opened.push(store);
    }
    for store in &opened {
        if let Other::One(row, spelling) = find_otherwise(key, |other| store.find(other)) {
            keys::tell(store.dir(), key, &spelling);
            return Ok((store.clone(), row));
        }
    }
    if opened.is_empty() {
        return Err(DatasetError::Missing {
            path: dir.join(INDEX_FILE),
            hint: "a region store has it, and a data set has stores in it; check the path",
        });
    }
    let mut near: Vec<(f64, &str)> = Vec::new();
    for other in opened.iter().flat_map(|store| store.keys()) {
        let likeness = strsim::normalized_levenshtein(key, other);
        let at = near.partition_point(|(better, _)| *better >= likeness);
        if at < NEAREST {
            near.insert(at, (likeness, other));
            near.truncate(NEAREST);
        }
    }
    let are = match near.first() {
        Some((likeness, _)) if *likeness >= ALIKE => "the nearest keys are",
        _ => "none is like it; keys are, for instance,",
    };
    let near: Vec<String> = near.iter().map(|(_, key)| format!("`{key}`")).collect();
    let found = format!("no image `{key}`; {are} {}", near.join(", "));
    Err(DatasetError::malformed(
        dir,
        found,
        "give the key of an image",
    ))
}

/// `dir` if it is a store, else the stores in it and in the data sets in it.
fn stores_in(dir: &Path) -> Vec<PathBuf> {
    if dir.join(INDEX_FILE).exists() {
        return vec![dir.to_path_buf()];
    }
    let mut found = stores(dir);
    let inner = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut inner: Vec<PathBuf> = inner.map(|entry| entry.path()).collect();
    inner.sort();
    for path in inner {
        if path.join(DATASET_FILE).exists() {
            found.extend(stores(&path));
        }
    }
    found
}

/// Where the pictures of a store are, if the store or the data set it belongs to records it and
/// they are still there, or beside the data set.
pub fn recorded_pictures(store: &RegionStore) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Info {
        pictures: Option<PathBuf>,
    }
    let set = store.dir().parent()?;
    let recorded = match store.pictures() {
        Some(recorded) => recorded.to_path_buf(),
        None => {
            let info = read_file(&set.join(DATASET_FILE), "").ok()?;
            serde_json::from_slice::<Info>(&info).ok()?.pictures?
        }
    };
    let name = recorded.file_name()?;
    // Data sets are moved together with what they were made from.
    let beside = [set.join(name), set.parent()?.join(name)];
    // A path that is not absolute is relative to the data set.
    [set.join(&recorded), recorded.clone()]
        .into_iter()
        .chain(beside)
        .find(|path| path.exists())
}
