//! One shard of a store being written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::labels::LabelColumns;
use super::{EncodedImage, FORMAT_VERSION, StoreOptions, shard_file};
use crate::error::{DatasetError, Result};
use crate::mapped;

/// Bytes left free for the header in front of features that are written before it.
const HEADER: usize = 1024;

/// A shard being filled.
///
/// Its features stream to disk. Tensors lie without gaps and must be aligned in the file, so
/// offsets and boxes can follow the features only if a region takes a multiple of eight bytes, as
/// published features do: then the file is written once. Otherwise they must come first, and the
/// features are copied behind them when the shard is closed.
pub(super) struct OpenShard {
    path: PathBuf,
    features: BufWriter<File>,
    features_first: bool,
    pub(super) bytes: u64,
    offsets: Vec<i64>,
    boxes: Vec<f32>,
    labels: LabelColumns,
}

impl OpenShard {
    pub(super) fn create(dir: &Path, number: usize, options: &StoreOptions) -> Result<Self> {
        let path = dir.join(format!("features-{number:05}.part"));
        let file = File::create(&path).map_err(DatasetError::io("create", &path))?;
        let mut features = BufWriter::with_capacity(1 << 20, file);
        let features_first = (options.feature_dim * options.dtype.size()).is_multiple_of(8);
        if features_first {
            features
                .write_all(&[0; HEADER])
                .map_err(DatasetError::io("write", &path))?;
        }
        Ok(Self {
            path,
            features,
            features_first,
            bytes: 0,
            offsets: vec![0],
            boxes: Vec::new(),
            labels: LabelColumns::default(),
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
        self.labels.push(image.labels.as_ref(), image.num_regions());
        self.offsets.push((self.boxes.len() / 6) as i64);
        Ok(())
    }

    /// Completes the shard: it appears under its name when it is safe on disk.
    pub(super) fn close(self, dir: &Path, number: usize, options: &StoreOptions) -> Result<()> {
        let regions = [self.boxes.len() / 6, 6];
        let images = [self.offsets.len()];
        let shape = [regions[0], options.feature_dim];
        let offsets = ("offsets", Dtype::I64, &images[..]);
        let boxes = ("boxes", Dtype::F32, &regions[..]);
        let features = ("features", options.dtype.safetensors(), &shape[..]);
        let metadata = [
            ("format", "oscar-regions".into()),
            ("version", FORMAT_VERSION.to_string()),
        ];
        let path = dir.join(shard_file(number));
        let labels = self.labels.tensors(&regions[..1]);
        if self.features_first {
            let tensors = [vec![features, offsets, boxes], labels].concat();
            let header = mapped::header(&tensors, &metadata);
            let header = mapped::pad_header(header, HEADER).ok_or_else(|| {
                let found = format!("a header of over {HEADER} bytes");
                DatasetError::malformed(&path, found, "give the store a smaller shard size")
            })?;
            self.append(&header, &path)
        } else {
            let tensors = [vec![offsets, boxes, features], labels].concat();
            let header = mapped::header(&tensors, &metadata);
            self.copy(&header, &path)
        }
    }

    /// Writes offsets, boxes and labels behind the features, and the header in front of them.
    fn append(mut self, header: &[u8], path: &Path) -> Result<()> {
        let mut write = || {
            self.features
                .write_all(bytemuck::cast_slice(&self.offsets))?;
            self.features.write_all(bytemuck::cast_slice(&self.boxes))?;
            self.labels.write(&mut self.features)?;
            self.features.flush()?;
            let file = self.features.get_mut();
            file.seek(SeekFrom::Start(0))?;
            file.write_all(header)?;
            file.sync_all()
        };
        write().map_err(DatasetError::io("write", &self.path))?;
        fs::rename(&self.path, path).map_err(DatasetError::io("write", path))
    }

    /// Writes header, offsets and boxes, and the features and labels behind them.
    fn copy(mut self, header: &[u8], path: &Path) -> Result<()> {
        self.features
            .flush()
            .map_err(DatasetError::io("write", &self.path))?;
        drop(self.features);
        let mut shard = File::create(path).map_err(DatasetError::io("create", path))?;
        let mut features = File::open(&self.path).map_err(DatasetError::io("open", &self.path))?;
        // `io::copy` between files lets the kernel do the work.
        shard
            .write_all(header)
            .and_then(|()| shard.write_all(bytemuck::cast_slice(&self.offsets)))
            .and_then(|()| shard.write_all(bytemuck::cast_slice(&self.boxes)))
            .and_then(|()| io::copy(&mut features, &mut shard))
            .and_then(|_| self.labels.write(&mut shard))
            .and_then(|()| shard.sync_all())
            .map_err(DatasetError::io("write", path))?;
        fs::remove_file(&self.path).map_err(DatasetError::io("remove", &self.path))
    }
}
