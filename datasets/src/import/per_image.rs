//! One file per image: `.npz` archives, `.npy` arrays, safetensors.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oscar_core::input::LabelNames;
use safetensors::{Dtype, SafeTensors};

use super::folder::{Folder, read_file};
use super::info::{ATTRIBUTE_SCORES, ATTRIBUTES, CLASSES, Info, SCORES};
use super::matrix::{Arrays, Matrix};
use super::npy::{describe, parse_npy};
use super::npz::{Read, ids, read_npz, values as scores_of};
use super::options::Format;
use super::source::{FeatureSource, SourceBoxes, SourceImage};
use super::vocabulary::{Numbers, Vocabularies};
use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::official::pixels;
use crate::store::Tag;

/// What the names of files with the boxes of `KEY.npy` end in.
const NPY_BOXES: [&str; 2] = ["_bbox", "_boxes"];
/// What the name of a file with whatever else an extractor knew of `KEY.npy` ends in.
const NPY_INFO: &str = "_info";
/// What a folder of features and the folder of their boxes beside it end in: `cocobu_att`, with
/// `KEY.npz`, and `cocobu_box`, with `KEY.npy`.
const FOLDERS: (&str, &str) = ("_att", "_box");

/// A folder with one file per image to import.
pub(super) struct PerImage {
    folder: Folder,
    format: Format,
    feature_dim: usize,
    vocabularies: Vocabularies,
    /// The folder beside this one that has the boxes.
    boxes: Option<PathBuf>,
    /// Whether a file was read that gives classes by number.
    numbered: AtomicBool,
}

impl PerImage {
    /// The files of `format` in the folder `path`, or that file itself.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub(super) fn open(
        path: &Path,
        format: Format,
        feature_dim: usize,
        vocabularies: Vocabularies,
        repeated_keys: bool,
    ) -> Result<Self> {
        let is_companion = |stem: &str, stems: &[String]| {
            let mut suffixes = NPY_BOXES.into_iter().chain([NPY_INFO]);
            format == Format::Npy
                && suffixes.any(|suffix| {
                    let main = stem.strip_suffix(suffix);
                    main.is_some_and(|main| {
                        stems
                            .binary_search_by(|stem| stem.as_str().cmp(main))
                            .is_ok()
                    })
                })
        };
        let folder = Folder::open(path, format.name(), is_companion, repeated_keys)?;
        Ok(Self {
            folder,
            format,
            feature_dim,
            vocabularies,
            boxes: boxes_beside(path),
            numbered: AtomicBool::new(false),
        })
    }

    /// Boxes of image `row` in the folder beside this one.
    fn boxes_beside(&self, row: usize) -> Result<Option<Matrix>> {
        let Some(folder) = &self.boxes else {
            return Ok(None);
        };
        let path = folder.join(format!("{}.npy", self.folder.key(row)));
        match path.is_file() {
            false => Ok(None),
            true => {
                let boxes = parse_npy(&read_file(&path)?);
                boxes.map(Some).map_err(|defect| defect.in_file(&path))
            }
        }
    }

    fn read_npz(&self, row: usize, bytes: &[u8]) -> Result<SourceImage> {
        let read = read_npz(bytes, self.feature_dim, &self.vocabularies);
        let in_file = |defect: Defect| defect.in_file(&self.folder.paths()[row]);
        let mut image = self.noted(read.map_err(in_file)?);
        if let SourceBoxes::Missing(regions @ 1..) = image.boxes
            && let Some(boxes) = self.boxes_beside(row)?
        {
            image.boxes = boxes.boxes_of(regions).map_err(in_file)?;
        }
        Ok(image)
    }

    /// The image; that its file gives classes by number is kept for the notes.
    fn noted(&self, (image, numbered): Read) -> SourceImage {
        if numbered {
            self.numbered.store(true, Ordering::Relaxed);
        }
        image
    }

    /// An array beside `KEY.npy`.
    fn companion(&self, row: usize, suffix: &str) -> Option<PathBuf> {
        let path = &self.folder.paths()[row];
        let name = format!("{}{suffix}.npy", super::folder::stem(path));
        Some(path.with_file_name(name)).filter(|path| path.exists())
    }

    fn read_npy(&self, row: usize, bytes: &[u8]) -> Result<SourceImage> {
        let path = &self.folder.paths()[row];
        // ViLBERT's files are a dictionary with all that is known of the image.
        if describe(bytes).is_ok_and(|described| described.is_object()) {
            let read = Info::parse(bytes).and_then(|info| {
                let features = info.features()?;
                with_info(features, None, &info, self.feature_dim, &self.vocabularies)
            });
            return Ok(self.noted(read.map_err(|defect| defect.in_file(path))?));
        }
        let features = parse_npy(bytes).map_err(|defect| defect.in_file(path))?;
        let boxes = NPY_BOXES
            .iter()
            .find_map(|suffix| self.companion(row, suffix));
        let boxes = match &boxes {
            None => None,
            Some(path) => {
                let boxes = parse_npy(&read_file(path)?).map_err(|defect| defect.in_file(path))?;
                Some(boxes)
            }
        };
        let boxes = match boxes {
            None => self.boxes_beside(row)?,
            boxes => boxes,
        };
        let Some(info_path) = self.companion(row, NPY_INFO) else {
            let arrays = Arrays {
                features,
                boxes,
                count: None,
            };
            let (features, boxes) = arrays
                .regions(self.feature_dim)
                .map_err(|defect| defect.in_file(path))?;
            return Ok(SourceImage {
                features,
                boxes,
                ..SourceImage::default()
            });
        };
        let info = Info::parse(&read_file(&info_path)?);
        let read = info.and_then(|info| {
            with_info(features, boxes, &info, self.feature_dim, &self.vocabularies)
        });
        Ok(self.noted(read.map_err(|defect| defect.in_file(&info_path))?))
    }
}

/// An image of an array of features and of what its dictionary knows.
pub(super) fn with_info(
    features: Matrix,
    boxes: Option<Matrix>,
    info: &Info,
    feature_dim: usize,
    vocabularies: &Vocabularies,
) -> Result<Read, Defect> {
    let boxes = match boxes {
        None => info.boxes()?,
        boxes => boxes,
    };
    let arrays = Arrays::counted(features, boxes, info.count()?)?;
    let padded = arrays.count.is_some();
    let (features, boxes) = arrays.regions(feature_dim)?;
    let side = |side: &Matrix| pixels(side.number()?);
    let size = match info.size()? {
        None => None,
        Some((width, height)) => Some((side(&width)?, side(&height)?)),
    };
    let classes = ids(info.numbers(CLASSES)?.as_ref())?;
    let numbered = classes.is_some();
    let (mut tags, mut labels) = (None, None);
    if let Some(classes) = classes {
        let numbers = Numbers {
            classes,
            scores: scores_of(info.numbers(SCORES)?),
            attributes: ids(info.numbers(ATTRIBUTES)?.as_ref())?,
            attribute_scores: scores_of(info.numbers(ATTRIBUTE_SCORES)?),
        };
        let numbers = numbers.of_regions(boxes.len(), padded);
        let (scores, attributes) = (numbers.scores.as_deref(), numbers.attributes.as_deref());
        if vocabularies.classes.is_some() {
            tags = Some(vocabularies.tags(&boxes, &numbers.classes, scores, attributes)?);
        }
        labels = Some(numbers.labels(boxes.len())?);
    }
    let image = SourceImage {
        key: String::new(),
        size,
        features,
        boxes,
        tags,
        labels,
    };
    Ok((image, numbered))
}

impl FeatureSource for PerImage {
    fn len(&self) -> usize {
        self.folder.len()
    }

    fn key(&self, row: usize) -> Option<&str> {
        Some(self.folder.key(row))
    }

    fn read(&self, row: usize) -> Result<SourceImage> {
        let bytes = self.folder.read(row)?;
        let in_file = |defect: Defect| defect.in_file(&self.folder.paths()[row]);
        let mut image = match self.format {
            Format::Npz => self.read_npz(row, &bytes)?,
            Format::Npy => self.read_npy(row, &bytes)?,
            _ => parse_safetensors(&bytes, self.feature_dim).map_err(in_file)?,
        };
        image.key = self.folder.key(row).to_string();
        Ok(image)
    }

    fn locate(&self, row: usize, defect: Defect) -> DatasetError {
        let key = self.folder.key(row);
        defect
            .within(format_args!("image `{key}`"))
            .in_file(&self.folder.paths()[row])
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = self.folder.paths().to_vec();
        if self.format == Format::Npy {
            let boxes = |row| {
                NPY_BOXES
                    .iter()
                    .find_map(|suffix| self.companion(row, suffix))
            };
            files.extend((0..self.folder.len()).filter_map(boxes));
            let info = |row| self.companion(row, NPY_INFO);
            files.extend((0..self.folder.len()).filter_map(info));
        }
        files
    }

    fn label_names(&self) -> Option<Arc<LabelNames>> {
        self.vocabularies.label_names()
    }

    fn notes(&self) -> Vec<String> {
        let numbered = self.numbered.load(Ordering::Relaxed);
        let mut notes = self.vocabularies.notes(numbered);
        if let Some(boxes) = &self.boxes {
            notes.push(format!("boxes from {}", boxes.display()));
        }
        notes
    }
}

/// The folder of boxes that belongs to the folder of features `path` by its name.
fn boxes_beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let boxes = format!("{}{}", name.strip_suffix(FOLDERS.0)?, FOLDERS.1);
    Some(path.with_file_name(boxes)).filter(|path| path.is_dir())
}

/// Reads a safetensors file of one image: `features` `[regions, D]`; `boxes` `[regions, 4]` in
/// pixels with `image_size` (width, height), or `[regions, 6]` as shares of the image; and, in the
/// metadata, `tags`, as a line of a store's `tags.jsonl`.
///
/// # Errors
/// No whole file; a tensor that is missing or does not fit.
pub fn parse_safetensors(bytes: &[u8], feature_dim: usize) -> Result<SourceImage, Defect> {
    const FIX: &str = "write `features`, `boxes` and `image_size` with safetensors";
    let unreadable = |found: String| Defect::new(found, FIX);
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|error| unreadable(format!("not a whole safetensors file ({error})")))?;
    let matrix = |name: &str| match tensors.tensor(name) {
        Err(_) => Ok(None),
        Ok(tensor) => {
            let values = values(tensor.dtype(), tensor.data())
                .and_then(|values| Matrix::new(tensor.shape(), values));
            values
                .map(Some)
                .map_err(|defect| defect.within(format_args!("tensor `{name}`")))
        }
    };
    let features = matrix("features")?;
    let features = features.ok_or_else(|| unreadable("tensor `features` is missing".into()))?;
    let arrays = Arrays {
        features,
        boxes: matrix("boxes")?,
        count: None,
    };
    let (features, boxes) = arrays.regions(feature_dim)?;
    let size = match matrix("image_size")? {
        None => None,
        Some(size) => match size.values[..] {
            [width, height] => Some((pixels(width.into())?, pixels(height.into())?)),
            _ => return Err(unreadable("`image_size` is not width and height".into())),
        },
    };
    let metadata = SafeTensors::read_metadata(bytes)
        .map_err(|error| unreadable(format!("not a whole safetensors file ({error})")))?;
    let metadata = metadata.1.metadata().as_ref();
    let tags = match metadata.and_then(|metadata| metadata.get("tags")) {
        None => None,
        Some(json) => Some(serde_json::from_str::<Vec<Tag>>(json).map_err(|error| {
            unreadable(format!("its metadata `tags` cannot be read ({error})"))
        })?),
    };
    Ok(SourceImage {
        key: String::new(),
        size,
        features,
        boxes,
        tags,
        labels: None,
    })
}

/// Little-endian numbers of this type.
pub(super) fn values(dtype: Dtype, data: &[u8]) -> Result<Vec<f32>, Defect> {
    fn each<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        data.as_chunks::<N>()
            .0
            .iter()
            .map(|bytes| value(*bytes))
            .collect()
    }
    Ok(match dtype {
        Dtype::F16 => each(data, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(data, |b| half::bf16::from_le_bytes(b).to_f32()),
        Dtype::F32 => each(data, f32::from_le_bytes),
        Dtype::F64 => each(data, |b| f64::from_le_bytes(b) as f32),
        Dtype::I32 => each(data, |b| i32::from_le_bytes(b) as f32),
        Dtype::I64 => each(data, |b| i64::from_le_bytes(b) as f32),
        Dtype::U8 | Dtype::BOOL => each(data, |[b]| f32::from(b)),
        Dtype::I16 => each(data, |b| f32::from(i16::from_le_bytes(b))),
        Dtype::U32 => each(data, |b| u32::from_le_bytes(b) as f32),
        other => {
            let found = format!("values of type {other:?}");
            return Err(Defect::new(found, "store floats"));
        }
    })
}
