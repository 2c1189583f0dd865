//! Writes a region store, image by image.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use half::f16;
use safetensors::Dtype;

use super::shard_writer::OpenShard;
use super::{FORMAT_VERSION, INDEX_FILE, StoreDtype, TAGS_FILE, Tag, box_problem};
use crate::error::{DatasetError, Result};
use crate::mapped;
use crate::staging::{StagedDir, write_file};

/// How to write a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Values per region, D, without the six box values.
    pub feature_dim: usize,
    /// Precision of the features; [`StoreDtype::F16`] by default.
    pub dtype: StoreDtype,
    /// A shard is closed once its features take this many bytes; 1 GiB by default.
    pub max_shard_bytes: u64,
    /// Replace a store that is already there; off by default.
    pub overwrite: bool,
    /// Where the regions come from, free text kept in the index.
    pub source: String,
}

impl StoreOptions {
    /// Options with the defaults stated at each field.
    pub fn new(feature_dim: usize) -> Self {
        Self {
            feature_dim,
            dtype: StoreDtype::default(),
            max_shard_bytes: 1 << 30,
            overwrite: false,
            source: String::new(),
        }
    }
}

/// One image, as handed to [`StoreWriter::push`].
#[derive(Clone, Copy, Debug)]
pub struct ImageRegions<'a> {
    /// Unique, not empty, without control characters.
    pub key: &'a str,
    /// Width in pixels; 0 if unknown.
    pub width: u32,
    /// Height in pixels; 0 if unknown.
    pub height: u32,
    /// Row-major `[regions, feature_dim]`.
    pub features: &'a [f32],
    /// One box per region; an image may have none.
    pub boxes: Boxes<'a>,
    /// Objects, in the order in which their classes shall be read.
    pub tags: &'a [Tag],
}

/// Where an image's regions are.
#[derive(Clone, Copy, Debug)]
pub enum Boxes<'a> {
    /// x1, y1, x2, y2 in pixels, inside an image of known size.
    Pixels(&'a [[f32; 4]]),
    /// x1/W, y1/H, x2/W, y2/H, w/W, h/H, stored as they are: published features come with them.
    Relative(&'a [[f32; 6]]),
}

impl Boxes<'_> {
    /// Number of regions.
    pub fn len(&self) -> usize {
        match self {
            Self::Pixels(boxes) => boxes.len(),
            Self::Relative(boxes) => boxes.len(),
        }
    }

    /// Whether the image has no region.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Writes a store; nothing appears under its name before [`finish`](Self::finish).
///
/// Features stream to disk. Memory holds the index (some 40 bytes and two keys an image) and the
/// boxes of one shard.
pub struct StoreWriter {
    staged: StagedDir,
    options: StoreOptions,
    seen: HashSet<Box<str>>,
    keys: Vec<u8>,
    key_offsets: Vec<u64>,
    shard: Vec<u32>,
    row: Vec<u32>,
    image_size: Vec<u32>,
    tags: BufWriter<File>,
    tag_offsets: Vec<u64>,
    shards: usize,
    open: Option<OpenShard>,
    buffer: Vec<u8>,
}

impl StoreWriter {
    /// Starts a store that will appear at `dir`.
    ///
    /// # Errors
    /// If `dir` is there and may not be overwritten, if it cannot be written, or if
    /// `options.feature_dim` is zero.
    pub fn create(dir: &Path, options: StoreOptions) -> Result<Self> {
        if options.feature_dim == 0 {
            let found = "a store of regions without features was asked for";
            return Err(DatasetError::malformed(
                dir,
                found,
                "give a feature_dim above zero",
            ));
        }
        let staged = StagedDir::create(dir, INDEX_FILE, options.overwrite)?;
        let tags_path = staged.path().join(TAGS_FILE);
        let tags = File::create(&tags_path).map_err(DatasetError::io("create", &tags_path))?;
        Ok(Self {
            staged,
            options,
            seen: HashSet::new(),
            keys: Vec::new(),
            key_offsets: vec![0],
            shard: Vec::new(),
            row: Vec::new(),
            image_size: Vec::new(),
            tags: BufWriter::new(tags),
            tag_offsets: vec![0],
            shards: 0,
            open: None,
            buffer: Vec::new(),
        })
    }

    /// Number of images written so far.
    pub fn len(&self) -> usize {
        self.shard.len()
    }

    /// Whether no image has been written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an image. An image that is refused leaves the store as it was.
    ///
    /// # Errors
    /// A key that is empty, has control characters or is already stored; features whose length is
    /// not `regions * feature_dim`, or that are not finite in the store's precision; a box in
    /// pixels or a tag's box that is empty or reaches outside the image; a tag without class; a
    /// full disk.
    pub fn push(&mut self, image: ImageRegions<'_>) -> Result<()> {
        self.check(&image)?;
        let tag_line = serde_json::to_string(image.tags)
            .map_err(|error| refused(image.key, error.to_string(), "correct its tags"))?;
        self.encode(&image)?;

        let tags_path = self.staged.path().join(TAGS_FILE);
        self.tags
            .write_all(tag_line.as_bytes())
            .and_then(|()| self.tags.write_all(b"\n"))
            .map_err(DatasetError::io("write", &tags_path))?;
        let tag_end = self.tag_offsets.last().copied().unwrap_or(0) + tag_line.len() as u64 + 1;
        self.tag_offsets.push(tag_end);

        let mut shard = match self.open.take() {
            Some(shard) => shard,
            None => OpenShard::create(self.staged.path(), self.shards)?,
        };
        shard.push(&self.buffer, &image)?;
        self.shard.push(self.shards as u32);
        self.row.push(shard.images() as u32 - 1);
        self.open = Some(shard);
        if self
            .open
            .as_ref()
            .is_some_and(|s| s.bytes >= self.options.max_shard_bytes)
        {
            self.close_shard()?;
        }

        self.seen.insert(image.key.into());
        self.keys.extend_from_slice(image.key.as_bytes());
        self.key_offsets.push(self.keys.len() as u64);
        self.image_size.extend([image.width, image.height]);
        Ok(())
    }

    /// Writes the index and gives the store its name.
    ///
    /// # Errors
    /// If no image was added, or if the disk refuses.
    pub fn finish(mut self) -> Result<()> {
        self.close_shard()?;
        if self.is_empty() {
            let found = "no image was added to this store";
            return Err(DatasetError::malformed(
                self.staged.path(),
                found,
                "add at least one",
            ));
        }
        let tags_path = self.staged.path().join(TAGS_FILE);
        self.tags
            .flush()
            .and_then(|()| self.tags.get_ref().sync_all())
            .map_err(DatasetError::io("write", &tags_path))?;
        let index = self.index_bytes();
        write_file(&self.staged.path().join(INDEX_FILE), &index)?;
        self.staged.commit()
    }

    fn check(&self, image: &ImageRegions<'_>) -> Result<()> {
        let ImageRegions {
            key,
            width,
            height,
            features,
            boxes,
            tags,
        } = *image;
        let refuse = |found: String, fix| Err(refused(key, found, fix));
        if key.is_empty() || key.chars().any(char::is_control) {
            return refuse(
                "its key is empty or has control characters".into(),
                "rename it",
            );
        }
        if self.seen.contains(key) {
            return Err(DatasetError::DuplicateKey { key: key.into() });
        }
        if self.len() >= u32::MAX as usize {
            return refuse(
                "the store holds 4,294,967,295 images already".into(),
                "make a second",
            );
        }
        let wanted = boxes.len() * self.options.feature_dim;
        if features.len() != wanted {
            let found = format!(
                "{} feature values for {} regions of {} values, which take {wanted}",
                features.len(),
                boxes.len(),
                self.options.feature_dim
            );
            return refuse(found, "check the feature dimension");
        }
        if let Some((region, problem)) = boxes_problem(boxes, width, height) {
            let found = format!("region {region}: {problem}");
            return refuse(found, "clip or drop the region");
        }
        for tag in tags {
            let class = &tag.class;
            if class.trim().is_empty() {
                return refuse(
                    "a tag has no class".into(),
                    "drop the tag or name its class",
                );
            }
            if !tag.score.is_finite() {
                let found = format!("tag `{class}` has score {}", tag.score);
                return refuse(found, "give a score from 0 to 1");
            }
            if let Some(problem) = tag.box_px.and_then(|b| box_problem(&b, width, height)) {
                return refuse(format!("tag `{class}`: {problem}"), "clip or drop the tag");
            }
        }
        Ok(())
    }

    /// Fills `buffer` with the image's features as they will lie in the file.
    fn encode(&mut self, image: &ImageRegions<'_>) -> Result<()> {
        self.buffer.clear();
        let half = self.options.dtype == StoreDtype::F16;
        for (i, &value) in image.features.iter().enumerate() {
            let stored = if half {
                f16::from_f32(value).to_f32()
            } else {
                value
            };
            if !stored.is_finite() {
                let (region, column) = (i / self.options.feature_dim, i % self.options.feature_dim);
                let found = if value.is_finite() {
                    format!("region {region}, value {column} is {value}, too large for F16")
                } else {
                    format!("region {region}, value {column} is {value}")
                };
                return Err(refused(image.key, found, "compute its features again"));
            }
            if half {
                self.buffer.extend(f16::from_f32(value).to_le_bytes());
            } else {
                self.buffer.extend(value.to_le_bytes());
            }
        }
        Ok(())
    }

    fn close_shard(&mut self) -> Result<()> {
        if let Some(shard) = self.open.take() {
            shard.close(self.staged.path(), self.shards, &self.options)?;
            self.shards += 1;
        }
        Ok(())
    }

    fn index_bytes(&self) -> Vec<u8> {
        let n = self.len();
        let key = |i: u32| {
            let i = i as usize;
            &self.keys[self.key_offsets[i] as usize..self.key_offsets[i + 1] as usize]
        };
        let mut sorted: Vec<u32> = (0..n as u32).collect();
        sorted.sort_unstable_by(|&a, &b| key(a).cmp(key(b)));
        let mut bytes = mapped::header(
            &[
                ("key_offsets", Dtype::U64, &[n + 1]),
                ("tag_offsets", Dtype::U64, &[n + 1]),
                ("sorted", Dtype::U32, &[n]),
                ("shard", Dtype::U32, &[n]),
                ("row", Dtype::U32, &[n]),
                ("image_size", Dtype::U32, &[n, 2]),
                ("keys", Dtype::U8, &[self.keys.len()]),
            ],
            &[
                ("format", "oscar-region-index".into()),
                ("version", FORMAT_VERSION.to_string()),
                ("feature_dim", self.options.feature_dim.to_string()),
                ("dtype", self.options.dtype.name().into()),
                ("shards", self.shards.to_string()),
                ("source", self.options.source.clone()),
            ],
        );
        bytes.extend_from_slice(bytemuck::cast_slice(&self.key_offsets));
        bytes.extend_from_slice(bytemuck::cast_slice(&self.tag_offsets));
        for column in [&sorted, &self.shard, &self.row, &self.image_size] {
            bytes.extend_from_slice(bytemuck::cast_slice(column));
        }
        bytes.extend_from_slice(&self.keys);
        bytes
    }
}

/// The first region whose box cannot be stored, and why.
fn boxes_problem(boxes: Boxes<'_>, width: u32, height: u32) -> Option<(usize, String)> {
    match boxes {
        Boxes::Pixels([]) | Boxes::Relative([]) => None,
        Boxes::Pixels(_) if width == 0 || height == 0 => {
            Some((0, "a box in pixels, but the image's size is unknown".into()))
        }
        Boxes::Pixels(boxes) => boxes
            .iter()
            .enumerate()
            .find_map(|(region, b)| Some((region, box_problem(b, width, height)?))),
        Boxes::Relative(boxes) => boxes
            .iter()
            .position(|b| b.iter().any(|v| !v.is_finite()))
            .map(|region| (region, format!("box {:?} is not finite", boxes[region]))),
    }
}

fn refused(key: &str, found: String, fix: &'static str) -> DatasetError {
    DatasetError::Image {
        key: key.into(),
        found,
        fix,
    }
}
