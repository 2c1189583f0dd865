//! Pictures, whose regions an extractor finds while they are imported.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use oscar_vision::{Picture, RegionExtractor, Regions};

use super::source::{FeatureSource, Provenance, SourceBoxes, SourceImage};
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::pictures::Pictures;
use crate::store::Tag;

/// A folder, zip archive or table of pictures, and the extractor that reads them.
///
/// An image's key is the name of its file without its ending, or the key of its row. Its regions'
/// classes are its object tags.
pub struct ExtractedRegions {
    pictures: Pictures,
    extractor: Box<dyn RegionExtractor>,
}

impl ExtractedRegions {
    /// Lists the pictures at `path`; none is decoded yet.
    ///
    /// # Errors
    /// If `path` is missing, or holds no picture.
    pub fn open(path: &Path, extractor: Box<dyn RegionExtractor>) -> Result<Self> {
        let pictures = Pictures::open(path)?;
        if pictures.is_empty() {
            let fix = "give a folder, a zip archive or a table with pictures";
            return Err(DatasetError::malformed(path, "no picture", fix));
        }
        Ok(Self {
            pictures,
            extractor,
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
            settings: BTreeMap::from([("extractor".into(), identity.to_string())]),
        }
    }

    fn image(&self, row: usize, size: (u32, u32), found: Regions) -> SourceImage {
        let boxes = found.regions.iter().map(|region| region.box_px).collect();
        let tags = found.regions.into_iter().map(|region| Tag {
            class: region.class,
            score: region.score,
            box_px: Some(region.box_px),
            attributes: region.attributes.into_iter().map(|a| a.name).collect(),
        });
        SourceImage {
            key: self.pictures.key(row).to_string(),
            size: Some(size),
            features: found.features,
            boxes: SourceBoxes::Pixels(boxes),
            tags: Some(tags.collect()),
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
        let found = self.extractor.extract(&decoded);
        for ((&(place, row), picture), found) in places.iter().zip(&decoded).zip(found) {
            let size = picture.image.dimensions();
            images[place] = found
                .map(|found| self.image(row, size, found))
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
}
