//! Texts and images as vectors, and the images of an index that are near them.

use std::path::Path;

use anyhow::{Context, Result};
use oscar_core::ops::TrainBackend;
use oscar_datasets::SharedImages;
use oscar_search::{Embedder, Found, IndexError, Search, Searcher, VectorIndex, Vectors};
use oscar_task::{Opened, Seen, Task};

use super::detectors::Detectors;
use super::models::{Description, ModelInfo, Wanted};
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

    fn embedder(&self) -> &dyn Embedder {
        match &self.opened {
            Dual::Weights(embedder) => &**embedder,
            Dual::Indexed(searcher) => searcher.embedder(),
        }
    }

    /// Answers requests that are alike.
    pub fn answer(&self, jobs: Vec<Ready>) {
        let embedded = self.embed_each(jobs);
        match embedded.first().map(|(job, _)| job.work) {
            Some(Work::Search) => self.find(embedded),
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

    /// What is near the one vector of each job: one pass over the index for all of them.
    fn find(&self, jobs: Vec<(Job, Vectors)>) {
        let wanted = |job: &Job| job.question.top.unwrap_or(FOUND);
        let top = jobs.iter().map(|(job, _)| wanted(job)).max().unwrap_or(0);
        let found = isolated(|| {
            let values: Vec<&[f32]> = jobs.iter().map(|(_, vectors)| vectors.values()).collect();
            let queries = Vectors::new(self.embedder().width(), values.concat());
            let queries = queries.map_err(|error| of_task(&error))?;
            self.nearest(&queries, top)
        });
        match found {
            Ok(found) => {
                for ((job, _), mut found) in jobs.into_iter().zip(found) {
                    found.truncate(wanted(&job));
                    send(job, Ok(Outcome::Found(found)));
                }
            }
            Err(refusal) => jobs
                .into_iter()
                .for_each(|(job, _)| send(job, Err(refusal.clone()))),
        }
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

/// Nothing can be found without an index.
pub fn no_index() -> Refusal {
    Refusal::not_loaded(
        "no index is loaded; build one with `oscar-bin data build index` and start the server with \
         --index",
    )
}
