//! The second stage of a search: a model that reads text and image together orders what was found.

use oscar_core::input::RegionHandle;
use oscar_core::ops::OscarBackend;
use oscar_datasets::SharedImages;
use oscar_task::{CrossEncoder, TaskError};

use crate::Found;

/// How much is re-ranked, and in which batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RerankOptions {
    /// Findings of each text that are re-ranked, the best ones of the first stage.
    pub candidates: usize,
    /// Pairs per batch.
    pub batch_size: usize,
}

/// What re-ranks: an opened [`CrossEncoder`], on whichever backend.
pub trait Reranker: Send {
    /// Sorts the first candidates of `found` anew, by how well the model says that `text` and image match;
    /// of equal ones the one found first comes first, and what is not re-ranked stays behind them. It
    /// computes a forward pass for each candidate. `store` is the one that the index is
    /// [of](crate::Searcher::check_store).
    ///
    /// # Errors
    ///
    /// If the text has no token, or an image cannot be read or has regions of another size than the model
    /// reads.
    fn rerank(
        &self,
        store: &SharedImages,
        text: &str,
        found: &mut [Found],
        options: RerankOptions,
    ) -> Result<(), TaskError>;
}

impl<B: OscarBackend> Reranker for CrossEncoder<B> {
    fn rerank(
        &self,
        store: &SharedImages,
        text: &str,
        found: &mut [Found],
        options: RerankOptions,
    ) -> Result<(), TaskError> {
        self.check_regions(store.region_dim())?;
        let candidates = options.candidates.min(found.len());
        let found = &mut found[..candidates];
        let pairs = found.iter().map(|found| {
            let tags = store.tag_text(found.row);
            let tags = tags.map_err(|error| TaskError::Data(error.into()))?;
            let regions = RegionHandle::new(store.clone(), found.row).map_err(TaskError::Data)?;
            self.pair(text, &tags, &[regions])
        });
        let pairs = pairs.collect::<Result<Vec<_>, TaskError>>()?;
        let scores = self.score(pairs, options.batch_size)?;
        for (found, score) in found.iter_mut().zip(scores) {
            found.match_score = Some(score);
        }
        let score = |found: &Found| found.match_score.unwrap_or(f32::NEG_INFINITY);
        found.sort_by(|a, b| score(b).total_cmp(&score(a)));
        Ok(())
    }
}
