//! Official feature files as a source of the importer.

use std::path::PathBuf;
use std::sync::Arc;

use super::source::{FeatureSource, SourceBoxes, SourceImage, split_boxes};
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::images::ImageSource;
use crate::official::{BOX_VALUES, OfficialImages};

/// Official feature files to import.
pub(super) struct OfficialSource {
    images: Arc<OfficialImages>,
    /// Folders without a feature file, in a set in chunks.
    ignored: Vec<PathBuf>,
}

impl OfficialSource {
    pub(super) fn new(images: Arc<OfficialImages>, ignored: Vec<PathBuf>) -> Self {
        Self { images, ignored }
    }
}

impl FeatureSource for OfficialSource {
    fn len(&self) -> usize {
        ImageSource::len(&*self.images)
    }

    fn read(&self, row: usize) -> Result<SourceImage> {
        let images = &*self.images;
        let found = images.row(row)?;
        let layout = images.layout(row, &found)?;
        let mut values = vec![0.0; found.num_boxes * layout.dim];
        images.decode(row, &found.blob, layout, &mut values)?;
        let labels = images.named_labels(row)?;
        let feature_dim = images.options().feature_dim;
        let (features, boxes) = if layout.dim == feature_dim + BOX_VALUES {
            let (features, boxes) = split_boxes(&values, feature_dim);
            (features, SourceBoxes::Relative(boxes))
        } else {
            let boxes = images.label_boxes(row, labels.as_ref(), found.num_boxes)?;
            (values, SourceBoxes::Pixels(boxes))
        };
        Ok(SourceImage {
            key: found.key.to_string(),
            size: images.size(row, labels.as_ref())?,
            features,
            boxes,
            tags: labels.map(|labels| labels.tags),
            labels: None,
        })
    }

    fn locate(&self, row: usize, defect: Defect) -> DatasetError {
        self.images.defect(row, defect)
    }

    fn files(&self) -> Vec<PathBuf> {
        self.images.files()
    }

    fn notes(&self) -> Vec<String> {
        let labels = self.images.label_files();
        let mut notes = match labels.first() {
            None => vec!["no label file was found: the images have no object tags".into()],
            Some(first) if labels.len() == 1 => vec![format!("tags from {}", first.display())],
            Some(first) => vec![format!(
                "tags from {} label files, the first is {}",
                labels.len(),
                first.display()
            )],
        };
        if let Some(first) = self.ignored.first() {
            notes.push(format!(
                "{} folder(s) without features.tsv left aside, the first is {}",
                self.ignored.len(),
                first.display()
            ));
        }
        notes
    }
}
