//! Finds the files of an official data set.

use std::fs;
use std::path::{Path, PathBuf};

use oscar_files::is_system_file;

use crate::error::{DatasetError, Result};

/// The name of a feature file in a folder of its own.
pub(crate) const FEATURES_FILE: &str = "features.tsv";

/// The files of an official data set: one feature file, or one for each chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfficialFiles {
    /// The parts, in the order of their rows.
    pub parts: Vec<PartFiles>,
    /// Sub-folders of a chunked set without a feature file: they are left aside.
    pub ignored: Vec<PathBuf>,
}

/// A feature file and the files beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartFiles {
    /// The feature file.
    pub features: PathBuf,
    /// Object tags.
    pub labels: Option<PathBuf>,
    /// Image sizes.
    pub sizes: Option<PathBuf>,
    /// `imageid2idx.json`: key to row.
    pub rows: Option<PathBuf>,
    /// `*_offset_map.json`: key to byte offset.
    pub offsets: Option<PathBuf>,
}

impl OfficialFiles {
    /// The official files at `path`: a feature file, the folder of one, or a folder of such
    /// folders, which is a set in chunks. `None` if `path` is a folder without feature files.
    ///
    /// # Errors
    /// A folder that cannot be listed; two candidates for one purpose.
    pub fn find(path: &Path) -> Result<Option<Self>> {
        let (mut parts, mut ignored) = (Vec::new(), Vec::new());
        if !path.is_dir() {
            parts.push(PartFiles::beside(path)?);
        } else if path.join(FEATURES_FILE).exists() {
            parts.push(PartFiles::beside(&path.join(FEATURES_FILE))?);
        } else {
            for folder in folders(path)? {
                match folder.join(FEATURES_FILE) {
                    file if file.exists() => parts.push(PartFiles::beside(&file)?),
                    _ => ignored.push(folder),
                }
            }
            if parts.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(Self { parts, ignored }))
    }
}

impl PartFiles {
    /// The files that belong to the feature file `features` by their names.
    ///
    /// # Errors
    /// If there are two label files.
    pub fn beside(features: &Path) -> Result<Self> {
        let name = features.file_name().unwrap_or_default().to_string_lossy();
        let there = |name: String| Some(features.with_file_name(name)).filter(|path| path.exists());
        let mut part = Self {
            features: features.to_path_buf(),
            ..Self::default()
        };
        if let Some(stem) = name.strip_suffix(".tsv") {
            part.offsets = there(format!("{stem}_offset_map.json"));
        }
        if name == FEATURES_FILE {
            part.rows = there("imageid2idx.json".into());
            part.sizes = there("hw.tsv".into());
            let predictions = there("predictions.tsv".into());
            let with_gt = there("predictions_gt.tsv".into());
            if let (Some(_), Some(with_gt)) = (&predictions, &with_gt) {
                return Err(DatasetError::malformed(
                    with_gt,
                    "there is also predictions.tsv beside it",
                    "choose the label file with the tags, or move one away",
                ));
            }
            part.labels = predictions.or(with_gt);
        } else if let Some(stem) = [".feature.tsv", ".features.tsv"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
        {
            part.labels = there(format!("{stem}.label.tsv"));
            part.sizes = there(format!("{stem}.hw.tsv"));
        }
        Ok(part)
    }
}

/// The folders in a folder: those with numbers for names by their number, others by name.
fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(DatasetError::io("list", path))? {
        let entry = entry.map_err(DatasetError::io("list", path))?.path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if entry.is_dir() && !is_system_file(&name) {
            folders.push(entry);
        }
    }
    folders.sort_by_cached_key(|folder| {
        let name = folder.file_name().unwrap_or_default().to_os_string();
        let number = name.to_str().and_then(|name| name.parse::<u64>().ok());
        (number.unwrap_or(u64::MAX), name)
    });
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(dir: &Path, files: &[&str]) {
        for file in files {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    #[test]
    fn companions_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(OfficialFiles::find(dir).unwrap(), None);
        touch(
            dir,
            &[
                "train.feature.tsv",
                "train.label.tsv",
                "train.hw.tsv",
                "val_feats.tsv",
                "val_feats_offset_map.json",
                "10/features.tsv",
                "9/features.tsv",
                "9/predictions_gt.tsv",
                "9/imageid2idx.json",
                "9/hw.tsv",
                "logs/x.txt",
                ".git/x",
                "__MACOSX/features.tsv",
            ],
        );
        let part = PartFiles::beside(&dir.join("train.feature.tsv")).unwrap();
        assert_eq!(part.labels, Some(dir.join("train.label.tsv")));
        assert_eq!(part.sizes, Some(dir.join("train.hw.tsv")));
        let part = PartFiles::beside(&dir.join("val_feats.tsv")).unwrap();
        assert_eq!(part.offsets, Some(dir.join("val_feats_offset_map.json")));
        assert_eq!((part.labels, part.rows), (None, None));

        let files = OfficialFiles::find(dir).unwrap().unwrap();
        assert_eq!(files.ignored, [dir.join("logs")]);
        let [nine, ten] = &files.parts[..] else {
            panic!("{files:?}")
        };
        assert_eq!(ten.features, dir.join("10/features.tsv"));
        assert_eq!(nine.labels, Some(dir.join("9/predictions_gt.tsv")));
        assert_eq!(nine.rows, Some(dir.join("9/imageid2idx.json")));
        assert_eq!(nine.sizes, Some(dir.join("9/hw.tsv")));

        touch(dir, &["9/predictions.tsv"]);
        let found = OfficialFiles::find(dir).unwrap_err().to_string();
        assert!(found.contains("also predictions.tsv"), "{found}");
    }
}
