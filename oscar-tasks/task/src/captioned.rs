//! Splits of images with captions, as retrieval and search have them.

use std::path::PathBuf;

use oscar_core::input::{SequenceEncoder, SourceError};
use oscar_datasets::captioned::{CaptionedFiles, CaptionedImages};

use crate::{Role, required};

/// What a split names, and what of it is used.
#[derive(Clone, Copy, Debug)]
pub struct CaptionedSplit<'a> {
    /// Captions.
    pub captions: &'a Option<PathBuf>,
    /// Region store.
    pub regions: &'a Option<PathBuf>,
    /// Images to take, one key a line; all if there is none.
    pub image_keys: &'a Option<PathBuf>,
    /// Captions used of an image, the first ones; 0 for all.
    pub captions_per_image: usize,
}

impl CaptionedSplit<'_> {
    /// Opens the split and checks every row.
    ///
    /// # Errors
    ///
    /// A file that is not set or cannot be read; an image without regions or captions; a caption without
    /// words; a key that the captions do not know; a single image, unless `role` is to evaluate.
    pub fn open(
        &self,
        role: Role,
        encoder: &SequenceEncoder,
    ) -> Result<CaptionedImages, SourceError> {
        let files = CaptionedFiles {
            captions: required(self.captions, "captions", "the file of captions")?,
            regions: required(self.regions, "regions", "the region store")?,
            image_keys: self.image_keys.as_deref(),
            captions_per_image: self.captions_per_image,
        };
        let opened = files.open(encoder)?;
        if role != Role::Evaluate {
            opened.require_two()?;
        }
        Ok(opened)
    }
}
