//! Queries to an index, in words and by picture.

use std::path::Path;

use oscar_core::ops::OscarBackend;
use oscar_datasets::SharedImages;
use oscar_task::TaskError;

use crate::embed::{Embedder, Vectors, open_embedder};
use crate::index::{IndexError, VectorIndex, store_identity};

/// A picture that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// Its row in the index, and in the store that the index is of.
    pub row: usize,
    /// How close its vector is to that of the query: a cosine, at most 1.
    pub similarity: f32,
    /// How well picture and text match when they are read together, where they were
    /// [re-ranked](crate::Reranker): log-odds, or the value of a regression.
    pub match_score: Option<f32>,
}

/// An index and the weights that made it, opened once and asked often.
///
/// ```no_run
/// # use std::path::Path;
/// # use oscar_core::ops::OscarBackend;
/// # use oscar_search::Searcher;
/// # fn find<B: OscarBackend>(device: B::Device) -> Result<(), oscar_search::IndexError> {
/// let searcher = Searcher::open::<B>(
///     Path::new("pictures.index"),
///     Path::new("runs/search-scenes/best"),
///     &device,
/// )?;
/// let found = searcher.search_texts(&["two dogs on a beach".into()], 20)?;
/// # Ok(()) }
/// ```
pub struct Searcher {
    index: VectorIndex,
    embedder: Box<dyn Embedder>,
}

impl Searcher {
    /// Opens an index and the weights that made it.
    ///
    /// # Errors
    ///
    /// If either cannot be opened, or the weights are others than those that made the index.
    pub fn open<B: OscarBackend>(
        index: &Path,
        checkpoint: &Path,
        device: &B::Device,
    ) -> Result<Self, IndexError> {
        let embedder = open_embedder::<B>(checkpoint, device)?;
        Self::new(VectorIndex::open(index)?, embedder)
    }

    /// As [`open`](Self::open), of what is opened already.
    ///
    /// # Errors
    ///
    /// If the weights are others than those that made the index, or their files cannot be read.
    pub fn new(index: VectorIndex, embedder: Box<dyn Embedder>) -> Result<Self, IndexError> {
        if embedder.identity()? != index.checkpoint() {
            return Err(IndexError::OtherCheckpoint {
                path: index.path().to_path_buf(),
                checkpoint: embedder.path().to_path_buf(),
            });
        }
        if embedder.width() != index.width() {
            return Err(IndexError::Width {
                found: embedder.width(),
                expected: index.width(),
            });
        }
        Ok(Self { index, embedder })
    }

    /// The index.
    pub fn index(&self) -> &VectorIndex {
        &self.index
    }

    /// The weights: what makes vectors of texts and pictures.
    pub fn embedder(&self) -> &dyn Embedder {
        &*self.embedder
    }

    /// Checks that the index is of the pictures of `store`.
    ///
    /// # Errors
    ///
    /// If it is of others, or the store cannot be read.
    pub fn check_store(&self, store: &SharedImages) -> Result<(), IndexError> {
        match store_identity(store).map_err(TaskError::Data)? == self.index.store() {
            true => Ok(()),
            false => Err(IndexError::OtherStore {
                path: self.index.path().to_path_buf(),
                store: store.path().to_path_buf(),
            }),
        }
    }

    /// The `top` pictures for each of `texts`, the best first.
    ///
    /// # Errors
    ///
    /// If a text has no token.
    pub fn search_texts(
        &self,
        texts: &[String],
        top: usize,
    ) -> Result<Vec<Vec<Found>>, IndexError> {
        self.search(&self.embedder.embed_texts(texts)?, top)
    }

    /// The `top` pictures that are closest to each of `queries`, vectors of texts or of pictures, the
    /// best first.
    ///
    /// # Errors
    ///
    /// If they have another width than the index, or values that are not finite.
    pub fn search(&self, queries: &Vectors, top: usize) -> Result<Vec<Vec<Found>>, IndexError> {
        let hits = self.index.search(queries, top)?;
        let found = hits.into_iter().map(|hits| {
            let found = hits.into_iter().map(|hit| Found {
                key: self.index.key(hit.row).to_string(),
                row: hit.row,
                similarity: hit.score,
                match_score: None,
            });
            found.collect()
        });
        Ok(found.collect())
    }
}
