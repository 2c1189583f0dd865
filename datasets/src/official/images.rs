//! Official feature files as images to train from, decoded as they are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blob::decode_blob;
use super::files::{FEATURES_FILE, OfficialFiles};
use super::part::{Companions, Part, join_keys};
use super::{BlobLayout, FEATURE_DIM, FeatureRow, KeyIndex, LabelFile, LabelRow, TagChoice};
use crate::error::{DatasetError, Result};
use crate::findings::Defect;

/// How to open official files.
#[derive(Clone, Debug)]
pub struct OfficialOptions {
    /// Appearance values per region; [`FEATURE_DIM`] by default.
    pub feature_dim: usize,
    /// Label file of all images, instead of those beside the feature files.
    pub labels: Option<PathBuf>,
    /// Image sizes, instead of those beside the feature files.
    pub sizes: Option<PathBuf>,
    /// Which objects are the tags.
    pub tags: TagChoice,
    /// Allow a key to occur twice: it then finds one of its rows. Off by default.
    pub repeated_keys: bool,
}

impl Default for OfficialOptions {
    fn default() -> Self {
        Self {
            feature_dim: FEATURE_DIM,
            labels: None,
            sizes: None,
            tags: TagChoice::default(),
            repeated_keys: false,
        }
    }
}

/// Official feature files, memory-mapped; an image is decoded when it is copied.
///
/// Opening reads indexes, not features: it takes memory for the keys and some twenty bytes an
/// image. With `imageid2idx.json`, the rows themselves are not touched, and each row's key is
/// compared when it is read.
pub struct OfficialImages {
    path: PathBuf,
    parts: Vec<Part>,
    keys: KeyIndex,
    options: OfficialOptions,
    /// Labels and sizes of all parts.
    shared: Companions,
}

impl OfficialImages {
    /// Opens the official files at `path`.
    ///
    /// # Errors
    /// A missing file, or one that does not fit the others; a key that occurs twice.
    pub fn open(path: &Path, options: OfficialOptions) -> Result<Arc<Self>> {
        let files = OfficialFiles::find(path)?.ok_or_else(|| DatasetError::Missing {
            path: path.join(FEATURES_FILE),
            hint: "it is the official feature file; give its path or folder",
        })?;
        Self::open_files(path, &files, options)
    }

    /// Opens these files; `path` is what messages call them together.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_files(
        path: &Path,
        files: &OfficialFiles,
        options: OfficialOptions,
    ) -> Result<Arc<Self>> {
        if options.feature_dim == 0 {
            let found = "feature_dim is 0";
            return Err(DatasetError::malformed(
                path,
                found,
                "give their feature_dim",
            ));
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut keys = Vec::new();
        let mut first = 0;
        for files in &files.parts {
            let (part, part_keys) = Part::open(files, first, &options)?;
            first += part.file.len();
            parts.push(part);
            keys.push(part_keys);
        }
        if first > u32::MAX as usize {
            let found = format!("{first} images");
            return Err(DatasetError::malformed(path, found, "open fewer chunks"));
        }
        let keys = match <[KeyIndex; 1]>::try_from(keys) {
            Ok([keys]) => keys,
            Err(several) => join_keys(&parts, &several, options.repeated_keys)?,
        };
        let images = Self {
            path: path.to_path_buf(),
            parts,
            keys,
            shared: Companions::open(options.labels.as_deref(), options.sizes.as_deref())?,
            options,
        };
        images.require_shared()?;
        images.warn_of_missing_labels();
        Ok(Arc::new(images))
    }

    /// What they were opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys, by row.
    pub(crate) fn keys(&self) -> &KeyIndex {
        &self.keys
    }

    /// The options they were opened with.
    pub(crate) fn options(&self) -> &OfficialOptions {
        &self.options
    }

    /// Every file that is read.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = Vec::new();
        for part in &self.parts {
            files.push(part.file.path().to_path_buf());
            files.extend(part.key_map.clone());
        }
        let beside = self.parts.iter().map(|part| &part.beside);
        for companions in std::iter::once(&self.shared).chain(beside) {
            files.extend(companions.labels.as_ref().map(|l| l.path().to_path_buf()));
            files.extend(companions.sizes.as_ref().map(|s| s.path().to_path_buf()));
        }
        files
    }

    /// The label files in use.
    pub(crate) fn label_files(&self) -> Vec<&Path> {
        let beside = self.parts.iter().map(|part| &part.beside);
        let all = std::iter::once(&self.shared).chain(beside);
        all.filter_map(|c| Some(c.labels.as_ref()?.path()))
            .collect()
    }

    /// The part and the row in it that image `row` is.
    fn place(&self, row: usize) -> Result<(&Part, usize)> {
        let part = self.parts.partition_point(|part| part.first <= row);
        match part.checked_sub(1).and_then(|part| self.parts.get(part)) {
            Some(part) if row < self.keys.len() => Ok((part, row - part.first)),
            _ => {
                let found = format!("there is no image {row} among {}", self.keys.len());
                Err(DatasetError::malformed(
                    &self.path,
                    found,
                    "rows are counted from 0",
                ))
            }
        }
    }

    /// Row `row`, its features still encoded; its key must be the one it was found by.
    pub(crate) fn row(&self, row: usize) -> Result<FeatureRow<'_>> {
        let (part, local) = self.place(row)?;
        let found = FeatureRow::parse(part.file.line(local)?)
            .map_err(|defect| part.file.located(local, defect))?;
        let expected = self.keys.key(row);
        match &part.key_map {
            Some(map) if found.key != expected => {
                let found = format!(
                    "`{expected}` should be in line {} of {}, where `{}` is",
                    local + 1,
                    part.file.path().display(),
                    found.key
                );
                let fix = "it belongs to another version of the feature file: delete it; \
                           it is not needed to read the file";
                Err(DatasetError::malformed(map, found, fix))
            }
            _ => Ok(found),
        }
    }

    /// Decodes the first `out.len()` values of a row of this layout.
    pub(crate) fn decode(
        &self,
        row: usize,
        blob: &[u8],
        layout: BlobLayout,
        out: &mut [f32],
    ) -> Result<()> {
        decode_blob(blob, layout, out).map_err(|defect| self.defect(row, defect))
    }

    /// The error that image `row` has this defect.
    pub(crate) fn defect(&self, row: usize, defect: Defect) -> DatasetError {
        match self.place(row) {
            Ok((part, local)) => {
                let key = self.keys.key(row);
                part.file
                    .located(local, defect.within(format_args!("image `{key}`")))
            }
            Err(error) => error,
        }
    }

    /// The layout of image `row`'s features.
    pub(crate) fn layout(&self, row: usize, found: &FeatureRow<'_>) -> Result<BlobLayout> {
        let layout = found.layout(self.options.feature_dim);
        layout.map_err(|defect| self.defect(row, defect))
    }

    /// The labels of image `row`; `None` if there is no file or no row in it.
    pub(crate) fn labels(&self, row: usize) -> Result<Option<LabelRow>> {
        let label = self.label_row(row)?;
        label
            .map(|(file, row)| file.read(row, self.options.tags))
            .transpose()
    }

    /// The same for a store, whose tags all have a class.
    pub(crate) fn named_labels(&self, row: usize) -> Result<Option<LabelRow>> {
        let label = self.label_row(row)?;
        label
            .map(|(file, row)| file.read_named(row, self.options.tags))
            .transpose()
    }

    pub(super) fn label_row(&self, row: usize) -> Result<Option<(&LabelFile, usize)>> {
        let (part, _) = self.place(row)?;
        let file = self.shared.labels.as_ref().or(part.beside.labels.as_ref());
        Ok(file.and_then(|file| Some((file, file.find(self.keys.key(row))?))))
    }

    /// Width and height of image `row`: from the table of sizes, or else from its labels.
    pub(crate) fn size(&self, row: usize, labels: Option<&LabelRow>) -> Result<Option<(u32, u32)>> {
        let (part, _) = self.place(row)?;
        let table = self.shared.sizes.as_ref().or(part.beside.sizes.as_ref());
        let listed = match table {
            Some(table) => table.find(self.keys.key(row))?,
            None => None,
        };
        Ok(listed.or(labels.and_then(|labels| labels.size)))
    }

    /// The boxes of an image whose features come without: those of its labels, one a region.
    pub(crate) fn label_boxes(
        &self,
        row: usize,
        labels: Option<&LabelRow>,
        regions: usize,
    ) -> Result<Vec<[f32; 4]>> {
        let boxes: Vec<[f32; 4]> = match labels {
            Some(labels) => labels.tags.iter().filter_map(|tag| tag.box_px).collect(),
            None => Vec::new(),
        };
        if boxes.len() == regions {
            return Ok(boxes);
        }
        let found = format!(
            "{regions} regions without boxes, and {} boxes of labels",
            boxes.len()
        );
        let fix = "give the label file of the same detector, with one object per region";
        Err(self.defect(row, Defect::new(found, fix)))
    }

    /// Refuses labels and sizes that were named for these images and have none of them.
    fn require_shared(&self) -> Result<()> {
        if let Some(labels) = &self.shared.labels {
            labels.require(self.keys.iter())?;
        }
        match &self.shared.sizes {
            Some(sizes) => sizes.require(self.keys.iter()),
            None => Ok(()),
        }
    }

    fn warn_of_missing_labels(&self) {
        let warn = |labels: &LabelFile, keys: &KeyIndex| {
            if let (missing @ 1.., Some(first)) = keys.missing_from(labels.keys()) {
                tracing::warn!(
                    "{missing} of {} images have no object tags in {}, the first is `{first}`",
                    keys.len(),
                    labels.path().display()
                );
            }
        };
        if let Some(labels) = &self.shared.labels {
            warn(labels, &self.keys);
        } else if let [part] = &self.parts[..] {
            part.beside
                .labels
                .iter()
                .for_each(|labels| warn(labels, &self.keys));
        }
    }
}
