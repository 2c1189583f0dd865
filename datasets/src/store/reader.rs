//! Opens a region store by memory map.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;
use oscar_core::input::{LabelNames, RegionLabels, RegionSource, SourceError};
use oscar_files::{OpenFile, recover};
use safetensors::Dtype;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::labels::{MappedLabels, read_names};
use super::{FORMAT_VERSION, INDEX_FILE, StoreDtype, TAGS_FILE, Tag, shard_file};
use crate::error::{DatasetError, Result};
use crate::images::ImageSource;
use crate::mapped::{Column, MappedTensors};

const INDEX_HINT: &str = "it is the index of a region store, made by `oscar-bin data build`; \
                          give the directory of a finished store";
const SHARD_HINT: &str = "the index names this part of the region store: copy the whole directory, \
                          or build the store again";

/// Boxes of regions: x1/W, y1/H, x2/W, y2/H, w/W, h/H.
pub type Rects = [[f32; 6]];

/// A store opened for reading; cheap to share between threads.
///
/// Opening checks every header, offset and length against the files, so that nothing that was
/// stored wrongly can be read out of bounds; it does not look at features and tags, which
/// [`check`](Self::check) does. The files must not be changed while the store is open.
pub struct RegionStore {
    pub(super) dir: PathBuf,
    feature_dim: usize,
    dtype: StoreDtype,
    source: String,
    pictures: Option<PathBuf>,
    extractor: Option<String>,
    keys: Column<u8>,
    key_offsets: Column<u64>,
    pub(super) sorted: Column<u32>,
    shard: Column<u32>,
    row: Column<u32>,
    image_size: Column<u32>,
    tags: OpenFile,
    tag_offsets: Column<u64>,
    shards: Vec<Shard>,
    label_names: Option<Arc<LabelNames>>,
}

struct Shard {
    offsets: Column<i64>,
    boxes: Column<f32>,
    features: Features,
    labels: Option<MappedLabels>,
}

enum Features {
    F16(Column<f16>),
    F32(Column<f32>),
}

impl RegionStore {
    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// A missing, cut-off or damaged file, another format version, or an index that does not fit
    /// its shards: the message names the file.
    pub fn open(dir: &Path) -> Result<Arc<Self>> {
        // A killed process may have left the store under another name.
        recover(dir)?;
        let path = dir.join(INDEX_FILE);
        let index = MappedTensors::open(&path, INDEX_HINT)?;
        let version = index.metadata("version").unwrap_or("none");
        if version != FORMAT_VERSION.to_string() {
            let found = version.to_string();
            return Err(DatasetError::Version {
                path,
                found,
                expected: FORMAT_VERSION,
            });
        }
        let feature_dim = index.metadata_number("feature_dim")?;
        let dtype = index.metadata("dtype").unwrap_or("nothing");
        let dtype = StoreDtype::parse(dtype).ok_or_else(|| {
            index.wrong(format!(
                "metadata `dtype` is {dtype}, where F16 or F32 is known"
            ))
        })?;
        let n = index.shape("sorted")?.first().copied().unwrap_or(0);
        let bytes = index.shape("keys")?.first().copied().unwrap_or(0);
        // Text is read, not mapped: a map of a file that shrinks ends the process.
        let tags = OpenFile::open(&dir.join(TAGS_FILE));
        let tags = tags.map_err(DatasetError::missing(SHARD_HINT))?;
        let mut store = Self {
            dir: dir.to_path_buf(),
            feature_dim,
            dtype,
            source: index.metadata("source").unwrap_or_default().to_string(),
            pictures: index.metadata("pictures").map(PathBuf::from),
            extractor: index.metadata("extractor").map(String::from),
            keys: index.column("keys", Dtype::U8, &[bytes])?,
            key_offsets: index.column("key_offsets", Dtype::U64, &[n + 1])?,
            sorted: index.column("sorted", Dtype::U32, &[n])?,
            shard: index.column("shard", Dtype::U32, &[n])?,
            row: index.column("row", Dtype::U32, &[n])?,
            image_size: index.column("image_size", Dtype::U32, &[n, 2])?,
            tags,
            tag_offsets: index.column("tag_offsets", Dtype::U64, &[n + 1])?,
            shards: Vec::new(),
            label_names: read_names(dir)?,
        };
        store.check_index(&index)?;
        for number in 0..index.metadata_number("shards")? {
            let shard = Shard::open(&dir.join(shard_file(number)), feature_dim, dtype)?;
            store.shards.push(shard);
        }
        store.check_places(&index)?;
        Ok(Arc::new(store))
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appearance values per region, D: two thousand and some for a detector's features.
    pub fn feature_dim(&self) -> usize {
        self.feature_dim
    }

    /// Precision of the stored features.
    pub fn dtype(&self) -> StoreDtype {
        self.dtype
    }

    /// Number of shards.
    pub fn num_shards(&self) -> usize {
        self.shards.len()
    }

    /// Where the regions come from, as the builder put it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where the pictures of its images were when it was built, if the builder recorded it.
    pub fn pictures(&self) -> Option<&Path> {
        self.pictures.as_deref()
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The row of the image with this key.
    pub fn find(&self, key: &str) -> Option<usize> {
        let found = self.sorted.binary_search_by(|&row| {
            let stored: &[u8] = self.key_bytes(row as usize);
            stored.cmp(key.as_bytes())
        });
        found.ok().map(|at| self.sorted[at] as usize)
    }

    /// The key of image `row`, which must be below [`len`](Self::len).
    pub fn key(&self, row: usize) -> &str {
        // The bytes were found to be UTF-8 when the store was opened.
        std::str::from_utf8(self.key_bytes(row)).unwrap_or_default()
    }

    /// All keys, by row.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|row| self.key(row))
    }

    /// Width and height of image `row`, in pixels.
    pub fn size(&self, row: usize) -> (u32, u32) {
        (self.image_size[2 * row], self.image_size[2 * row + 1])
    }

    /// Boxes of the regions of image `row`.
    pub fn boxes(&self, row: usize) -> &Rects {
        let (shard, regions) = self.place(row);
        bytemuck::cast_slice(&shard.boxes[6 * regions.start..6 * regions.end])
    }

    /// The classes of the regions of image `row`, if a detector gave them.
    pub fn labels(&self, row: usize) -> Option<RegionLabels> {
        let (shard, regions) = self.place(row);
        shard.labels.as_ref()?.of(regions)
    }

    /// The names of these classes, if they are known.
    pub fn label_names(&self) -> Option<&Arc<LabelNames>> {
        self.label_names.as_ref()
    }

    /// The objects found in image `row`, in file order.
    ///
    /// # Errors
    /// If its line of `tags.jsonl` is not a list of tags.
    pub fn tags(&self, row: usize) -> Result<Vec<Tag>> {
        self.parse_tags(row)
    }

    /// The classes of the objects in image `row`, joined by single spaces, in file order: text B
    /// of a word-tag-image triple.
    ///
    /// # Errors
    /// If its line of `tags.jsonl` is not a list of tags.
    pub fn tag_text(&self, row: usize) -> Result<String> {
        #[derive(Deserialize)]
        struct Class {
            class: String,
        }
        let mut text = String::new();
        for Class { class } in self.parse_tags::<Class>(row)? {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&class);
        }
        Ok(text)
    }

    fn parse_tags<T: DeserializeOwned>(&self, row: usize) -> Result<Vec<T>> {
        let line = self
            .tags
            .read(self.tag_offsets[row]..self.tag_offsets[row + 1])?;
        serde_json::from_slice(&line).map_err(|error| {
            let found = format!(
                "the tags of image `{}` cannot be read ({error})",
                self.key(row)
            );
            DatasetError::malformed(&self.dir.join(TAGS_FILE), found, "build the store again")
        })
    }

    fn key_bytes(&self, row: usize) -> &[u8] {
        &self.keys[self.key_offsets[row] as usize..self.key_offsets[row + 1] as usize]
    }

    fn place(&self, row: usize) -> (&Shard, std::ops::Range<usize>) {
        let shard = &self.shards[self.shard[row] as usize];
        let row = self.row[row] as usize;
        (
            shard,
            shard.offsets[row] as usize..shard.offsets[row + 1] as usize,
        )
    }

    /// Checks what lookups rely on.
    fn check_index(&self, index: &MappedTensors) -> Result<()> {
        let n = self.len();
        let ends = |offsets: &[u64], bytes: usize| {
            offsets.first() == Some(&0)
                && offsets.last() == Some(&(bytes as u64))
                && offsets.is_sorted()
        };
        let keys = std::str::from_utf8(&self.keys)
            .map_err(|error| index.wrong(format!("`keys` is not UTF-8 text ({error})")))?;
        let at_characters = self
            .key_offsets
            .iter()
            .all(|&o| keys.is_char_boundary(o as usize));
        if !ends(&self.key_offsets, self.keys.len()) || !at_characters {
            return Err(index.wrong("`key_offsets` does not divide `keys`".into()));
        }
        if !ends(&self.tag_offsets, self.tags.length() as usize) {
            let path = self.dir.join(TAGS_FILE);
            let wanted = self.tag_offsets.last().copied().unwrap_or(0);
            let found = format!(
                "{} bytes, where the index wants {wanted}",
                self.tags.length()
            );
            return Err(DatasetError::malformed(
                &path,
                found,
                "copy or build the store again",
            ));
        }
        match self.sorted.iter().find(|&&row| row as usize >= n) {
            Some(row) => Err(index.wrong(format!("`sorted` names image {row} of {n}"))),
            None => Ok(()),
        }
    }

    /// Checks that each image's regions exist.
    fn check_places(&self, index: &MappedTensors) -> Result<()> {
        for (image, (&shard, &row)) in self.shard.iter().zip(self.row.iter()).enumerate() {
            let images = self
                .shards
                .get(shard as usize)
                .map_or(0, |s| s.offsets.len() - 1);
            if row as usize >= images {
                return Err(index.wrong(format!(
                    "image `{}` is said to be row {row} of shard {shard}, which has {images} rows",
                    self.key(image)
                )));
            }
        }
        Ok(())
    }
}

/// Number of images in the shard at `path`, if it is whole.
pub(super) fn images_in_shard(path: &Path, feature_dim: usize, dtype: StoreDtype) -> Result<usize> {
    Ok(Shard::open(path, feature_dim, dtype)?.offsets.len() - 1)
}

impl Shard {
    fn open(path: &Path, feature_dim: usize, dtype: StoreDtype) -> Result<Self> {
        let file = MappedTensors::open(path, SHARD_HINT)?;
        let regions = file.shape("boxes")?.first().copied().unwrap_or(0);
        let images = file.shape("offsets")?.first().copied().unwrap_or(0);
        let shape = [regions, feature_dim];
        let features = match dtype {
            StoreDtype::F16 => Features::F16(file.column("features", Dtype::F16, &shape)?),
            StoreDtype::F32 => Features::F32(file.column("features", Dtype::F32, &shape)?),
        };
        let boxes = file.column("boxes", Dtype::F32, &[regions, 6])?;
        let offsets: Column<i64> = file.column("offsets", Dtype::I64, &[images])?;
        if offsets.first() != Some(&0)
            || offsets.last() != Some(&(regions as i64))
            || !offsets.is_sorted()
        {
            return Err(file.wrong(format!("`offsets` does not divide the {regions} regions")));
        }
        Ok(Self {
            labels: MappedLabels::open(&file, regions)?,
            offsets,
            boxes,
            features,
        })
    }
}

impl RegionStore {
    /// Values per region: features and six box values.
    pub fn region_dim(&self) -> usize {
        self.feature_dim + 6
    }

    /// Number of regions of image `row`.
    pub fn num_regions(&self, row: usize) -> usize {
        self.place(row).1.len()
    }

    /// Copies the first `out.len() / region_dim` regions of image `row` to `out`, as f32.
    pub fn copy_regions(&self, row: usize, out: &mut [f32]) {
        let d = self.feature_dim;
        let (shard, regions) = self.place(row);
        for (region, out) in regions.zip(out.chunks_exact_mut(d + 6)) {
            let (features, geometry) = out.split_at_mut(d);
            match &shard.features {
                Features::F16(stored) => {
                    stored[region * d..(region + 1) * d].convert_to_f32_slice(features);
                }
                Features::F32(stored) => {
                    features.copy_from_slice(&stored[region * d..(region + 1) * d]);
                }
            }
            geometry.copy_from_slice(&shard.boxes[6 * region..6 * region + 6]);
        }
    }
}

impl RegionSource for RegionStore {
    fn region_dim(&self) -> usize {
        self.region_dim()
    }

    fn num_regions(&self, row: usize) -> Result<usize, SourceError> {
        Ok(self.num_regions(row))
    }

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> Result<(), SourceError> {
        self.copy_regions(row, out);
        Ok(())
    }

    fn image_key(&self, row: usize) -> String {
        self.key(row).to_string()
    }

    fn labels(&self, row: usize) -> Result<Option<RegionLabels>, SourceError> {
        Ok(self.labels(row))
    }

    fn label_names(&self) -> Option<Arc<LabelNames>> {
        self.label_names.clone()
    }

    fn image_size(&self, row: usize) -> Option<(u32, u32)> {
        let (width, height) = self.size(row);
        (width > 0 && height > 0).then_some((width, height))
    }
}

impl ImageSource for RegionStore {
    fn len(&self) -> usize {
        self.len()
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.find(key)
    }

    fn examples(&self, key: &str) -> Vec<String> {
        let after = self
            .sorted
            .partition_point(|row| self.key_bytes(*row as usize) < key.as_bytes());
        let beside = after.saturating_sub(1)..(after + 1).min(self.len());
        let keys = self.sorted[beside].iter();
        keys.map(|row| self.key(*row as usize).to_owned()).collect()
    }

    fn tag_text(&self, row: usize) -> Result<String> {
        self.tag_text(row)
    }

    fn path(&self) -> &Path {
        &self.dir
    }

    fn extractor(&self) -> Option<&str> {
        self.extractor.as_deref()
    }
}
