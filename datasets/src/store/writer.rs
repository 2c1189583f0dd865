//! Writes a region store, image by image.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_core::input::{LabelNames, RegionLabels};
use oscar_files::{StagedDir, sync_directory, write_file, write_json};
use safetensors::Dtype;

use super::encoded::refused;
use super::labels::CLASSES_FILE;
use super::part::{ShardPart, StoredImage, open_tags};
use super::shard_writer::OpenShard;
use super::{EncodedImage, FORMAT_VERSION, INDEX_FILE, StoreDtype, TAGS_FILE, Tag};
use crate::error::{DatasetError, Result};
use crate::mapped;

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
    /// Where pictures of the images are, kept in the index; none by default.
    pub pictures: Option<PathBuf>,
    /// Name of the extractor that found the regions in pictures, kept in the index; none by default.
    pub extractor: Option<String>,
    /// Names of the classes of regions, kept beside them; none by default.
    pub label_names: Option<Arc<LabelNames>>,
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
            pictures: None,
            extractor: None,
            label_names: None,
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
///
/// ```
/// use oscar_datasets::{Boxes, ImageRegions, RegionStore, StoreOptions, StoreWriter};
///
/// let place = tempfile::tempdir()?;
/// let regions = place.path().join("regions");
/// let mut writer = StoreWriter::create(&regions, StoreOptions::new(2))?;
/// writer.push(ImageRegions {
///     key: "58350",
///     width: 640,
///     height: 480,
///     features: &[0.5, 1.0],
///     boxes: Boxes::Pixels(&[[0.0, 0.0, 320.0, 240.0]]),
///     tags: &[],
/// })?;
/// writer.finish()?;
///
/// let store = RegionStore::open(&regions)?;
/// let row = store.find("58350").expect("it is there");
/// // Two values, then x1/W, y1/H, x2/W, y2/H, w/W, h/H.
/// let mut region = [0.0; 8];
/// store.copy_regions(row, &mut region);
/// assert_eq!(region, [0.5, 1.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
        Self::resume(staged, options, &[])
    }

    /// Goes on with a store whose first shards are complete: one for each of `parts`.
    ///
    /// # Errors
    /// If a shard or its images' tags are not what its part says.
    pub(crate) fn resume(
        staged: StagedDir,
        options: StoreOptions,
        parts: &[ShardPart],
    ) -> Result<Self> {
        let tag_bytes = parts
            .iter()
            .flat_map(|part| &part.images)
            .map(|i| i.tag_bytes)
            .sum();
        let tags = open_tags(&staged.path().join(TAGS_FILE), tag_bytes)?;
        let mut writer = Self {
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
        };
        for part in parts {
            part.check(writer.staged.path(), writer.shards, &writer.options)?;
            for (row, image) in part.images.iter().enumerate() {
                writer.list(writer.shards, row as u32, image);
            }
            writer.shards += 1;
        }
        Ok(writer)
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
        self.push_encoded(EncodedImage::new(&image, &self.options)?)
    }

    /// The same, with the classes of its regions.
    ///
    /// # Errors
    /// As [`push`](Self::push); another number of classes than of regions, or a score outside of 0 to
    /// 1.
    pub fn push_labelled(&mut self, image: ImageRegions<'_>, labels: RegionLabels) -> Result<()> {
        let encoded = EncodedImage::new(&image, &self.options)?;
        self.push_encoded(encoded.with_labels(Some(labels))?)
    }

    /// Adds an image that was encoded with this store's options.
    ///
    /// # Errors
    /// A key that is already stored; a full disk.
    pub fn push_encoded(&mut self, image: EncodedImage) -> Result<()> {
        if self.seen.contains(image.key.as_str()) {
            return Err(DatasetError::DuplicateKey { key: image.key });
        }
        if self.len() >= u32::MAX as usize {
            let found = "the store holds 4,294,967,295 images already".into();
            return Err(refused(&image.key, found, "make a second"));
        }
        let tags_path = self.staged.path().join(TAGS_FILE);
        self.tags
            .write_all(image.tags.as_bytes())
            .and_then(|()| self.tags.write_all(b"\n"))
            .map_err(DatasetError::io("write", &tags_path))?;

        let mut shard = match self.open.take() {
            Some(shard) => shard,
            None => OpenShard::create(self.staged.path(), self.shards, &self.options)?,
        };
        shard.push(&image)?;
        let full = shard.bytes >= self.options.max_shard_bytes;
        let row = shard.images() as u32 - 1;
        self.open = Some(shard);
        self.list(self.shards, row, &StoredImage::of(&image));
        if full {
            self.close_shard()?;
        }
        Ok(())
    }

    /// Adds an image to the index.
    fn list(&mut self, shard: usize, row: u32, image: &StoredImage) {
        self.shard.push(shard as u32);
        self.row.push(row);
        let tag_end = self.tag_offsets.last().copied().unwrap_or(0) + image.tag_bytes;
        self.tag_offsets.push(tag_end);
        self.seen.insert(image.key.as_str().into());
        self.keys.extend_from_slice(image.key.as_bytes());
        self.key_offsets.push(self.keys.len() as u64);
        self.image_size.extend([image.width, image.height]);
    }

    /// Number of complete shards.
    pub(crate) fn complete_shards(&self) -> usize {
        self.shards
    }

    /// The last complete shard, once all before it is safe on disk; `None` while another is being
    /// filled.
    pub(crate) fn last_part(&mut self) -> Result<Option<ShardPart>> {
        let Some(last) = self.shards.checked_sub(1).filter(|_| self.open.is_none()) else {
            return Ok(None);
        };
        self.sync_tags()?;
        sync_directory(self.staged.path())?;
        let first = self.shard.partition_point(|shard| (*shard as usize) < last);
        let images = (first..self.len()).map(|i| {
            let key = &self.keys[self.key_offsets[i] as usize..self.key_offsets[i + 1] as usize];
            StoredImage {
                key: String::from_utf8_lossy(key).into_owned(),
                width: self.image_size[2 * i],
                height: self.image_size[2 * i + 1],
                tag_bytes: self.tag_offsets[i + 1] - self.tag_offsets[i],
            }
        });
        Ok(Some(ShardPart {
            images: images.collect(),
        }))
    }

    /// Writes the index and gives the store its name.
    ///
    /// # Errors
    /// If no image was added, or if the disk refuses.
    pub fn finish(self) -> Result<()> {
        Ok(self.complete()?.commit()?)
    }

    /// Writes the index; the store can be read where it was written, and has no name yet.
    pub(crate) fn complete(mut self) -> Result<StagedDir> {
        self.close_shard()?;
        if self.is_empty() {
            let found = "no image was added to this store";
            return Err(DatasetError::malformed(
                self.staged.path(),
                found,
                "add at least one",
            ));
        }
        self.sync_tags()?;
        if let Some(names) = &self.options.label_names {
            write_json(&self.staged.path().join(CLASSES_FILE), &**names)?;
        }
        let index = self.index_bytes();
        write_file(&self.staged.path().join(INDEX_FILE), &index)?;
        Ok(self.staged)
    }

    fn sync_tags(&mut self) -> Result<()> {
        let tags_path = self.staged.path().join(TAGS_FILE);
        self.tags
            .flush()
            .and_then(|()| self.tags.get_ref().sync_all())
            .map_err(DatasetError::io("write", &tags_path))
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
        let mut metadata = vec![
            ("format", "oscar-region-index".into()),
            ("version", FORMAT_VERSION.to_string()),
            ("feature_dim", self.options.feature_dim.to_string()),
            ("dtype", self.options.dtype.name().into()),
            ("shards", self.shards.to_string()),
            ("source", self.options.source.clone()),
        ];
        let pictures = self.options.pictures.as_deref().and_then(Path::to_str);
        metadata.extend(pictures.map(|path| ("pictures", path.to_string())));
        let extractor = self.options.extractor.as_ref();
        metadata.extend(extractor.map(|name| ("extractor", name.clone())));
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
            &metadata,
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
