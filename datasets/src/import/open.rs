//! Finds out what lies at a path, and opens it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::journal::Identity;
use super::official::OfficialSource;
use super::source::{FeatureSource, SourceImage};
use crate::defect::Defect;
use crate::error::{DatasetError, Result};
use crate::official::{
    FEATURE_DIM, LabelFile, OfficialFiles, OfficialImages, OfficialOptions, SizeTable, TagChoice,
};

/// A published form of region features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Official feature TSV files, single or in chunks.
    Official,
}

impl Format {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Official => "official",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to read, and how.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// The format; found out by default.
    pub format: Option<Format>,
    /// Appearance values per region; [`FEATURE_DIM`] by default.
    pub feature_dim: usize,
    /// Label TSV with the object tags.
    pub labels: Option<PathBuf>,
    /// Image sizes: an `hw.tsv`, or a JSON object.
    pub sizes: Option<PathBuf>,
    /// Which objects of label rows are the tags.
    pub tags: TagChoice,
    /// Open a file in which a key occurs twice; the importer will refuse the second.
    pub repeated_keys: bool,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            format: None,
            feature_dim: FEATURE_DIM,
            labels: None,
            sizes: None,
            tags: TagChoice::default(),
            repeated_keys: false,
        }
    }
}

/// Images to import, with what was given of them elsewhere.
pub struct Source {
    path: PathBuf,
    format: Format,
    options: SourceOptions,
    reader: Box<dyn FeatureSource>,
    labels: Option<LabelFile>,
    sizes: Option<SizeTable>,
}

impl Source {
    /// Opens what lies at `path`.
    ///
    /// # Errors
    /// If it is of no known format, or could be of several; or as the format's reader reports.
    pub fn open(path: &Path, options: SourceOptions) -> Result<Self> {
        let files = OfficialFiles::find(path)?.ok_or_else(|| DatasetError::Missing {
            path: path.join("features.tsv"),
            hint: "it is the official feature file; give its path or folder",
        })?;
        let official = OfficialOptions {
            feature_dim: options.feature_dim,
            labels: options.labels.clone(),
            sizes: options.sizes.clone(),
            tags: options.tags,
            repeated_keys: options.repeated_keys,
        };
        let images = OfficialImages::open_files(path, &files, official)?;
        let reader = Box::new(OfficialSource::new(images, files.ignored));
        Ok(Self {
            path: path.to_path_buf(),
            format: Format::Official,
            reader,
            labels: None,
            sizes: None,
            options,
        })
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appearance values per region.
    pub fn feature_dim(&self) -> usize {
        self.options.feature_dim
    }

    /// What a user should know of how the files were understood.
    pub fn notes(&self) -> Vec<String> {
        self.reader.notes()
    }

    /// Size of all files in bytes.
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.stat()?.1)
    }

    /// Number of files, their bytes, and the newest modification in nanoseconds.
    fn stat(&self) -> Result<(usize, u64, u128)> {
        let files = self.files();
        let (mut bytes, mut newest) = (0, 0);
        for file in &files {
            let meta = fs::metadata(file).map_err(DatasetError::io("read", file))?;
            bytes += meta.len();
            let modified = meta.modified().ok();
            let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            newest = newest.max(since.map_or(0, |since| since.as_nanos()));
        }
        Ok((files.len(), bytes, newest))
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = self.reader.files();
        files.extend(self.labels.iter().map(|l| l.path().to_path_buf()));
        files.extend(self.sizes.iter().map(|s| s.path().to_path_buf()));
        files
    }

    /// What must be the same for an import to go on.
    pub(super) fn identity(&self) -> Result<Identity> {
        let (files, bytes, newest) = self.stat()?;
        let path = fs::canonicalize(&self.path).map_err(DatasetError::io("read", &self.path))?;
        let entries = [
            ("source", path.display().to_string()),
            ("format", self.format.name().into()),
            ("files of the source", files.to_string()),
            ("bytes of the source", bytes.to_string()),
            ("last change of the source", newest.to_string()),
            ("feature_dim", self.options.feature_dim.to_string()),
            ("tags", format!("{:?}", self.options.tags)),
            ("labels", show(self.options.labels.as_deref())),
            ("sizes", show(self.options.sizes.as_deref())),
        ];
        Ok(entries
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect())
    }
}

fn show(path: Option<&Path>) -> String {
    path.map_or("none".into(), |path| path.display().to_string())
}

impl FeatureSource for Source {
    fn len(&self) -> usize {
        self.reader.len()
    }

    fn read(&self, row: usize) -> Result<SourceImage> {
        let mut image = self.reader.read(row)?;
        if let Some(labels) = &self.labels
            && let Some(row) = labels.keys().find(&image.key)
        {
            image.take_labels(labels.read(row, self.options.tags)?);
        }
        if let Some(sizes) = &self.sizes
            && let Some(size) = sizes.find(&image.key)?
        {
            image.size = Some(size);
        }
        Ok(image)
    }

    fn locate(&self, row: usize, defect: Defect) -> DatasetError {
        self.reader.locate(row, defect)
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files()
    }
}
