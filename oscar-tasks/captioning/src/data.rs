//! An opened split: every text as ids, every image found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_core::input::{
    CaptionEncoder, EncodedCaption, EncodedSequence, ExampleSeed, RegionHandle, SequenceEncoder,
    SourceError,
};
use oscar_datasets::captions::{self, CaptionedImage};
use oscar_datasets::view::View;
use oscar_datasets::yaml::Tables;
use oscar_datasets::{ImagesAt, RowSet, SharedImages, open_images};
use oscar_task::{Role, TaskData, required};
use rayon::prelude::*;

use crate::constraints::{ConstraintFiles, Constraints};
use crate::scores::References;
use crate::{Captioning, Split};

/// A caption and its ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caption {
    /// As it is in the file.
    pub text: String,
    /// Without `[CLS]` and `[SEP]`.
    pub ids: Vec<u32>,
}

/// An image of the split.
#[derive(Clone, Debug)]
pub struct Image {
    /// As the file of captions names it.
    pub key: String,
    /// Its row in the source of images.
    pub row: usize,
    /// Captions that people wrote for it.
    pub captions: Vec<Caption>,
    /// Ids of its tags.
    pub tags: Vec<u32>,
    /// The key under which its regions lie.
    pub regions_key: String,
}

/// A split, opened.
pub struct CaptionData {
    path: PathBuf,
    images: Vec<Image>,
    /// Image and number of each caption, in order.
    captions: Vec<(u32, u32)>,
    source: SharedImages,
    encoder: CaptionEncoder,
    role: Role,
    /// Whether an example is an image, not a caption.
    by_image: bool,
    constraints: Option<Constraints>,
    /// References of the captions; none where an image has no caption, and none for training.
    references: Option<Arc<References>>,
    /// The same images with each other's regions, to see what a model takes from them.
    swapped: Option<SharedImages>,
    /// Other images, whose captions are a baseline: that of the most similar image.
    neighbours: Option<Box<CaptionData>>,
}

impl CaptionData {
    /// Opens `split` and checks every row.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; an image without regions' row; a caption without words; for
    /// training, an image without captions.
    pub fn open(
        split: &Split,
        role: Role,
        task: &Captioning,
        sequences: SequenceEncoder,
    ) -> Result<Self, SourceError> {
        let encoder = task.encoder(sequences)?;
        let files = Files::of(split)?;
        let source = files.open_images()?;
        let rows = captions::read(files.path, Some(source.clone()))?;
        if role != Role::Evaluate {
            rows.require_labels()?;
        }
        let images: Vec<Image> = (0..rows.len())
            .into_par_iter()
            .map(|index| open_image(&rows, index, &source, &encoder))
            .collect::<Result<_, SourceError>>()?;
        let mut data = Self {
            captions: pairs(&images),
            images,
            source,
            encoder,
            role,
            by_image: role != Role::Train || task.scst.enabled,
            constraints: None,
            references: None,
            swapped: None,
            neighbours: None,
            path: rows.path().to_path_buf(),
        };
        data.warn_of_long_captions();
        if role == Role::Evaluate && task.constraints.enabled {
            data.constraints = Some(files.constraints(task.constraints.official)?);
        }
        if role != Role::Train && data.images.iter().all(|image| !image.captions.is_empty()) {
            data.references = Some(Arc::new(References::new(&data.images)));
        }
        if role == Role::Evaluate && task.compare {
            data.swapped = files.swapped()?;
            data.neighbours = files.neighbours(task, data.encoder.sequences())?;
        }
        Ok(data)
    }

    fn warn_of_long_captions(&self) {
        let most = self.encoder.max_words();
        let captions = || self.images.iter().flat_map(|image| &image.captions);
        let long = captions()
            .filter(|caption| caption.ids.len() > most)
            .count();
        if long > 0 && self.role == Role::Train {
            tracing::warn!(
                "{}: {long} of {} captions have more than {most} tokens (task.max_caption_length \
                 without [CLS] and [SEP]); of these the first {most} are learned",
                self.path.display(),
                captions().count()
            );
        }
    }

    /// The file of captions.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The images, in the order of the file.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Whether an example is an image, not a caption.
    pub fn by_image(&self) -> bool {
        self.by_image
    }

    /// What makes its sequences.
    pub fn encoder(&self) -> &CaptionEncoder {
        &self.encoder
    }

    /// What captions of its images are constrained by, if they are.
    pub fn constraints(&self) -> Option<&Constraints> {
        self.constraints.as_ref()
    }

    /// References of the captions, if every image has some.
    pub(crate) fn references(&self) -> Option<&Arc<References>> {
        self.references.as_ref()
    }

    /// Other images whose captions are compared with the generated ones.
    pub(crate) fn neighbours(&self) -> Option<&CaptionData> {
        self.neighbours.as_deref()
    }

    /// The split with each other's regions and tags, if that is to be scored.
    pub(crate) fn swapped(&self) -> Result<Option<Self>, SourceError> {
        let Some(source) = &self.swapped else {
            return Ok(None);
        };
        let mut images = self.images.clone();
        for image in &mut images {
            let tags = source.tag_text(image.row)?;
            image.tags = self.encoder.sequences().tokenizer().encode(&tags);
        }
        Ok(Some(Self {
            path: self.path.clone(),
            captions: self.captions.clone(),
            images,
            source: source.clone(),
            encoder: self.encoder.clone(),
            role: self.role,
            by_image: self.by_image,
            constraints: self.constraints.clone(),
            references: self.references.clone(),
            swapped: None,
            neighbours: None,
        }))
    }

    /// The regions of an image, still where they are stored.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn regions(&self, image: usize) -> Result<RegionHandle, SourceError> {
        RegionHandle::new(self.source.clone(), self.images[image].row)
    }

    /// Caption `index`, some tokens masked.
    ///
    /// # Errors
    ///
    /// If its image cannot be read.
    pub fn caption(&self, index: usize, seed: ExampleSeed) -> Result<EncodedCaption, SourceError> {
        let (image, number) = self.captions[index];
        self.masked(image as usize, number as usize, &mut seed.rng(index))
    }

    /// The first caption of an image, always with the same tokens masked.
    ///
    /// # Errors
    ///
    /// If the image cannot be read, or has no caption.
    pub fn first_caption(&self, image: usize) -> Result<EncodedCaption, SourceError> {
        if self.images[image].captions.is_empty() {
            return Err(format!("{} has no caption", self.image_name(image)).into());
        }
        let mut rng = ExampleSeed { seed: 0, epoch: 0 }.rng(image);
        self.masked(image, 0, &mut rng)
    }

    /// Name of caption `index` in messages.
    #[cfg(feature = "train")]
    pub(crate) fn caption_name(&self, index: usize) -> String {
        let (image, number) = self.captions[index];
        self.origin(image as usize, number as usize)
    }

    /// Name of image `image` in messages.
    pub(crate) fn image_name(&self, image: usize) -> String {
        format!("{}: image {}", self.path.display(), self.images[image].key)
    }

    fn origin(&self, image: usize, number: usize) -> String {
        let (path, image) = (self.path.display(), &self.images[image].key);
        format!("{path}: caption {} of image {image}", number + 1)
    }

    fn masked(
        &self,
        image: usize,
        number: usize,
        rng: &mut impl rand::Rng,
    ) -> Result<EncodedCaption, SourceError> {
        let regions = self.regions(image)?;
        let origin = self.origin(image, number);
        let image = &self.images[image];
        let ids = &image.captions[number].ids;
        Ok(self
            .encoder
            .encode(origin, ids, &image.tags, &regions, rng)?)
    }

    /// Tags and regions of an image, to be described.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub fn context(&self, image: usize) -> Result<EncodedSequence, SourceError> {
        let regions = self.regions(image)?;
        let origin = self.image_name(image);
        let image = &self.images[image];
        Ok(self.encoder.encode_context(origin, &image.tags, &regions))
    }
}

impl TaskData for CaptionData {
    /// Captions to learn, or else images.
    fn len(&self) -> usize {
        match self.by_image {
            true => self.images.len(),
            false => self.captions.len(),
        }
    }

    fn region_dim(&self) -> usize {
        self.source.region_dim()
    }

    fn extractor(&self) -> Option<String> {
        self.source.extractor().map(String::from)
    }
}

fn pairs(images: &[Image]) -> Vec<(u32, u32)> {
    let of_image = |(number, image): (usize, &Image)| {
        let captions = 0..image.captions.len() as u32;
        captions.map(move |caption| (number as u32, caption))
    };
    images.iter().enumerate().flat_map(of_image).collect()
}

fn open_image(
    rows: &RowSet<CaptionedImage>,
    index: usize,
    source: &SharedImages,
    encoder: &CaptionEncoder,
) -> Result<Image, SourceError> {
    let image = &rows[index];
    let row = rows.images(index)[0] as usize;
    let regions_key = match &image.other_key {
        Some(other) if source.find(&image.key) != Some(row) => other,
        _ => &image.key,
    };
    let tokenizer = encoder.sequences().tokenizer();
    let tags = match &image.tags {
        Some(tags) => tokenizer.encode(tags),
        None => tokenizer.encode(&source.tag_text(row)?),
    };
    let captions = image.captions.iter().enumerate().map(|(number, text)| {
        let ids = tokenizer.encode(text);
        match ids.is_empty() {
            false => Ok(Caption {
                text: text.clone(),
                ids,
            }),
            true => {
                let found = format!("caption {} has no token: {text:?}", number + 1);
                Err(rows.wrong(index, found, "drop the caption").into())
            }
        }
    });
    Ok(Image {
        captions: captions.collect::<Result<_, SourceError>>()?,
        key: image.key.clone(),
        row,
        tags,
        regions_key: regions_key.clone(),
    })
}

/// The files of a split, those that its YAML file names included.
struct Files<'a> {
    split: &'a Split,
    path: &'a Path,
    tables: Option<Tables>,
}

impl<'a> Files<'a> {
    fn of(split: &'a Split) -> Result<Self, SourceError> {
        let what = "a file of captions, or the YAML file of the split";
        let path = required(&split.captions, "captions", what)?;
        Ok(Self {
            tables: match Tables::is_one(path) {
                true => Some(Tables::read(path)?),
                false => None,
            },
            path,
            split,
        })
    }

    fn open_images(&self) -> Result<SharedImages, SourceError> {
        Ok(match (&self.split.regions, &self.tables) {
            (None, Some(_)) => open_images(self.path)?,
            (regions, _) => open_images(required(regions, "regions", "the region store")?)?,
        })
    }

    fn constraints(&self, official: bool) -> Result<Constraints, SourceError> {
        let split = self.split;
        let tables = self.tables.as_ref();
        let named = |key, own: &Option<PathBuf>, other: fn(&Tables) -> &Option<PathBuf>| {
            let path = own.clone().or_else(|| other(tables?).clone());
            let what = "a file of constraints (task.constraints.enabled = true)";
            required(&path, key, what).map(Path::to_path_buf)
        };
        let boxes = named("constraint_boxes", &split.constraint_boxes, |d| &d.cbs_box)?;
        let hierarchy = named("constraint_hierarchy", &split.constraint_hierarchy, |d| {
            &d.cbs_hierarchy
        })?;
        let tokens = named("constraint_tokens", &split.constraint_tokens, |d| {
            &d.cbs_constraint
        })?;
        let forms = named("constraint_forms", &split.constraint_forms, |d| {
            &d.cbs_tokenforms
        })?;
        let files = ConstraintFiles {
            boxes: &boxes,
            hierarchy: &hierarchy,
            tokens: &tokens,
            forms: &forms,
        };
        Constraints::read(&files, official)
    }

    /// The images with each other's regions; none for tables that only a YAML file names.
    fn swapped(&self) -> Result<Option<SharedImages>, SourceError> {
        let Some(path) = &self.split.regions else {
            return Ok(None);
        };
        let mut images = ImagesAt::of(path)?;
        if images.view != View::default() {
            return Ok(None);
        }
        images.view.swap = Some(1);
        Ok(Some(images.open()?))
    }

    fn neighbours(
        &self,
        task: &Captioning,
        sequences: &SequenceEncoder,
    ) -> Result<Option<Box<CaptionData>>, SourceError> {
        if self.split.neighbours.is_none() {
            return Ok(None);
        }
        let split = Split {
            captions: self.split.neighbours.clone(),
            regions: self.split.neighbour_regions.clone(),
            ..Split::default()
        };
        let data = CaptionData::open(&split, Role::Train, task, sequences.clone())?;
        Ok(Some(Box::new(data)))
    }
}
