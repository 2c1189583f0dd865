//! Texts and images as vectors, and the images of an index that are near them.

use std::path::Path;

use anyhow::{Context, Result};
use oscar_core::ops::TrainBackend;
use oscar_datasets::SharedImages;
use oscar_search::{
    Embedder, Found, IndexError, RerankOptions, Reranker, Search, Searcher, VectorIndex, Vectors,
};
use oscar_task::{Opened, Seen, Task};

use super::detectors::Detectors;
use super::models::{Description, Model, ModelInfo, Wanted};
use super::refusal::Refusal;
use super::shelf::Image;
use super::worker::{Job, Outcome, Work, failed, isolated, of_task, send, together_or_alone};
use crate::backend::OnBackend;
use crate::weights::{self, PublishedArgs};

/// Images that are found, unless the request names a number.
pub const FOUND: usize = 20;

/// A dual encoder, with the index of what is searched.
pub struct SearchModel {
    /// What clients see.
    pub info: ModelInfo,
    /// Index of its detector.
    pub detector: Option<usize>,
    /// Whether there is an index.
    pub indexed: bool,
    opened: Dual,
    /// What re-ranks the findings.
    reranker: Option<Box<dyn Reranker>>,
}

enum Dual {
    Weights(Box<dyn Embedder>),
    Indexed(Box<Searcher>),
}

/// A request whose images were seen; one about a text has none.
type Ready = (Job, Vec<Image>);

/// Opens weights of search.
pub struct Opening<'a> {
    /// Their directory.
    pub directory: &'a Path,
    /// What else is to be opened.
    pub wanted: &'a Wanted<'a>,
    /// The detectors that are opened already.
    pub detectors: &'a mut Detectors,
}

impl OnBackend for Opening<'_> {
    type Output = SearchModel;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<SearchModel> {
        let (wanted, directory) = (self.wanted, self.directory);
        let published = PublishedArgs::default();
        let checkpoint = weights::open::<Search>(directory, &published, wanted.sets)?;
        let detector = self
            .detectors
            .find::<Search, B>(wanted, &checkpoint, &device)?;
        let region_dim = checkpoint.model.img_feature_dim;
        let opened = Opened::<Search, B::InnerBackend>::load(checkpoint, &device)?;
        let embedder: Box<dyn Embedder> = Box::new(opened);
        let opened = match wanted.index {
            None => Dual::Weights(embedder),
            Some(index) => Dual::Indexed(Box::new(Searcher::new(
                VectorIndex::open(index)?,
                embedder,
            )?)),
        };
        let indexed = wanted.index.is_some();
        let description = Description {
            task: Search::NAME,
            endpoint: if indexed { "/v1/search" } else { "/v1/embed" },
            detector: detector.map(|at| self.detectors.all()[at].identity().to_string()),
            region_dim,
        };
        Ok(SearchModel {
            info: ModelInfo::new(directory, description),
            detector,
            indexed,
            opened,
            reranker: None,
        })
    }
}

impl SearchModel {
    /// Checks that the index is of these images.
    ///
    /// # Errors
    /// If it is of others.
    pub fn check_store(&self, images: &SharedImages) -> Result<()> {
        match &self.opened {
            Dual::Indexed(searcher) => searcher
                .check_store(images)
                .context("the index does not belong to the stored images"),
            Dual::Weights(_) => Ok(()),
        }
    }

    /// Takes the first of `models` that can re-rank what this one finds: it reads the same regions.
    pub fn find_reranker(&mut self, models: &mut [Model]) {
        if !self.indexed {
            return;
        }
        let fitting = models
            .iter_mut()
            .filter(|model| model.info.region_dim == self.info.region_dim);
        let mut found = fitting.filter_map(|model| Some((model.reranker.take()?, &model.info)));
        if let Some((reranker, info)) = found.next() {
            tracing::info!("{} re-ranks what {} finds", info.name, self.info.name);
            self.info.reranker = Some(info.name.clone());
            self.reranker = Some(reranker);
        }
    }

    fn embedder(&self) -> &dyn Embedder {
        match &self.opened {
            Dual::Weights(embedder) => &**embedder,
            Dual::Indexed(searcher) => searcher.embedder(),
        }
    }

    /// Answers requests that are alike; `store` has the images of the index, of which up to `max_batch` are
    /// read at a time.
    pub fn answer(&self, jobs: Vec<Ready>, store: Option<&SharedImages>, max_batch: usize) {
        let embedded = self.embed_each(jobs);
        match embedded.first().map(|(job, _)| job.work) {
            Some(Work::Search) => {
                for (job, found) in self.find(embedded) {
                    let found = isolated(|| self.ranked(&job, found, store, max_batch));
                    send(job, found.map(Outcome::Found));
                }
            }
            _ => {
                for (job, vectors) in embedded {
                    let vectors = vectors.rows().map(<[f32]>::to_vec).collect();
                    send(job, Ok(Outcome::Vectors(vectors)));
                }
            }
        }
    }

    /// The vectors of each job: together; if that fails, of each job alone, so that one that cannot be
    /// read fails alone.
    fn embed_each(&self, jobs: Vec<Ready>) -> Vec<(Job, Vectors)> {
        let all = together_or_alone(&jobs, |jobs| self.embed(jobs));
        let mut embedded = Vec::with_capacity(jobs.len());
        for ((job, _), vectors) in jobs.into_iter().zip(all) {
            match vectors {
                Ok(vectors) => embedded.push((job, vectors)),
                Err(refusal) => send(job, Err(refusal)),
            }
        }
        embedded
    }

    fn embed(&self, jobs: &[Ready]) -> Result<Vec<Vectors>, Refusal> {
        let embedder = self.embedder();
        let of_texts = jobs.iter().filter(|(_, images)| images.is_empty());
        let texts: Vec<String> = of_texts
            .map(|(job, _)| job.question.text.clone().unwrap_or_default())
            .collect();
        let images = jobs.iter().flat_map(|(_, images)| images);
        let seen: Vec<Seen> = images.map(|image| image.seen.clone()).collect();
        let texts = match texts.is_empty() {
            true => Vectors::default(),
            false => embedder
                .embed_texts(&texts)
                .map_err(|error| of_task(&error))?,
        };
        let seen = match seen.is_empty() {
            true => Vectors::default(),
            false => embedder
                .embed_pictures(&seen)
                .map_err(|error| of_task(&error))?,
        };
        let (mut texts, mut seen) = (texts.rows(), seen.rows());
        let vectors = jobs.iter().map(|(_, images)| {
            let values: Vec<&[f32]> = match images.len() {
                0 => texts.by_ref().take(1).collect(),
                count => seen.by_ref().take(count).collect(),
            };
            Vectors::new(embedder.width(), values.concat()).map_err(|error| of_task(&error))
        });
        vectors.collect()
    }

    /// What is near the one vector of each job, as much as the most demanding of them needs: one pass over
    /// the index for all of them.
    fn find(&self, jobs: Vec<(Job, Vectors)>) -> Vec<(Job, Vec<Found>)> {
        let wanted = |job: &Job| wanted(job).max(job.question.rerank.unwrap_or(0));
        let top = jobs.iter().map(|(job, _)| wanted(job)).max().unwrap_or(0);
        let found = isolated(|| {
            let values: Vec<&[f32]> = jobs.iter().map(|(_, vectors)| vectors.values()).collect();
            let queries = Vectors::new(self.embedder().width(), values.concat());
            let queries = queries.map_err(|error| of_task(&error))?;
            self.nearest(&queries, top)
        });
        match found {
            Ok(found) => {
                let jobs = jobs.into_iter().map(|(job, _)| job);
                jobs.zip(found).collect()
            }
            Err(refusal) => {
                jobs.into_iter()
                    .for_each(|(job, _)| send(job, Err(refusal.clone())));
                Vec::new()
            }
        }
    }

    /// What a job asked for of what was found: re-ranked if it wants that, and as many as it wants.
    fn ranked(
        &self,
        job: &Job,
        mut found: Vec<Found>,
        store: Option<&SharedImages>,
        max_batch: usize,
    ) -> Result<Vec<Found>, Refusal> {
        if let Some(candidates) = job.question.rerank {
            let parts = self.reranker.as_ref().zip(store);
            let (reranker, store) = parts.ok_or_else(no_reranker)?;
            let text = job.question.text.as_deref().unwrap_or_default();
            let options = RerankOptions {
                candidates,
                batch_size: max_batch,
            };
            let reranked = reranker.rerank(store, text, &mut found, options);
            reranked.map_err(|error| of_task(&error))?;
        }
        found.truncate(wanted(job));
        Ok(found)
    }

    fn nearest(&self, queries: &Vectors, top: usize) -> Result<Vec<Vec<Found>>, Refusal> {
        match &self.opened {
            Dual::Weights(_) => Err(no_index()),
            Dual::Indexed(searcher) => searcher.search(queries, top).map_err(|error| match error {
                IndexError::Task(error) => of_task(&error),
                error => failed(&error),
            }),
        }
    }
}

/// Images that are wanted of a search.
fn wanted(job: &Job) -> usize {
    job.question.top.unwrap_or(FOUND)
}

/// Nothing is re-ranked without a model that reads text and image together.
pub fn no_reranker() -> Refusal {
    Refusal::not_loaded(
        "no weights are loaded that re-rank what this model finds; start the server with those of \
         matching or retrieval as another --checkpoint",
    )
}

/// Nothing can be found without an index.
pub fn no_index() -> Refusal {
    Refusal::not_loaded(
        "no index is loaded; build one with `oscar-bin data build index` and start the server with \
         --index",
    )
}
