//! What re-ranking costs and gains: the recall of a dual encoder alone, of a cross-encoder on the best
//! of what it finds, and of the cross-encoder on every pair.

use std::collections::BTreeSet;
use std::time::Instant;

use half::f16;
use oscar_core::input::{EncodedSequence, SourceError};
use oscar_core::ops::OscarBackend;
use oscar_task::batches::BATCHES_SORTED;
use oscar_task::ranks::{caption_ranks, image_ranks, named, rank_of_first};
use oscar_task::{CrossEncoder, EvaluateOptions, Opened};
use rayon::prelude::*;

use crate::Search;
use crate::data::SearchData;
use crate::embed::Vectors;
use crate::evaluate::{Embedded, Ranks};
use crate::exact::search;

/// The recall of one way to rank, and what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Which: `one stage`, `two stages`, `every pair`.
    pub name: &'static str,
    /// Pairs of text and image that a model read together.
    pub pairs: usize,
    /// From texts and images to ranks, the stages before it included.
    pub seconds: f64,
    /// Recalls and median ranks both ways, as [`named`] names them.
    pub scores: Vec<(String, f64)>,
}

/// Which stages are evaluated, and how.
pub struct StageOptions<'a> {
    /// Images of each text, and texts of each image, that are re-ranked.
    pub candidates: usize,
    /// Whether every pair is scored as well, the square of the split.
    pub every_pair: bool,
    /// Sequences per batch.
    pub batch_size: usize,
    /// Called with the number of finished sequences of a stage, and of all.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl Stage {
    fn new(name: &'static str, pairs: usize, seconds: f64, ranks: &Ranks) -> Self {
        let mut scores = named("i2t", &ranks.images);
        scores.extend(named("t2i", &ranks.captions));
        Self {
            name,
            pairs,
            seconds,
            scores,
        }
    }
}

/// Evaluates the stages on `data`: `first` finds, `reader` re-ranks.
///
/// An image or text whose right answer is not among the candidates keeps its rank of the first stage.
/// Ties count against the models.
///
/// # Errors
///
/// If an image cannot be read, or has regions of another size than the models read.
pub fn evaluate_stages<B: OscarBackend>(
    first: &Opened<Search, B>,
    reader: &CrossEncoder<B>,
    data: &SearchData,
    options: &StageOptions<'_>,
) -> Result<Vec<Stage>, SourceError> {
    reader.check_regions(oscar_task::TaskData::region_dim(data))?;
    let started = Instant::now();
    let embedding = EvaluateOptions {
        batch_size: options.batch_size,
        progress: options.progress,
        cache: None,
    };
    let embedded = Embedded::of(first, data, &embedding)?;
    let ranks = embedded.ranks(data);
    let seconds = started.elapsed().as_secs_f64();
    let mut stages = vec![Stage::new("one stage", 0, seconds, &ranks)];

    let pairs = Pairs::new(reader, data, options)?;
    let started = Instant::now();
    let (reranked, count) = rerank(&embedded, &pairs, &ranks, options.candidates)?;
    let seconds = seconds + started.elapsed().as_secs_f64();
    stages.push(Stage::new("two stages", count, seconds, &reranked));

    if options.every_pair {
        let started = Instant::now();
        let ranks = pairs.rank_all()?;
        let seconds = started.elapsed().as_secs_f64();
        let count = pairs.tags.len() * pairs.texts.len();
        stages.push(Stage::new("every pair", count, seconds, &ranks));
    }
    Ok(stages)
}

/// The ranks after the candidates of each text and of each image are sorted anew, and the number of
/// pairs that were scored: one that is a candidate both ways is scored once.
fn rerank<B: OscarBackend>(
    embedded: &Embedded,
    pairs: &Pairs<'_, B>,
    before: &Ranks,
    candidates: usize,
) -> Result<(Ranks, usize), SourceError> {
    let images_of = candidates_of(&embedded.captions, &embedded.images, candidates)?;
    let texts_of = candidates_of(&embedded.images, &embedded.captions, candidates)?;
    let mut wanted = BTreeSet::new();
    for (text, images) in images_of.iter().enumerate() {
        wanted.extend(images.iter().map(|image| (*image, text)));
    }
    for (image, texts) in texts_of.iter().enumerate() {
        wanted.extend(texts.iter().map(|text| (image, *text)));
    }
    let wanted: Vec<(usize, usize)> = wanted.into_iter().collect();
    let scores = pairs.score(&wanted)?;
    let score = |pair: (usize, usize)| {
        let found = wanted.binary_search(&pair);
        found.map_or(f32::NEG_INFINITY, |at| scores[at])
    };
    // The rank among the candidates; if none is right, that of the first stage, behind them all.
    let rank = |scored: Vec<(f32, bool)>, before: usize| match scored.iter().any(|(_, own)| *own) {
        true => rank_of_first(scored.into_iter()),
        false => before.max(candidates),
    };
    let images = texts_of.iter().zip(&before.images).enumerate();
    let images = images.map(|(image, (texts, before))| {
        let scored = texts.iter().map(|text| {
            let own = pairs.owners[*text] == image;
            (score((image, *text)), own)
        });
        rank(scored.collect(), *before)
    });
    let captions = images_of.iter().zip(&before.captions).enumerate();
    let captions = captions.map(|(text, (images, before))| {
        let scored = images.iter().map(|image| {
            let own = pairs.owners[text] == *image;
            (score((*image, text)), own)
        });
        rank(scored.collect(), *before)
    });
    let ranks = Ranks {
        images: images.collect(),
        captions: captions.collect(),
    };
    Ok((ranks, wanted.len()))
}

/// The rows of `vectors` that are closest to each of `queries`, found as in an index.
fn candidates_of(
    queries: &Vectors,
    vectors: &Vectors,
    candidates: usize,
) -> Result<Vec<Vec<usize>>, SourceError> {
    let stored: Vec<f16> = vectors
        .values()
        .iter()
        .copied()
        .map(f16::from_f32)
        .collect();
    let found = search(&stored, vectors.width(), queries, candidates)?;
    let rows = found.into_iter();
    Ok(rows
        .map(|hits| hits.into_iter().map(|hit| hit.row).collect())
        .collect())
}

/// A split as the cross-encoder reads it.
struct Pairs<'a, B: OscarBackend> {
    reader: &'a CrossEncoder<B>,
    data: &'a SearchData,
    options: &'a StageOptions<'a>,
    /// Tokens of the used captions.
    texts: Vec<Vec<u32>>,
    /// Tokens of the tags of the images.
    tags: Vec<Vec<u32>>,
    /// The image of each used caption.
    owners: Vec<usize>,
}

impl<'a, B: OscarBackend> Pairs<'a, B> {
    fn new(
        reader: &'a CrossEncoder<B>,
        data: &'a SearchData,
        options: &'a StageOptions<'a>,
    ) -> Result<Self, SourceError> {
        let (split, tokenizer) = (data.split(), reader.encoder().tokenizer());
        let texts = data.used().iter().map(|caption| {
            let text = &split.captions[*caption as usize].text;
            match tokenizer.encode(text) {
                ids if ids.is_empty() => {
                    let path = split.path.display();
                    Err(format!(
                        "{path}: the model that re-ranks has no token for {text:?}"
                    ))
                }
                ids => Ok(ids),
            }
        });
        let tags =
            (0..split.images.len()).map(|image| Ok(tokenizer.encode(&split.tag_text(image)?)));
        Ok(Self {
            texts: texts.collect::<Result<_, String>>()?,
            tags: tags.collect::<Result<_, SourceError>>()?,
            owners: Embedded::owners(data),
            reader,
            data,
            options,
        })
    }

    /// The scores of pairs of an image and a text.
    fn score(&self, pairs: &[(usize, usize)]) -> Result<Vec<f32>, SourceError> {
        let mut scores = Vec::with_capacity(pairs.len());
        let batch_size = self.options.batch_size.max(1);
        // The model itself need not be shared between the threads that encode.
        let (encoder, split) = (self.reader.encoder(), self.data.split());
        let (texts, tags) = (&self.texts, &self.tags);
        let encode = |(image, text): &(usize, usize)| -> Result<EncodedSequence, SourceError> {
            let regions = split.regions(*image)?;
            let (text, tags) = (&texts[*text], &tags[*image]);
            Ok(encoder.encode_ids(String::new(), text, tags, &[regions])?)
        };
        for chunk in pairs.chunks(batch_size * BATCHES_SORTED) {
            let rows = chunk.par_iter().map(&encode);
            let rows = rows.collect::<Result<Vec<EncodedSequence>, SourceError>>()?;
            scores.extend(self.reader.score(rows, batch_size)?);
            (self.options.progress)(scores.len(), pairs.len());
        }
        Ok(scores)
    }

    /// The ranks by the scores of all pairs.
    fn rank_all(&self) -> Result<Ranks, SourceError> {
        let (images, texts) = (self.tags.len(), self.texts.len());
        let pairs: Vec<(usize, usize)> = (0..images)
            .flat_map(|image| (0..texts).map(move |text| (image, text)))
            .collect();
        let scores = self.score(&pairs)?;
        Ok(Ranks {
            images: image_ranks(&scores, texts, |image, text| self.owners[text] == image),
            captions: caption_ranks(&scores, &self.owners),
        })
    }
}
