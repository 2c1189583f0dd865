//! Scoring a split: each text and each image is embedded once, and the ranks follow from products.

use std::time::Instant;

use oscar_core::input::{EncodedSequence, SourceError};
use oscar_core::model::dual_encoder::Side;
use oscar_core::ops::OscarBackend;
use oscar_task::batches::run_split;
use oscar_task::ranks::{CaptionRanks, named, rank_of_first};
use oscar_task::{EvaluateOptions, Evaluation, Opened, Predictions, Score, Throughput};
use rayon::prelude::*;
use serde::Serialize;

use crate::Search;
use crate::data::SearchData;
use crate::embed::{Embedder, Vectors, embed_rows};
use crate::exact::products;

impl Score for Search {
    fn score<B: OscarBackend>(
        opened: &Opened<Self, B>,
        data: &SearchData,
        options: &EvaluateOptions<'_>,
    ) -> Result<Evaluation, SourceError> {
        let started = Instant::now();
        let split = Embedded::of(opened, data, options)?;
        let ranks = split.ranks(data);
        let throughput = Throughput {
            examples: split.images.len() + split.captions.len(),
            tokens: split.tokens,
            seconds: started.elapsed().as_secs_f64(),
        };
        Ok(Evaluation {
            throughput: Some(throughput),
            ..report(data, &ranks)?
        })
    }
}

/// The vectors of a split.
pub(crate) struct Embedded {
    /// Of all images.
    pub images: Vectors,
    /// Of the used captions.
    pub captions: Vectors,
    /// Text tokens and regions that were read.
    pub tokens: usize,
}

/// The ranks of a split, from 0.
pub(crate) struct Ranks {
    /// Of each image: of its first own caption.
    pub images: Vec<usize>,
    /// Of each used caption: of its image.
    pub captions: Vec<usize>,
}

impl Embedded {
    /// Embeds all images and used captions of `data`, each once.
    pub(crate) fn of<B: OscarBackend>(
        opened: &Opened<Search, B>,
        data: &SearchData,
        options: &EvaluateOptions<'_>,
    ) -> Result<Self, SourceError> {
        let (images, captions) = (data.split().images.len(), data.used().len());
        let total = images + captions;
        let mut tokens = 0;
        let parts = (&opened.model, &opened.device);
        let mut run = |side, rows: &[EncodedSequence]| {
            tokens += rows.iter().map(EncodedSequence::len).sum::<usize>();
            embed_rows(parts, data.encoder(), side, rows.to_vec(), rows.len())
                .map_err(SourceError::from)
        };
        let of_images = run_split(
            0..images,
            options.batch_size,
            |image| data.stored_image(image),
            |row| (row.num_regions(), row.input_ids.len()),
            |rows| run(Side::Image, rows),
            &|done, _| (options.progress)(done, total),
        )?;
        let of_captions = run_split(
            0..captions,
            options.batch_size,
            |caption| data.text(data.used()[caption] as usize),
            EncodedSequence::len,
            |rows| run(Side::Text, rows),
            &|done, _| (options.progress)(images + done, total),
        )?;
        let width = opened.width();
        Ok(Self {
            images: Vectors::new(width, of_images.concat())?,
            captions: Vectors::new(width, of_captions.concat())?,
            tokens,
        })
    }

    /// The image of each used caption.
    pub(crate) fn owners(data: &SearchData) -> Vec<usize> {
        let captions = data.used().iter();
        captions
            .map(|caption| data.split().captions[*caption as usize].image as usize)
            .collect()
    }

    /// The ranks by the products of all vectors, some images at a time.
    pub(crate) fn ranks(&self, data: &SearchData) -> Ranks {
        const IMAGES: usize = 64;
        let owners = Self::owners(data);
        let own = owners.iter().enumerate().map(|(caption, image)| {
            let mut score = [0.0];
            let caption = self.captions.row(caption);
            products(caption, self.images.row(*image), &mut score);
            score[0]
        });
        let mut of_captions = CaptionRanks::new(&owners, own.collect());
        let mut of_images = Vec::with_capacity(self.images.len());
        let numbers: Vec<usize> = (0..self.images.len()).collect();
        for block in numbers.chunks(IMAGES) {
            let rows = block.par_iter().map(|image| {
                let mut scores = vec![0.0; self.captions.len()];
                products(self.captions.values(), self.images.row(*image), &mut scores);
                scores
            });
            let rows: Vec<Vec<f32>> = rows.collect();
            for (image, scores) in block.iter().zip(rows) {
                of_captions.add(*image, &scores);
                let right = owners.iter().map(|owner| owner == image);
                of_images.push(rank_of_first(scores.into_iter().zip(right)));
            }
        }
        Ranks {
            images: of_images,
            captions: of_captions.finish(),
        }
    }
}

/// Recalls and ranks; the prediction file has each image and each used caption with its rank.
fn report(data: &SearchData, ranks: &Ranks) -> Result<Evaluation, SourceError> {
    #[derive(Serialize)]
    struct Report<'a> {
        images: Vec<ImageRow<'a>>,
        captions: Vec<CaptionRow<'a>>,
    }
    #[derive(Serialize)]
    struct ImageRow<'a> {
        image: &'a str,
        rank: usize,
    }
    #[derive(Serialize)]
    struct CaptionRow<'a> {
        image: &'a str,
        caption: &'a str,
        rank: usize,
    }
    let split = data.split();
    let images = split.images.iter().zip(&ranks.images);
    let captions = data.used().iter().zip(&ranks.captions);
    let report = Report {
        images: images
            .map(|(image, rank)| ImageRow {
                image: &image.key,
                rank: *rank,
            })
            .collect(),
        captions: captions
            .map(|(caption, rank)| {
                let caption = &split.captions[*caption as usize];
                CaptionRow {
                    image: &split.images[caption.image as usize].key,
                    caption: &caption.text,
                    rank: *rank,
                }
            })
            .collect(),
    };
    let mut scores = named("i2t", &ranks.images);
    scores.extend(named("t2i", &ranks.captions));
    let content = serde_json::to_vec_pretty(&report)?;
    Ok(Evaluation {
        scores,
        examples: ranks.images.len() + ranks.captions.len(),
        predictions: Some(Predictions {
            extension: "json",
            content,
        }),
        ..Evaluation::default()
    })
}
