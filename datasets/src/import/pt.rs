//! Dictionaries of key to tensor, or to a dictionary with features, boxes and size, saved by PyTorch or
//! pickled: read without executing anything.

use std::path::{Path, PathBuf};

use oscar_files::pytorch::{TorchFile, Value};

use super::info::{Info, check_view};
use super::matrix::{Arrays, Matrix};
use super::per_image::with_info;
use super::source::{FeatureSource, SourceImage};
use super::vocabulary::Vocabularies;
use crate::error::{DatasetError, Result};
use crate::findings::Defect;

const FIX: &str = "the file must hold a dictionary of image key to a tensor of floats, regions by \
                   2054 or 2048 values";

/// A dictionary to import.
pub(super) struct PtSource {
    path: PathBuf,
    images: Vec<(String, Value)>,
    feature_dim: usize,
}

impl PtSource {
    pub(super) fn open(path: &Path, feature_dim: usize) -> Result<Self> {
        let file = TorchFile::open(path).map_err(|error| {
            DatasetError::malformed(path, without_path(&error.to_string(), path), FIX)
        })?;
        let Value::Dict(entries) = file.value() else {
            let found = format!("it holds a {}", file.value().type_name());
            return Err(DatasetError::malformed(path, found, FIX));
        };
        let images = entries.iter().map(|(key, value)| match key {
            Value::Str(key) => Ok((key.to_string(), value.clone())),
            Value::Int(key) => Ok((key.to_string(), value.clone())),
            other => {
                let found = format!("a key of its dictionary is a {}", other.type_name());
                Err(DatasetError::malformed(path, found, FIX))
            }
        });
        Ok(Self {
            path: path.to_path_buf(),
            images: images.collect::<Result<_>>()?,
            feature_dim,
        })
    }

    fn parse(&self, row: usize) -> Result<SourceImage, Defect> {
        let (key, value) = &self.images[row];
        let damaged = |error: oscar_files::pytorch::ReadError| Defect::new(error.to_string(), FIX);
        let (shape, values) = match value {
            Value::Tensor(tensor) => {
                check_view(tensor)?;
                (tensor.shape(), tensor.to_f32().map_err(damaged)?)
            }
            Value::Array(array) => (array.shape(), array.to_f32().map_err(damaged)?),
            Value::Dict(_) => {
                let info = Info::of(value)?;
                let (dim, names) = (self.feature_dim, Vocabularies::default());
                let (image, _) = with_info(info.features()?, None, &info, dim, &names)?;
                return Ok(SourceImage {
                    key: key.clone(),
                    ..image
                });
            }
            other => {
                let found = format!("a {}, where its features are expected", other.type_name());
                return Err(Defect::new(found, FIX));
            }
        };
        let arrays = Arrays {
            features: Matrix::new(shape, values)?,
            ..Arrays::default()
        };
        let (features, boxes) = arrays.regions(self.feature_dim)?;
        Ok(SourceImage {
            key: key.clone(),
            features,
            boxes,
            ..SourceImage::default()
        })
    }
}

/// The message of an error that names its file, without the name.
fn without_path(message: &str, path: &Path) -> String {
    let message = message.replace(&path.display().to_string(), "it");
    message
        .strip_prefix("it: ")
        .map_or(message.clone(), String::from)
}

impl FeatureSource for PtSource {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn key(&self, row: usize) -> Option<&str> {
        self.images.get(row).map(|(key, _)| key.as_str())
    }

    fn read(&self, row: usize) -> Result<SourceImage> {
        self.parse(row).map_err(|defect| self.locate(row, defect))
    }

    fn locate(&self, row: usize, defect: Defect) -> DatasetError {
        let key = &self.images[row].0;
        defect
            .within(format_args!("image `{key}`"))
            .in_file(&self.path)
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }
}
