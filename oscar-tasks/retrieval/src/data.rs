//! An opened split: every text as ids, every image found.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use oscar_core::input::{EncodedSequence, ExampleSeed, RegionHandle, SequenceEncoder, SourceError};
use oscar_datasets::captioned::CaptionedImages;
use oscar_task::{
    CaptionedSplit, ClassData, EncodedRow, Evaluation, Logits, Role, Target, TaskData, required,
};
use rand::Rng;

use crate::candidates::Candidates;
use crate::extended::Extended;
use crate::hard::HardNegatives;
use crate::{Negatives, Retrieval, Split};

/// Weights in the loss of a pair, of its image with a hard caption, and of its caption with a hard image: the
/// pair is compared with each (ROSITA).
const HARD_WEIGHTS: [f32; 3] = [2.0, 1.0, 1.0];

/// A split, opened: texts are ids, images were found.
pub struct RetrievalData {
    pub(crate) split: CaptionedImages,
    /// The used captions of all images: the examples of training.
    used: Vec<u32>,
    candidates: Candidates,
    extended: Option<Extended>,
    training: bool,
    /// Where the negatives of training come from, unless they are drawn at random.
    hard: Option<Arc<HardNegatives>>,
    pub(crate) encoder: SequenceEncoder,
}

impl RetrievalData {
    /// Opens `split` and checks every row.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; an image without regions or captions; a caption without words; a
    /// key or a candidate that the captions do not know; a single image.
    pub fn open(
        split: &Split,
        role: Role,
        task: &Retrieval,
        encoder: SequenceEncoder,
    ) -> Result<Self, SourceError> {
        let files = CaptionedSplit {
            captions: &split.captions,
            regions: &split.regions,
            image_keys: &split.image_keys,
            captions_per_image: task.captions_per_image,
        };
        let opened = files.open(role, &encoder)?;
        let mut data = Self {
            used: opened.used(),
            split: opened,
            candidates: Candidates::All(Vec::new()),
            extended: None,
            training: role == Role::Train,
            hard: (role == Role::Train && task.negatives == Negatives::Hard).then(Arc::default),
            encoder,
        };
        data.candidates = data.candidates(split.candidates.as_deref(), role, task)?;
        if let Some(positives) = &split.positives
            && role == Role::Evaluate
        {
            let what = "COCO's annotations, which number the captions";
            let numbers = required(&split.annotations, "annotations", what)?;
            data.extended = Some(Extended::open(&data, positives, numbers)?);
        }
        Ok(data)
    }

    /// Figures of `scores`, `[images, captions]` row by row, with extended ground truth; none if the
    /// split names none.
    ///
    /// # Errors
    /// If an image or caption is annotated that is not in the split.
    pub fn extended_scores(&self, scores: &[f32]) -> Result<Vec<(String, f64)>, SourceError> {
        match &self.extended {
            Some(extended) => extended.scores(scores),
            None => Ok(Vec::new()),
        }
    }

    fn candidates(
        &self,
        file: Option<&Path>,
        role: Role,
        task: &Retrieval,
    ) -> Result<Candidates, SourceError> {
        if let Some(file) = file
            && role != Role::Train
        {
            let keys: Vec<&str> = self
                .split
                .images
                .iter()
                .map(|image| image.key.as_str())
                .collect();
            let captions: Vec<_> = self
                .split
                .images
                .iter()
                .map(|i| i.captions.clone())
                .collect();
            return Candidates::read(file, &keys, &captions);
        }
        Ok(match role {
            Role::Validate => {
                let used: Vec<_> = self
                    .split
                    .images
                    .iter()
                    .map(|image| image.used.clone())
                    .collect();
                Candidates::draw(&used, task.validation_candidates)
            }
            Role::Train | Role::Evaluate => Candidates::All(self.used.clone()),
        })
    }

    /// The file of captions.
    pub fn path(&self) -> &Path {
        &self.split.path
    }

    /// Number of images.
    pub fn num_images(&self) -> usize {
        self.split.images.len()
    }

    /// The captions that are examples of training, by number.
    pub(crate) fn used(&self) -> &[u32] {
        &self.used
    }

    /// The examples of training that are captions of image `image`.
    pub(crate) fn examples_of(&self, image: usize) -> Range<usize> {
        let used = &self.split.images[image].used;
        let start = self.used.partition_point(|caption| *caption < used.start);
        start..start + used.len()
    }

    /// The image of caption `caption`.
    pub(crate) fn image_of(&self, caption: usize) -> usize {
        self.split.captions[caption].image as usize
    }

    /// The hard negatives of training, if they are used.
    pub(crate) fn hard(&self) -> Option<&Arc<HardNegatives>> {
        self.hard.as_ref()
    }

    /// Captions that compete for each image.
    pub fn width(&self) -> usize {
        self.candidates.width()
    }

    /// The captions, by number, that compete for image `image`.
    pub(crate) fn candidates_of(&self, image: usize) -> &[u32] {
        self.candidates.of(image)
    }

    /// The captions of the columns, if they are the same for all images.
    pub(crate) fn columns(&self) -> Option<&[u32]> {
        match &self.candidates {
            Candidates::All(captions) => Some(captions),
            Candidates::Lists { .. } => None,
        }
    }

    /// The regions of an image, still in their store.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub(crate) fn regions(&self, image: usize) -> Result<RegionHandle, SourceError> {
        self.split.regions(image)
    }

    /// Caption `caption` with the tags of image `image` and the regions `regions`.
    ///
    /// # Errors
    ///
    /// None that opening the split would not have found.
    pub(crate) fn pair(
        &self,
        image: usize,
        caption: usize,
        regions: RegionHandle,
    ) -> Result<EncodedSequence, SourceError> {
        let ids = &self.split.captions[caption].ids;
        let origin = match self.training {
            true => format!("{}: caption {caption}", self.split.path.display()),
            // Of millions of pairs none needs a name of its own: what can fail is the image.
            false => String::new(),
        };
        let tags = &self.split.images[image].tags;
        Ok(self.encoder.encode_ids(origin, ids, tags, &[regions])?)
    }

    fn row(&self, image: usize, caption: usize) -> Result<EncodedRow, SourceError> {
        let matched = self.split.captions[caption].image as usize == image;
        Ok(EncodedRow {
            sequences: vec![self.pair(image, caption, self.regions(image)?)?],
            target: Some(Target::Class(u32::from(matched))),
        })
    }

    /// A pair that does not match: half the time the caption of another image, else another image
    /// with its own tags.
    fn negative(&self, image: usize, caption: usize, rng: &mut impl Rng) -> (usize, usize) {
        let mut other = rng.random_range(0..self.split.images.len() - 1);
        other += usize::from(other >= image);
        match rng.random_bool(0.5) {
            true => {
                let used = &self.split.images[other].used;
                (image, rng.random_range(used.start..used.end) as usize)
            }
            false => (other, caption),
        }
    }
}

impl TaskData for RetrievalData {
    fn len(&self) -> usize {
        match self.training {
            true => self.used.len(),
            false => self.split.images.len(),
        }
    }

    fn region_dim(&self) -> usize {
        self.split.source.region_dim()
    }

    fn extractor(&self) -> Option<String> {
        self.split.source.extractor().map(String::from)
    }
}

impl ClassData for RetrievalData {
    fn rows_per_example(&self) -> usize {
        match (self.training, &self.hard) {
            (true, None) => 2,
            (true, Some(_)) => HARD_WEIGHTS.len(),
            (false, _) => self.width(),
        }
    }

    fn row_weights(&self) -> Option<&[f32]> {
        self.hard.as_ref().map(|_| &HARD_WEIGHTS[..])
    }

    fn example(&self, index: usize, seed: ExampleSeed) -> Result<Vec<EncodedRow>, SourceError> {
        if !self.training {
            let candidates = self.candidates_of(index).iter();
            return candidates
                .map(|caption| self.row(index, *caption as usize))
                .collect();
        }
        let caption = self.used[index] as usize;
        let image = self.split.captions[caption].image as usize;
        if let Some(hard) = &self.hard {
            let (lists, rng) = (hard.of(seed.epoch)?, &mut seed.rng(index));
            let (text, other) = (lists.caption(image, rng), lists.image(index, rng));
            return Ok(vec![
                self.row(image, caption)?,
                self.row(image, text)?,
                self.row(other, caption)?,
            ]);
        }
        let (other_image, other_caption) = self.negative(image, caption, &mut seed.rng(index));
        Ok(vec![
            self.row(image, caption)?,
            self.row(other_image, other_caption)?,
        ])
    }

    fn evaluate(&self, _: &Logits) -> Result<Evaluation, SourceError> {
        Err("the pairs of a retrieval compete: they are scored by ranks, not one by one".into())
    }
}
