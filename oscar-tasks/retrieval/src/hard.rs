//! Hard negatives, as ROSITA trains on them: before each epoch random captions are scored for every image
//! and random images for every caption, and those that score highest are kept as what does not match.
//!
//! The lists of an epoch are written into the run before its first step, so that a resumed run goes on with
//! the same ones.
#![cfg_attr(
    not(feature = "train"),
    allow(dead_code, reason = "training alone looks for them")
)]

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use oscar_core::input::{EncodedSequence, ExampleSeed, SourceError};
use oscar_core::model::OscarClassifier;
use oscar_core::ops::OscarBackend;
use oscar_task::batches::{BATCHES_SORTED, run_sorted};
use oscar_task::cross_encoder::match_scores;
use rand::Rng;
use rayon::prelude::*;

use crate::candidates::distinct;
use crate::data::RetrievalData;

/// Makes the random numbers of the search others than those of the examples.
const SEARCH: u64 = 0x6861_7264;

/// Epochs whose lists are kept: the one that is trained on, and the one that batches are prepared for.
const KEPT_EPOCHS: usize = 2;

/// First bytes of a file of lists.
const MAGIC: &[u8; 8] = b"oscarhn1";

/// What does not match, of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lists {
    /// Entries of each list.
    kept: usize,
    /// Captions of each image, by number.
    captions: Vec<u32>,
    /// Images of each example, by number.
    images: Vec<u32>,
}

impl Lists {
    /// One of the captions of image `image`.
    pub fn caption(&self, image: usize, rng: &mut impl Rng) -> usize {
        self.captions[image * self.kept + rng.random_range(0..self.kept)] as usize
    }

    /// One of the images of example `example`.
    pub fn image(&self, example: usize, rng: &mut impl Rng) -> usize {
        self.images[example * self.kept + rng.random_range(0..self.kept)] as usize
    }

    fn to_bytes(&self, epoch: u64) -> Vec<u8> {
        let values = self.captions.iter().chain(&self.images);
        let mut bytes = Vec::with_capacity(24 + 4 * (self.captions.len() + self.images.len()));
        bytes.extend(MAGIC);
        bytes.extend(epoch.to_le_bytes());
        bytes.extend((self.kept as u64).to_le_bytes());
        bytes.extend(values.flat_map(|value| value.to_le_bytes()));
        bytes
    }

    /// The lists in `bytes`, if they are those of `epoch`, of so many `entries` of captions and of images, each
    /// below `limits`.
    fn of_bytes(bytes: &[u8], epoch: u64, entries: [usize; 2], limits: [usize; 2]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (found, rest) = rest.split_first_chunk::<8>()?;
        let (kept, rest) = rest.split_first_chunk::<8>()?;
        let (values, []) = rest.as_chunks::<4>() else {
            return None;
        };
        let values: Vec<u32> = values
            .iter()
            .map(|value| u32::from_le_bytes(*value))
            .collect();
        let fits = u64::from_le_bytes(*found) == epoch && values.len() == entries[0] + entries[1];
        let (captions, images) = values.split_at_checked(entries[0]).filter(|_| fits)?;
        let below = |values: &[u32], limit: usize| values.iter().all(|v| (*v as usize) < limit);
        (below(captions, limits[0]) && below(images, limits[1])).then(|| Self {
            kept: u64::from_le_bytes(*kept) as usize,
            captions: captions.to_vec(),
            images: images.to_vec(),
        })
    }
}

/// The lists of the epochs that batches are made for. Whoever prepares a batch waits until the trainer has
/// found those of its epoch.
#[derive(Debug, Default)]
pub(crate) struct HardNegatives {
    known: Mutex<Known>,
    changed: Condvar,
    /// Held while somebody searches: several workers have the same weights.
    searching: Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    lists: Vec<(u64, Arc<Lists>)>,
    /// Whether the run has ended.
    closed: bool,
}

impl HardNegatives {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lists of `epoch`; waits for them.
    ///
    /// # Errors
    ///
    /// The run has ended without them.
    pub fn of(&self, epoch: u64) -> Result<Arc<Lists>, SourceError> {
        let mut known = self.known();
        loop {
            if let Some((_, lists)) = known.lists.iter().find(|(known, _)| *known == epoch) {
                return Ok(lists.clone());
            }
            if known.closed {
                return Err(format!("the run ended before hard negatives of epoch {epoch}").into());
            }
            let changed = self.changed.wait(known);
            known = changed.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the lists of `epoch` from `search`, unless they are known.
    ///
    /// # Errors
    ///
    /// That of `search`.
    pub fn provide(
        &self,
        epoch: u64,
        search: impl FnOnce() -> Result<Lists, SourceError>,
    ) -> Result<(), SourceError> {
        let _searching = self.searching.lock();
        if self.known().lists.iter().any(|(known, _)| *known == epoch) {
            return Ok(());
        }
        let lists = Arc::new(search()?);
        let mut known = self.known();
        known.lists.push((epoch, lists));
        let old = known.lists.len().saturating_sub(KEPT_EPOCHS);
        known.lists.drain(..old);
        self.changed.notify_all();
        Ok(())
    }

    /// Nobody will provide further lists.
    pub fn close(&self) {
        self.known().closed = true;
        self.changed.notify_all();
    }
}

/// How negatives are looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// Candidates of each image and caption.
    pub candidates: usize,
    /// How many of them are kept.
    pub kept: usize,
    /// Pairs that are scored at a time.
    pub batch_size: usize,
    /// The run's seed.
    pub seed: u64,
}

impl Search {
    /// The lists of `epoch` by the weights of `model`.
    ///
    /// # Errors
    ///
    /// If an image cannot be read.
    pub fn run<B: OscarBackend>(
        &self,
        data: &RetrievalData,
        model: &OscarClassifier<B>,
        epoch: u64,
    ) -> Result<Lists, SourceError> {
        let (images, captions) = (data.num_images(), data.used().len());
        tracing::info!(
            "epoch {epoch}: scoring {} pairs to find hard negatives",
            images * self.widths(data)[0] + captions * self.widths(data)[1]
        );
        let kept = self.kept(data);
        let seed = ExampleSeed {
            seed: self.seed ^ SEARCH,
            epoch,
        };
        let [texts, pictures] = self.widths(data);
        let for_image = |image: usize| {
            let own = data.examples_of(image);
            let others = captions - own.len();
            let drawn = distinct(&mut seed.rng(image), others, texts);
            let skip_own = |at: usize| if at < own.start { at } else { at + own.len() };
            let caption = |at: usize| (image, data.used()[skip_own(at)] as usize);
            drawn.into_iter().map(caption).collect()
        };
        let for_caption = |example: usize| {
            let caption = data.used()[example] as usize;
            let own = data.image_of(caption);
            let drawn = distinct(&mut seed.rng(images + example), images - 1, pictures);
            let skip_own = |at: usize| at + usize::from(at >= own);
            drawn
                .into_iter()
                .map(|at| (skip_own(at), caption))
                .collect()
        };
        let of_images = self.hardest(data, model, images, kept, for_image)?;
        let of_captions = self.hardest(data, model, captions, kept, for_caption)?;
        Ok(Lists {
            kept,
            captions: of_images
                .into_iter()
                .map(|(_, caption)| caption as u32)
                .collect(),
            images: of_captions
                .into_iter()
                .map(|(image, _)| image as u32)
                .collect(),
        })
    }

    /// Candidate captions of an image and candidate images of a caption, of which there may be few.
    fn widths(&self, data: &RetrievalData) -> [usize; 2] {
        let most = (0..data.num_images())
            .map(|image| data.examples_of(image).len())
            .max();
        let others = [data.used().len() - most.unwrap_or(0), data.num_images() - 1];
        others.map(|others| self.candidates.min(others))
    }

    /// How many candidates are kept of each.
    fn kept(&self, data: &RetrievalData) -> usize {
        self.widths(data).into_iter().fold(self.kept, usize::min)
    }

    /// Of each of `rows` the pairs of `pairs` that score highest.
    fn hardest<B: OscarBackend>(
        &self,
        data: &RetrievalData,
        model: &OscarClassifier<B>,
        rows: usize,
        kept: usize,
        pairs: impl Fn(usize) -> Vec<(usize, usize)> + Sync,
    ) -> Result<Vec<(usize, usize)>, SourceError> {
        let device = Module::<B>::devices(model).remove(0);
        let per_block = (self.batch_size * BATCHES_SORTED / self.candidates.max(1)).max(1);
        let mut found = Vec::with_capacity(rows * kept);
        for start in (0..rows).step_by(per_block) {
            let block: Vec<Vec<(usize, usize)>> =
                (start..(start + per_block).min(rows)).map(&pairs).collect();
            let encoded = block
                .par_iter()
                .flatten()
                .map(|(image, caption)| data.pair(*image, *caption, data.regions(*image)?))
                .collect::<Result<Vec<EncodedSequence>, SourceError>>()?;
            let scores = run_sorted(encoded, self.batch_size, EncodedSequence::len, |rows| {
                let logits = model.forward(data.encoder.batch(rows, &device)?)?;
                Ok::<_, SourceError>(match_scores(logits))
            })?;
            let mut scores = scores.into_iter();
            for row in block {
                let mut scored: Vec<(f32, (usize, usize))> =
                    scores.by_ref().take(row.len()).zip(row).collect();
                // Stable: of equal ones the first.
                scored.sort_by(|a, b| b.0.total_cmp(&a.0));
                found.extend(scored.into_iter().take(kept).map(|(_, pair)| pair));
            }
        }
        Ok(found)
    }

    /// The lists of `epoch` in the file at `path`; none if it has others.
    pub fn read(&self, data: &RetrievalData, path: &Path, epoch: u64) -> Option<Lists> {
        let kept = self.kept(data);
        let entries = [data.num_images() * kept, data.used().len() * kept];
        let bytes = std::fs::read(path).ok()?;
        let limits = [data.split.captions.len(), data.num_images()];
        let lists = Lists::of_bytes(&bytes, epoch, entries, limits)?;
        (lists.kept == kept).then_some(lists)
    }

    /// Writes the lists of `epoch` to `path`, whole or not at all.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, lists: &Lists, path: &Path, epoch: u64) -> Result<(), SourceError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(oscar_files::write_file(path, &lists.to_bytes(epoch))?)
    }
}
