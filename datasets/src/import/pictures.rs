//! Pictures, whose regions an extractor finds while they are imported.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use oscar_core::input::LabelNames;
use oscar_vision::{Picture, RegionExtractor};

use super::extracted::source_image;
use super::source::{FeatureSource, Provenance, SourceImage};
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::pictures::Pictures;

/// A folder, zip archive or table of pictures, and the extractor that reads them.
///
/// An image's key is the name of its file without its ending, or the key of its row. Its regions'
/// classes are its object tags, and stored by number where the extractor has a list of them.
pub struct ExtractedRegions {
    pictures: Pictures,
    extractor: Arc<dyn RegionExtractor>,
    /// The names of its classes, by number.
    label_names: Option<Arc<LabelNames>>,
    /// Held while an exclusive extractor runs: other threads decode their pictures meanwhile.
    running: Mutex<()>,
}

impl ExtractedRegions {
    /// Lists the pictures at `path`; none is decoded yet.
    ///
    /// # Errors
    /// If `path` is missing, or holds no picture.
    pub fn open(path: &Path, extractor: Arc<dyn RegionExtractor>) -> Result<Self> {
        let pictures = Pictures::open(path)?;
        if pictures.is_empty() {
            let fix = "give a folder, a zip archive or a table with pictures";
            return Err(DatasetError::malformed(path, "no picture", fix));
        }
        Ok(Self {
            pictures,
            label_names: extractor.label_names(),
            extractor,
            running: Mutex::new(()),
        })
    }

    /// Where the regions come from.
    pub fn provenance(&self) -> Provenance {
        let identity = self.extractor.identity();
        let path = self.pictures.path();
        Provenance {
            path: path.to_path_buf(),
            format: identity.name.clone(),
            description: format!("extracted from pictures by {identity}"),
            feature_dim: self.extractor.feature_dim(),
            pictures: path.canonicalize().ok(),
            extractor: Some(identity.name.clone()),
            settings: BTreeMap::from([("extractor".into(), identity.to_string())]),
        }
    }
}

impl FeatureSource for ExtractedRegions {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn read(&self, row: usize) -> Result<SourceImage> {
        // One row gives one result.
        self.read_batch(row..row + 1).remove(0)
    }

    fn batch_size(&self) -> usize {
        self.extractor.batch_size()
    }

    fn read_batch(&self, rows: Range<usize>) -> Vec<Result<SourceImage>> {
        let mut images: Vec<Result<SourceImage>> = Vec::with_capacity(rows.len());
        let mut decoded: Vec<Picture> = Vec::with_capacity(rows.len());
        let mut places = Vec::with_capacity(rows.len());
        for row in rows {
            match self.pictures.picture(row) {
                Ok(picture) => {
                    places.push((images.len(), row));
                    decoded.push(picture);
                    images.push(Ok(SourceImage::default()));
                }
                Err(error) => images.push(Err(error)),
            }
        }
        let found = {
            let _running = self.extractor.is_exclusive().then(|| self.running.lock());
            self.extractor.extract(&decoded)
        };
        for ((&(place, row), picture), found) in places.iter().zip(&decoded).zip(found) {
            let size = picture.image.dimensions();
            images[place] = found
                .map(|found| {
                    let names = self.label_names.as_deref();
                    source_image(self.pictures.key(row), size, found, names)
                })
                .map_err(DatasetError::from);
        }
        images
    }

    fn locate(&self, row: usize, defect: Defect) -> DatasetError {
        DatasetError::ImageFile {
            name: self.pictures.name(row).to_string(),
            images: self.pictures.path().to_path_buf(),
            found: defect.found,
            fix: defect.fix,
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        self.pictures.files()
    }

    fn label_names(&self) -> Option<Arc<LabelNames>> {
        self.label_names.clone()
    }
}
