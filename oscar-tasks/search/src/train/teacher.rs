//! A cross-encoder whose scores are distilled.

use std::fmt::Debug;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use oscar_core::input::{EncodedSequence, RegionHandle, SequenceEncoder};
use oscar_core::ops::OscarBackend;
use oscar_task::{CrossEncoder, TaskError};

/// Pairs that it scores at a time.
const BATCH: usize = 128;

/// What a teacher reads of a batch, in its own tokens.
#[derive(Clone, Debug, Default)]
pub struct Lesson {
    /// The texts.
    pub texts: Vec<Vec<u32>>,
    /// The tags and regions of the image of each text.
    pub images: Vec<(Vec<u32>, RegionHandle)>,
}

/// A teacher, on whichever backend.
pub trait Teacher: Debug + Send + Sync {
    /// The tokens of a text.
    fn ids(&self, text: &str) -> Vec<u32>;

    /// How well each pair of a text and an image of the lesson match.
    ///
    /// # Errors
    ///
    /// If a text has no token, or regions cannot be read.
    fn scores(&self, lesson: &Lesson, pairs: &[(usize, usize)]) -> Result<Vec<f32>, TaskError>;
}

/// Weights of matching or retrieval. The threads of several workers take turns.
#[derive(Debug)]
pub struct OpenedTeacher<B: OscarBackend> {
    model: Mutex<CrossEncoder<B>>,
    encoder: SequenceEncoder,
}

impl<B: OscarBackend> OpenedTeacher<B> {
    /// Opens the weights in `path`.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or are another task's.
    pub fn open(path: &Path, device: &B::Device) -> Result<Self, TaskError> {
        let model = CrossEncoder::open(path, device)?;
        Ok(Self {
            encoder: model.encoder().clone(),
            model: Mutex::new(model),
        })
    }

    /// See [`CrossEncoder::check_regions`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn check_regions(&self, found: usize) -> Result<(), TaskError> {
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.check_regions(found)
    }
}

impl<B: OscarBackend> Teacher for OpenedTeacher<B> {
    fn ids(&self, text: &str) -> Vec<u32> {
        self.encoder.tokenizer().encode(text)
    }

    fn scores(&self, lesson: &Lesson, pairs: &[(usize, usize)]) -> Result<Vec<f32>, TaskError> {
        let pairs = pairs.iter().map(|(text, image)| {
            let (tags, regions) = &lesson.images[*image];
            let regions = std::slice::from_ref(regions);
            let origin = String::new();
            let text = &lesson.texts[*text];
            Ok(self.encoder.encode_ids(origin, text, tags, regions)?)
        });
        let pairs: Vec<EncodedSequence> = pairs.collect::<Result<_, TaskError>>()?;
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.score(pairs, BATCH)
    }
}
