//! CLIP as an extractor of regions: a picture has one, which is all of it.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use oscar_core::checkpoint::CheckpointError;
use oscar_core::ops::Kernels;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::file::ClipFile;
use super::preprocess::{Pipeline, normalised, picture};
use super::{ClipError, ClipVision};
use crate::{ExtractorIdentity, Picture, Region, RegionExtractor, Regions, VisionError};

/// Class of the one region.
const CLASS: &str = "picture";

/// Pictures that are computed at a time.
const BATCH: usize = 32;

/// How pictures become pixels, and how many are computed at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipOptions {
    /// The preprocessing.
    pub pipeline: Pipeline,
    /// Pictures that are computed at a time.
    pub batch: usize,
}

impl Default for ClipOptions {
    fn default() -> Self {
        Self {
            pipeline: Pipeline::default(),
            batch: BATCH,
        }
    }
}

/// CLIP's image tower as a [`RegionExtractor`]: a picture gives one region, its box all of the
/// picture, its feature vector the embedding, which is not normalised.
pub struct ClipExtractor<B: Kernels> {
    tower: ClipVision<B>,
    options: ClipOptions,
    device: B::Device,
    digest: String,
}

impl<B: Kernels> ClipExtractor<B> {
    /// Opens the tower of a file or a directory, as [`ClipVision::open`] does.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open(
        path: impl AsRef<Path>,
        options: ClipOptions,
        device: &B::Device,
    ) -> Result<Self, ClipError> {
        Self::read(&ClipFile::open(path.as_ref())?, options, device)
    }

    pub(super) fn read(
        file: &ClipFile,
        options: ClipOptions,
        device: &B::Device,
    ) -> Result<Self, ClipError> {
        let bytes = oscar_files::map_file(file.path()).map_err(CheckpointError::from)?;
        Ok(Self {
            tower: ClipVision::read(file, device)?,
            options,
            device: device.clone(),
            digest: oscar_files::hex(&Sha256::digest(&bytes)),
        })
    }

    /// The tower.
    pub fn tower(&self) -> &ClipVision<B> {
        &self.tower
    }

    /// Embeddings `[pictures, embedding_dim]` of pictures.
    pub fn embed(&self, pictures: &[Picture]) -> Tensor<B, 2> {
        let side = self.tower.image_size();
        let pixels: Vec<Vec<f32>> = pictures
            .par_iter()
            .map(|one| normalised(&picture(one, side, self.options.pipeline)))
            .collect();
        let shape = [pictures.len(), 3, side, side];
        let pixels = TensorData::new(pixels.concat(), shape);
        self.tower.forward(Tensor::from_data(pixels, &self.device))
    }
}

impl<B: Kernels> RegionExtractor for ClipExtractor<B> {
    fn identity(&self) -> ExtractorIdentity {
        let pipeline = match self.options.pipeline {
            Pipeline::OpenAi => "openai",
            Pipeline::HuggingFace => "huggingface",
        };
        ExtractorIdentity {
            name: "clip".into(),
            settings: BTreeMap::from([
                ("model".into(), self.tower.name()),
                ("preprocessing".into(), pipeline.into()),
                ("sha256".into(), self.digest.clone()),
            ]),
        }
    }

    fn feature_dim(&self) -> usize {
        self.tower.embedding_dim()
    }

    fn batch_size(&self) -> usize {
        self.options.batch.max(1)
    }

    fn extract(&self, pictures: &[Picture]) -> Vec<Result<Regions, VisionError>> {
        let dim = self.feature_dim();
        let mut found = Vec::with_capacity(pictures.len());
        for batch in pictures.chunks(self.batch_size()) {
            let embeddings: Vec<f32> = self.embed(batch).into_data().iter::<f32>().collect();
            let rows = embeddings.chunks_exact(dim).zip(batch);
            found.extend(rows.map(|(features, picture)| {
                let (width, height) = picture.image.dimensions();
                Ok(Regions {
                    features: features.to_vec(),
                    regions: vec![Region {
                        box_px: [0.0, 0.0, width as f32, height as f32],
                        class: CLASS.into(),
                        score: 1.0,
                        attributes: Vec::new(),
                    }],
                })
            }));
        }
        found
    }
}
