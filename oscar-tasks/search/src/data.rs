//! An opened split: every text as ids, every image found.

use oscar_core::input::{EncodedSequence, RegionHandle, SequenceEncoder, SourceError};
use oscar_datasets::captioned::CaptionedImages;
use oscar_task::{CaptionedSplit, Role, TaskData};

use crate::{Search, Split};

/// A split, opened: texts are ids, images were found.
pub struct SearchData {
    split: CaptionedImages,
    /// The used captions of all images, by number.
    used: Vec<u32>,
    training: bool,
    encoder: SequenceEncoder,
}

impl SearchData {
    /// Opens `split` and checks every row.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; an image without regions or captions; a caption without words; a key
    /// that the captions do not know; a single image to train on.
    pub fn open(
        split: &Split,
        role: Role,
        task: &Search,
        encoder: SequenceEncoder,
    ) -> Result<Self, SourceError> {
        let files = CaptionedSplit {
            captions: &split.captions,
            regions: &split.regions,
            image_keys: &split.image_keys,
            captions_per_image: task.captions_per_image,
        };
        let opened = files.open(role, &encoder)?;
        Ok(Self {
            used: opened.used(),
            split: opened,
            training: role == Role::Train,
            encoder,
        })
    }

    /// Images and captions.
    pub fn split(&self) -> &CaptionedImages {
        &self.split
    }

    /// The used captions, by number.
    pub fn used(&self) -> &[u32] {
        &self.used
    }

    /// The encoder.
    pub fn encoder(&self) -> &SequenceEncoder {
        &self.encoder
    }

    /// The caption of example `index`, by number: in training each used one is an example, else the
    /// first one of each image, so that none is the other's negative.
    pub fn caption_of(&self, index: usize) -> usize {
        let number = match self.training {
            true => self.used[index],
            false => self.split.images[index].captions.start,
        };
        number as usize
    }

    /// Caption `number` alone.
    ///
    /// # Errors
    ///
    /// None that opening the split would not have found.
    pub fn text(&self, number: usize) -> Result<EncodedSequence, SourceError> {
        let caption = &self.split.captions[number];
        let origin = format!("{}: caption {}", self.split.path.display(), number + 1);
        Ok(self.encoder.encode_ids(origin, &caption.ids, &[], &[])?)
    }

    /// Image `number` alone, with the regions `regions`.
    pub fn image(&self, number: usize, regions: RegionHandle) -> EncodedSequence {
        let image = &self.split.images[number];
        let origin = format!("{}: image {}", self.split.path.display(), image.key);
        self.encoder.encode_image(origin, &image.tags, &[regions])
    }

    /// As [`image`](Self::image), with its own regions.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn stored_image(&self, number: usize) -> Result<EncodedSequence, SourceError> {
        Ok(self.image(number, self.split.regions(number)?))
    }
}

impl TaskData for SearchData {
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
