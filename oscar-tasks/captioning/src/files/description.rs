//! The official YAML file of a split, which names its tables.

use std::fs;
use std::path::{Path, PathBuf};

use oscar_core::input::SourceError;
use oscar_datasets::SharedImages;
use oscar_datasets::annotations::captions::CaptionedImage;
use oscar_datasets::official::{OfficialFiles, OfficialImages, OfficialOptions, PartFiles};
use oscar_datasets::tsv::TsvFile;
use serde::Deserialize;

use oscar_files::{FileError, named_by};

/// Such a file is a few lines; a larger one is something else.
const MAX_BYTES: u64 = 1 << 20;

const FIX: &str = "it names the tables of a split: `feature`, `label`, `caption`, and for constrained \
                   captions `cbs_box`, `cbs_constraint`, `cbs_tokenforms`, `cbs_hierarchy`";

/// Where the tables of a split lie; paths in the file are relative to its folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Description {
    feature: Option<PathBuf>,
    label: Option<PathBuf>,
    hw: Option<PathBuf>,
    pub caption: Option<PathBuf>,
    pub cbs_box: Option<PathBuf>,
    pub cbs_constraint: Option<PathBuf>,
    pub cbs_tokenforms: Option<PathBuf>,
    pub cbs_hierarchy: Option<PathBuf>,
    #[serde(skip)]
    path: PathBuf,
}

impl Description {
    /// Whether `path` is such a file, by its name.
    pub fn is_one(path: &Path) -> bool {
        path.extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// A file that is missing or of another form.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let meta = fs::metadata(path).map_err(FileError::io("read", path))?;
        if meta.len() > MAX_BYTES {
            let found = format!("{} bytes", meta.len());
            return Err(FileError::malformed(path, found, FIX));
        }
        let text = fs::read_to_string(path).map_err(FileError::io("read", path))?;
        let mut description: Self = serde_saphyr::from_str(&text).map_err(|error| {
            let found = format!("it cannot be read ({})", error.without_snippet());
            FileError::malformed(path, found, FIX)
        })?;
        description.path = path.to_path_buf();
        for name in description.paths().into_iter().flatten() {
            *name = named_by(path, &*name)?;
        }
        Ok(description)
    }

    fn paths(&mut self) -> [&mut Option<PathBuf>; 8] {
        [
            &mut self.feature,
            &mut self.label,
            &mut self.hw,
            &mut self.caption,
            &mut self.cbs_box,
            &mut self.cbs_constraint,
            &mut self.cbs_tokenforms,
            &mut self.cbs_hierarchy,
        ]
    }

    /// The images of its feature table, with the tags of its label table.
    ///
    /// # Errors
    ///
    /// If there is no feature table, or a table cannot be read.
    pub fn open_images(&self) -> Result<SharedImages, SourceError> {
        let Some(features) = &self.feature else {
            let found = "no `feature`";
            let fix = "name the feature table, or set `regions` of the split";
            return Err(FileError::malformed(&self.path, found, fix).into());
        };
        let part = PartFiles {
            features: features.clone(),
            labels: self.label.clone(),
            sizes: self.hw.clone(),
            ..PartFiles::default()
        };
        let files = OfficialFiles {
            parts: vec![part],
            ignored: Vec::new(),
        };
        Ok(OfficialImages::open_files(
            &self.path,
            &files,
            OfficialOptions::default(),
        )?)
    }

    /// The images of its tables, where there are no captions.
    ///
    /// # Errors
    ///
    /// If a table cannot be read.
    pub fn image_keys(&self) -> Result<Vec<CaptionedImage>, SourceError> {
        let Some(table) = self.label.as_ref().or(self.feature.as_ref()) else {
            let found = "neither `caption` nor `label` nor `feature`";
            return Err(FileError::malformed(&self.path, found, FIX).into());
        };
        let table = TsvFile::open(table)?;
        let key = |row| {
            let key = table.first_field(row)?.to_string();
            Ok(CaptionedImage {
                key,
                ..CaptionedImage::default()
            })
        };
        (0..table.len()).map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("val.yaml");
        let text = "img: val.img.tsv\nfeature: val.feature.tsv\nlabel: labels/val.label.tsv\n\
                    caption: val_caption.json\ncbs_box: cbs/boxes.tsv\n";
        fs::write(&path, text).unwrap();
        let found = Description::read(&path).unwrap();
        assert_eq!(
            found.feature,
            Some(directory.path().join("val.feature.tsv"))
        );
        assert_eq!(
            found.label,
            Some(directory.path().join("labels/val.label.tsv"))
        );
        assert_eq!(found.cbs_box, Some(directory.path().join("cbs/boxes.tsv")));
        assert_eq!(found.cbs_hierarchy, None);
        for outside in ["/x/val.label.tsv", "../val.label.tsv"] {
            fs::write(&path, format!("label: {outside}\n")).unwrap();
            let error = Description::read(&path).unwrap_err();
            assert!(matches!(error, FileError::Outside { .. }), "{error}");
        }
        fs::write(&path, "label: [").unwrap();
        let found = Description::read(&path).unwrap_err().to_string();
        assert!(found.contains("val.yaml: it cannot be read"), "{found}");
        fs::write(&path, "img: a.tsv\n").unwrap();
        let found = Description::read(&path).unwrap();
        let error = found.image_keys().unwrap_err().to_string();
        assert!(error.contains("neither `caption` nor"), "{error}");
        let Err(error) = found.open_images() else {
            panic!("no feature table")
        };
        assert!(error.to_string().contains("no `feature`"), "{error}");
    }
}
