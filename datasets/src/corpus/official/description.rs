//! The YAML file that describes an official corpus.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oscar_files::stays_inside;
use serde::Deserialize;

use super::key::{is_chunked, known_datasets};
use crate::error::{DatasetError, Result};
use crate::yaml;

const FIX: &str = "a corpus is described by `corpus`, `corpus_file`, `image_label_path` and \
                   `image_feature_path`; correct the file";
const OUTSIDE: &str = "give paths inside the folder, or allow others with `outside_paths`";

/// The keys of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    corpus: String,
    corpus_file: String,
    image_label_path: BTreeMap<String, String>,
    image_feature_path: BTreeMap<String, String>,
}

/// The folders and the table of an official corpus.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) path: PathBuf,
    /// The table of texts.
    pub(super) corpus_file: PathBuf,
    pub(super) datasets: Vec<Folders>,
}

/// The folders of one of its data sets.
#[derive(Debug)]
pub(super) struct Folders {
    pub(super) dataset: String,
    pub(super) chunked: bool,
    pub(super) labels: PathBuf,
    pub(super) features: PathBuf,
}

impl Description {
    /// Reads the file at `path`. `corpus_file` and `image_label_path` are relative to its folder,
    /// `image_feature_path` to `data`.
    ///
    /// # Errors
    /// A file that is not there or not such a description; a data set that is not official or has
    /// no folders; unless `outside` allows them, paths that leave the folder; what is named but not
    /// there.
    pub(super) fn read(path: &Path, data: &Path, outside: bool) -> Result<Self> {
        let keys: Keys = yaml::read(path, FIX)?;
        let root = path.parent().unwrap_or(Path::new(""));
        let place = |key: &str, root: &Path, value: &str| {
            if !outside && !stays_inside(Path::new(value)) {
                let root = root.display();
                let found = format!("`{key}` is {value}, which leaves its folder {root}");
                return Err(DatasetError::malformed(path, found, OUTSIDE));
            }
            let place = root.join(value);
            match place.exists() {
                true => Ok(place),
                false => {
                    let found = format!("`{key}` names {}, which is not there", place.display());
                    let fix = "correct the path, or bring the data there";
                    Err(DatasetError::malformed(path, found, fix))
                }
            }
        };
        let mut datasets: Vec<Folders> = Vec::new();
        for dataset in keys.corpus.split('_') {
            let Some(chunked) = is_chunked(dataset) else {
                let found = format!(
                    "`corpus` names {dataset:?}; known data sets are {}",
                    known_datasets()
                );
                let fix = "join the names with underscores, as in coco_flickr30k_gqa";
                return Err(DatasetError::malformed(path, found, fix));
            };
            if datasets.iter().any(|known| known.dataset == dataset) {
                let found = format!("`corpus` names {dataset} twice");
                return Err(DatasetError::malformed(path, found, "name it once"));
            }
            let folder = |map: &BTreeMap<String, String>, name: &str, root: &Path| {
                let key = format!("{name}.{dataset}");
                match map.get(dataset) {
                    Some(value) => place(&key, root, value),
                    None => {
                        let found = format!("no `{key}`, though `corpus` names {dataset}");
                        let fix = "add the folder, or take the data set out of `corpus`";
                        Err(DatasetError::malformed(path, found, fix))
                    }
                }
            };
            datasets.push(Folders {
                dataset: dataset.into(),
                chunked,
                labels: folder(&keys.image_label_path, "image_label_path", root)?,
                features: folder(&keys.image_feature_path, "image_feature_path", data)?,
            });
        }
        Ok(Self {
            path: path.to_path_buf(),
            corpus_file: place("corpus_file", root, &keys.corpus_file)?,
            datasets,
        })
    }

    /// An error about this file.
    pub(super) fn wrong(&self, found: impl Into<String>, fix: &'static str) -> DatasetError {
        DatasetError::malformed(&self.path, found, fix)
    }
}
