//! One shard of a store being written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::{EncodedImage, FORMAT_VERSION, StoreOptions, shard_file};
use crate::error::{DatasetError, Result};
use crate::mapped;

/// A shard being filled.
///
/// Its features stream into a file of their own: they must follow the offsets and boxes (tensors
/// lie in order of alignment), whose sizes are known only when the shard is closed.
pub(super) struct OpenShard {
    path: PathBuf,
    features: BufWriter<File>,
    pub(super) bytes: u64,
    offsets: Vec<i64>,
    boxes: Vec<f32>,
}

impl OpenShard {
    pub(super) fn create(dir: &Path, number: usize) -> Result<Self> {
        let path = dir.join(format!("features-{number:05}.part"));
        let file = File::create(&path).map_err(DatasetError::io("create", &path))?;
        let features = BufWriter::with_capacity(1 << 20, file);
        Ok(Self {
            path,
            features,
            bytes: 0,
            offsets: vec![0],
            boxes: Vec::new(),
        })
    }

    pub(super) fn images(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(super) fn push(&mut self, image: &EncodedImage) -> Result<()> {
        self.features
            .write_all(&image.features)
            .map_err(DatasetError::io("write", &self.path))?;
        self.bytes += image.features.len() as u64;
        self.boxes.extend_from_slice(&image.boxes);
        self.offsets.push((self.boxes.len() / 6) as i64);
        Ok(())
    }

    pub(super) fn close(mut self, dir: &Path, number: usize, options: &StoreOptions) -> Result<()> {
        self.features
            .flush()
            .map_err(DatasetError::io("write", &self.path))?;
        drop(self.features);
        let regions = self.boxes.len() / 6;
        let header = mapped::header(
            &[
                ("offsets", Dtype::I64, &[self.offsets.len()]),
                ("boxes", Dtype::F32, &[regions, 6]),
                (
                    "features",
                    options.dtype.safetensors(),
                    &[regions, options.feature_dim],
                ),
            ],
            &[
                ("format", "oscar-regions".into()),
                ("version", FORMAT_VERSION.to_string()),
            ],
        );
        let path = dir.join(shard_file(number));
        let mut shard = File::create(&path).map_err(DatasetError::io("create", &path))?;
        let mut features = File::open(&self.path).map_err(DatasetError::io("open", &self.path))?;
        // `io::copy` between files lets the kernel do the work.
        shard
            .write_all(&header)
            .and_then(|()| shard.write_all(bytemuck::cast_slice(&self.offsets)))
            .and_then(|()| shard.write_all(bytemuck::cast_slice(&self.boxes)))
            .and_then(|()| io::copy(&mut features, &mut shard))
            .and_then(|_| shard.sync_all())
            .map_err(DatasetError::io("write", &path))?;
        fs::remove_file(&self.path).map_err(DatasetError::io("remove", &self.path))
    }
}
