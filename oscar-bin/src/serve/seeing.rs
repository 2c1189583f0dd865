//! From the images that requests name to what a model sees: decoding, detection, and the regions of
//! the last pictures, which are kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use oscar_datasets::DatasetError;
use oscar_datasets::import::extract;
use oscar_vision::{Picture, PictureLimits, RegionExtractor, VisionError};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::metrics::Metrics;
use super::refusal::Refusal;
use super::request::Source;
use super::shelf::{Found, Image, Shelf};
use super::worker::{failed, of_task};

/// Pictures that are decoded at a time: a photograph takes up to 100 MB.
const AT_A_TIME: usize = 8;

/// Pictures whose regions are kept, so that the next question about one of them is answered sooner.
const KEPT: usize = 64;

/// What finds the regions of images.
pub struct Seeing {
    /// The detectors.
    pub detectors: Vec<Arc<dyn RegionExtractor>>,
    /// The images that the server has.
    pub shelf: Arc<Shelf>,
    /// Most pixels of a picture.
    pub max_pixels: u64,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The last pictures.
    pub kept: Kept,
}

/// The regions of pictures that were asked about, the oldest first.
#[derive(Default)]
pub struct Kept(VecDeque<(Digested, Image)>);

/// A picture file and the detector that read it.
type Digested = ([u8; 32], usize);

impl Kept {
    fn get(&self, key: &Digested) -> Option<Image> {
        let found = self.0.iter().find(|(kept, _)| kept == key);
        found.map(|(_, image)| image.clone())
    }

    fn keep(&mut self, key: Digested, image: &Image) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((key, image.clone()));
    }
}

impl Seeing {
    /// What is seen of each image, in order.
    pub fn see(
        &mut self,
        sources: &[&Source],
        detector: Option<usize>,
    ) -> Vec<Result<Image, Refusal>> {
        let digests: Vec<[u8; 32]> = sources.par_iter().map(|source| digest(source)).collect();
        let mut seen: Vec<Option<Result<Image, Refusal>>> = sources.iter().map(|_| None).collect();
        // The first of several equal pictures stands for all of them.
        let mut first: HashMap<[u8; 32], usize> = HashMap::new();
        let mut unseen = Vec::new();
        for (at, digest) in digests.iter().enumerate() {
            let known = detector.and_then(|detector| self.kept.get(&(*digest, detector)));
            if let Some(image) = known {
                self.metrics.kept.inc();
                seen[at] = Some(Ok(image));
            } else if !first.contains_key(digest) {
                first.insert(*digest, at);
                unseen.push(at);
            }
        }
        for part in unseen.chunks(AT_A_TIME) {
            let found: Vec<_> = part.par_iter().map(|at| self.find(sources[*at])).collect();
            for (at, image) in part.iter().zip(self.extract(detector, found)) {
                if let (Ok(image), Some(detector)) = (&image, detector) {
                    self.kept.keep((digests[*at], detector), image);
                }
                seen[*at] = Some(image);
            }
        }
        let equal = |at: usize| {
            let first = first.get(&digests[at]);
            first.and_then(|first| seen[*first].clone())
        };
        let images = (0..seen.len()).map(|at| seen[at].clone().or_else(|| equal(at)));
        let missing = || Err(Refusal::internal("the detector gave no answer"));
        images.map(|image| image.unwrap_or_else(missing)).collect()
    }

    /// Decodes a picture, or looks up a key.
    fn find(&self, source: &Source) -> Result<Found, Refusal> {
        let picture = match source {
            Source::Key(key) => match self.shelf.find(key)? {
                Found::Picture(picture) => picture,
                stored @ Found::Stored(_) => return Ok(stored),
            },
            Source::File(bytes) => {
                let limits = PictureLimits {
                    // What decoding takes beside the pixels themselves: up to 11 bytes for one.
                    max_memory: 11 * self.max_pixels,
                    ..PictureLimits::default()
                };
                Picture::decode("the picture", bytes, limits).map_err(|error| of_vision(&error))?
            }
        };
        let (width, height) = picture.image.dimensions();
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(Refusal::picture(format!(
                "the picture has {width} x {height} pixels, and at most {} are read; send a \
                 smaller one",
                self.max_pixels
            )));
        }
        Ok(Found::Picture(picture))
    }

    /// Finds the regions of those that are pictures.
    fn extract(
        &self,
        detector: Option<usize>,
        found: Vec<Result<Found, Refusal>>,
    ) -> Vec<Result<Image, Refusal>> {
        let (mut pictures, mut images) = (Vec::new(), Vec::new());
        for found in found {
            images.push(match found {
                Ok(Found::Stored(image)) => Some(Ok(image)),
                Err(refusal) => Some(Err(refusal)),
                Ok(Found::Picture(picture)) => {
                    pictures.push(picture);
                    None
                }
            });
        }
        let mut extracted = match detector.map(|at| &*self.detectors[at]) {
            Some(detector) => self.detect(detector, &pictures),
            None => pictures.iter().map(|_| Err(no_detector())).collect(),
        }
        .into_iter();
        let missing = || Err(Refusal::internal("the detector gave no answer"));
        let images = images.into_iter();
        images
            .map(|image| image.or_else(|| extracted.next()).unwrap_or_else(missing))
            .collect()
    }

    fn detect(
        &self,
        detector: &dyn RegionExtractor,
        pictures: &[Picture],
    ) -> Vec<Result<Image, Refusal>> {
        self.metrics.detected.inc_by(pictures.len() as u64);
        let images = extract(detector, pictures).into_iter();
        images
            .map(|image| match image {
                Ok(image) => Image::extracted(&image).map_err(|error| of_task(&error)),
                Err(DatasetError::Vision(error)) => Err(of_vision(&error)),
                Err(error) => Err(failed(&error)),
            })
            .collect()
    }
}

/// What an image of a request is kept under.
fn digest(source: &Source) -> [u8; 32] {
    match source {
        Source::File(bytes) => Sha256::digest(bytes).into(),
        Source::Key(key) => Sha256::digest(format!("the image of the key {key}")).into(),
    }
}

fn no_detector() -> Refusal {
    Refusal::not_loaded(
        "no detector is loaded that finds regions in pictures; start the server with --detector, or \
         ask about a stored image",
    )
}

fn of_vision(error: &VisionError) -> Refusal {
    match error {
        VisionError::Picture { found, fix, .. } => Refusal::picture(format!("{found}; {fix}")),
        error => failed(error),
    }
}
