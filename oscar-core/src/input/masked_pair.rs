//! Masks words and regions of an example, by chance or by its scene graph, and pairs texts with images of
//! other rows (ROSITA).
//!
//! The order of the draws is the reference's, so that recorded ones give what it made of them.

use super::error::InputError;
use super::example::{BOX_VALUES, Example, ExampleSource, RegionHandle, SourceError};
use super::knowledge::MaskedSides;
use super::masking::{MASK_OR_RANDOM_SHARE, MASK_SHARE, MaskedToken};
use super::pollution::{MATCHED, read_row};
use super::pretrain::{EncodedPair, PretrainEncoder};
use super::regions::{MaskedRegion, RegionMask};
use super::scene_graph::{LabelNames, RegionLabels, SceneGraph};
use super::sequence::EncodedSequence;
use super::structure::{ChosenWords, Draws, Similarities, draw_regions};

/// Rows to draw before giving up on one with another image.
const MAX_TRIES: usize = 100;

/// The matching class of a pair whose image is another row's.
const UNMATCHED: u8 = 1;

/// An example on its way to a masked one.
struct Masked<'a> {
    sequence: EncodedSequence,
    graph: SceneGraph,
    /// Positions of each word's pieces in the sequence, as far as they are in it.
    words: Vec<std::ops::Range<usize>>,
    shown: Shown,
    /// Which positions of the text are targets.
    text: Vec<bool>,
    /// Which regions are targets.
    regions: Vec<bool>,
    corpus: &'a dyn ExampleSource,
}

/// What is known of an image beside its features.
#[derive(Default)]
struct Shown {
    labels: Option<RegionLabels>,
    names: Option<std::sync::Arc<LabelNames>>,
    /// x1/W, y1/H, x2/W, y2/H of each region; read only where they decide something.
    boxes: Vec<[f32; 4]>,
    /// Width and height of a pixel, in shares of the image.
    pixel: [f32; 2],
}

impl Shown {
    fn of(regions: &RegionHandle, with_boxes: bool) -> Result<Self, SourceError> {
        let boxes = match with_boxes {
            true => boxes(regions)?,
            false => Vec::new(),
        };
        let pixel = regions.image_size().map_or([0.0; 2], |(width, height)| {
            [width, height].map(|side| 1.0 / side.max(1) as f32)
        });
        Ok(Self {
            labels: regions.labels()?,
            names: regions.label_names(),
            boxes,
            pixel,
        })
    }

    fn named(&self) -> Option<(&RegionLabels, &LabelNames)> {
        Some((self.labels.as_ref()?, self.names.as_deref()?))
    }
}

/// The corners of each region's box.
fn boxes(regions: &RegionHandle) -> Result<Vec<[f32; 4]>, SourceError> {
    let dim = regions.dim();
    let mut values = vec![0.0; regions.len() * dim];
    regions.copy_into(&mut values)?;
    let rows = values.chunks(dim.max(1));
    Ok(rows
        .filter_map(|row| row.get(dim - BOX_VALUES..)?.first_chunk().copied())
        .collect())
}

impl PretrainEncoder {
    /// As [`encode`](Self::encode), for a recipe whose images may be those of other rows, with these
    /// random numbers, which may be a record of some.
    ///
    /// # Errors
    ///
    /// A row cannot be read, its text A has no token, or its scene graph does not fit it.
    pub fn encode_matched(
        &self,
        corpus: &dyn ExampleSource,
        index: usize,
        draws: &mut impl Draws,
    ) -> Result<EncodedPair, InputError> {
        let mut example = self.with_graph(read_row(corpus, index)?)?;
        let answers = self.take_answers(&mut example);
        let relation = self.replace_image(&mut example, corpus, draws)?;
        let pair = self.mask_pair(example, relation, corpus, draws)?;
        Ok(pair.with_answers(answers))
    }

    /// Gives `example` a scene graph if the masking needs one and the corpus has none: the one that
    /// follows from the classes of its image.
    pub(super) fn with_graph(&self, mut example: Example) -> Result<Example, InputError> {
        if !self.config().use_text_b {
            example.text_b.clear();
        }
        if !self.config().masking.is_structural() || example.graph.is_some() {
            return Ok(example);
        }
        let unreadable = |source| InputError::Regions {
            origin: example.origin.clone(),
            source,
        };
        let shown = Shown::of(&example.regions, true).map_err(unreadable)?;
        let Some((labels, names)) = shown.named() else {
            return Err(InputError::NoGraph {
                origin: example.origin,
            });
        };
        let graph = SceneGraph::from_regions(&example.text_a, labels, names, &shown.boxes);
        example.graph = Some(graph);
        Ok(example)
    }

    /// Draws whether the example keeps its image; if not, it gets that of a random row that has another.
    /// A corpus of one image leaves every pair matched.
    fn replace_image(
        &self,
        example: &mut Example,
        corpus: &dyn ExampleSource,
        draws: &mut impl Draws,
    ) -> Result<u8, InputError> {
        if draws.unit() > self.config().unmatched {
            return Ok(MATCHED);
        }
        for _ in 0..MAX_TRIES {
            let other = read_row(corpus, draws.below(corpus.len()))?;
            if other.image == example.image {
                continue;
            }
            example.origin = format!("{} (with the image of {})", example.origin, other.origin);
            example.image = other.image;
            example.regions = other.regions;
            // Its objects are regions of its own image.
            example.graph = example.graph.take().map(SceneGraph::without_regions);
            return Ok(UNMATCHED);
        }
        Ok(MATCHED)
    }

    /// Masks an example whose relation is known.
    pub(super) fn mask_pair(
        &self,
        mut example: Example,
        relation: u8,
        corpus: &dyn ExampleSource,
        draws: &mut impl Draws,
    ) -> Result<EncodedPair, InputError> {
        let (config, graph) = (self.config(), example.graph.take());
        let origin = example.origin.clone();
        let structural = config.masking.is_structural();
        let regions = example.regions.len().min(config.max_regions);
        let unreadable = |source| InputError::Regions {
            origin: origin.clone(),
            source,
        };
        let shown = match self.masks_regions() || structural {
            true => Shown::of(&example.regions, config.masking.regions.is_structural()),
            false => Ok(Shown::default()),
        };
        let shown = shown.map_err(unreadable)?;
        let (sequence, words) = match structural {
            true => self.encode_words(example, graph.as_ref())?,
            false => (self.encode_unmasked(example)?, Vec::new()),
        };
        let mut masked = Masked {
            text: vec![false; sequence.input_ids.len()],
            regions: vec![false; regions],
            graph: graph.unwrap_or_default(),
            sequence,
            words,
            shown,
            corpus,
        };
        let (of_text, of_regions) = match config.masking.sides {
            MaskedSides::Both => (true, true),
            MaskedSides::One => {
                let text = draws.unit() < 0.5;
                (text, !text)
            }
        };
        if of_text {
            self.pick_text(&mut masked, draws);
        }
        if of_regions && self.masks_regions() {
            self.pick_regions(&mut masked, draws);
        }
        if config.masking.reverse {
            self.pick_reverse(&mut masked, of_text, of_regions, draws);
        }
        self.finish(masked, relation, draws)
    }

    /// The sequence of `[CLS] A [SEP] B [SEP]` and the places of A's words in it.
    fn encode_words(
        &self,
        example: Example,
        graph: Option<&SceneGraph>,
    ) -> Result<(EncodedSequence, Vec<std::ops::Range<usize>>), InputError> {
        let tokenizer = self.tokenizer();
        let mut ids = Vec::new();
        let mut words = Vec::new();
        for word in example.text_a.split_whitespace() {
            let start = ids.len();
            ids.extend(tokenizer.encode(word));
            words.push(start..ids.len());
        }
        if let Some(graph) = graph {
            let fits = graph.check(words.len(), Some(example.regions.len()));
            fits.map_err(|source| InputError::Graph {
                origin: example.origin.clone(),
                source,
            })?;
        }
        if ids.is_empty() {
            // An error that names the text.
            return Ok((self.encode_unmasked(example)?, words));
        }
        let b = tokenizer.encode(&example.text_b);
        let sequence = self
            .sequences()
            .encode_ids(example.origin, &ids, &b, &[example.regions])?;
        // After [CLS], and as far as A was not cut.
        let end = sequence.positions_a().end;
        let words = words
            .into_iter()
            .map(|word| (word.start + 1).min(end)..(word.end + 1).min(end));
        Ok((sequence, words.collect()))
    }

    fn pick_text(&self, masked: &mut Masked<'_>, draws: &mut impl Draws) {
        let (config, sequence) = (self.config(), &masked.sequence);
        let in_b = sequence.positions_b().filter(|_| config.mask_text_b);
        for position in sequence.positions_a().chain(in_b) {
            if draws.unit() < config.mask_probability {
                masked.text[position] = true;
            }
        }
        if !config.masking.text.is_structural() {
            return;
        }
        let chosen = ChosenWords::draw(&masked.graph, self.priors(), &config.masking, draws);
        for (word, probability) in chosen.probability.iter().enumerate() {
            // Of words that are cut off, too.
            if (draws.unit() as f32) < *probability {
                masked.pick_word(word);
            }
        }
        for word in chosen.objects {
            masked.pick_word(word);
        }
    }

    fn pick_regions(&self, masked: &mut Masked<'_>, draws: &mut impl Draws) {
        let config = &self.config().masking;
        let similarity = match config.regions.is_structural() {
            true => {
                let of = self.similarities(masked);
                of.of_regions(masked.regions.len(), |word| masked.words[word].len())
            }
            false => vec![0.0; masked.regions.len()],
        };
        let Shown { boxes, pixel, .. } = &masked.shown;
        masked.regions = draw_regions(boxes, &similarity, *pixel, config, draws);
    }

    /// Masks on each side what is similar to what is masked on the other.
    fn pick_reverse(
        &self,
        masked: &mut Masked<'_>,
        of_text: bool,
        of_regions: bool,
        draws: &mut impl Draws,
    ) {
        let ratio = self.config().masking.similarity_ratio;
        let similarities = self.similarities(masked);
        let probability = |similarity: f32| (ratio * f64::from(similarity)) as f32;
        let (by_words, by_regions) = (masked.text.clone(), masked.regions.clone());
        if of_text && self.masks_regions() {
            let pieces = |word: usize| {
                masked.words[word]
                    .clone()
                    .filter(|at| by_words[*at])
                    .count()
            };
            let similar = similarities.of_regions(by_regions.len(), pieces);
            for (region, similarity) in similar.into_iter().enumerate() {
                if (draws.unit() as f32) < probability(similarity) {
                    masked.regions[region] = true;
                }
            }
        }
        if of_regions && self.config().mask_probability > 0.0 {
            for (word, similarity) in similarities.of_objects(&by_regions) {
                if (draws.unit() as f32) < probability(similarity) {
                    masked.pick_word(word);
                }
            }
        }
    }

    fn similarities(&self, masked: &Masked<'_>) -> Similarities {
        Similarities::new(
            &masked.graph,
            masked.shown.named(),
            masked.regions.len(),
            self.vectors(),
            self.config().masking.similarity_threshold,
        )
    }

    /// Replaces the targets, and says which of them are to be predicted.
    fn finish(
        &self,
        masked: Masked<'_>,
        relation: u8,
        draws: &mut impl Draws,
    ) -> Result<EncodedPair, InputError> {
        let config = self.config();
        let matched = relation == MATCHED;
        // Of another image nothing can be predicted; of other tags, only the tags cannot.
        let (of_a, of_b) = match self.matches_images() {
            true => (matched, matched),
            false => (true, matched || config.mask_loss_for_unmatched),
        };
        let Masked {
            mut sequence,
            text,
            regions,
            shown,
            corpus,
            ..
        } = masked;
        let (in_b, masker) = (sequence.positions_b(), self.tokenizer().masker());
        let mut tokens = Vec::new();
        for position in (0..text.len()).filter(|position| text[*position]) {
            let predicted = if in_b.contains(&position) { of_b } else { of_a };
            if predicted {
                tokens.push(MaskedToken {
                    position: position as u32,
                    label: sequence.input_ids[position],
                });
            }
            let dice = draws.unit();
            if dice < MASK_SHARE {
                sequence.input_ids[position] = masker.mask_id;
            } else if dice < MASK_OR_RANDOM_SHARE {
                sequence.input_ids[position] = draws.below(masker.vocab_size as usize) as u32;
            }
        }
        let origin = sequence.origin.clone();
        let mut masked_regions = Vec::new();
        for region in (0..regions.len()).filter(|region| regions[*region]) {
            let becomes = replacement(corpus, &sequence, draws)?;
            let label = |objects: bool| class(&shown, region, objects);
            let wrong = |source: SourceError| InputError::Regions {
                origin: origin.clone(),
                source,
            };
            masked_regions.push(MaskedRegion {
                region: region as u32,
                becomes,
                predicted: of_a,
                object: label(true).map_err(wrong)?,
                attribute: label(false).map_err(wrong)?,
            });
        }
        Ok(EncodedPair {
            sequence,
            masked: tokens,
            relation,
            regions: masked_regions,
            answers: Vec::new(),
        })
    }
}

impl Masked<'_> {
    fn pick_word(&mut self, word: usize) {
        if let Some(pieces) = self.words.get(word) {
            self.text[pieces.clone()].fill(true);
        }
    }
}

/// The object or attribute class of a region, and the confidence in it.
fn class(shown: &Shown, region: usize, object: bool) -> Result<Option<(u16, f32)>, SourceError> {
    let Some(labels) = &shown.labels else {
        return Ok(None);
    };
    let names = shown.names.as_deref();
    let (classes, scores, names, what) = match object {
        true => (
            &labels.objects,
            &labels.object_scores,
            names.map_or(0, |names| names.objects.len()),
            "object",
        ),
        false => (
            &labels.attributes,
            &labels.attribute_scores,
            names.map_or(0, |names| names.attributes.len()),
            "attribute",
        ),
    };
    let Some((class, score)) = classes.get(region).zip(scores.get(region)) else {
        return Ok(None);
    };
    match usize::from(*class) < names {
        true => Ok(Some((*class, *score))),
        false => Err(format!(
            "region {region}, counted from 0, has {what} class {class}, but only {names} classes have names"
        )
        .into()),
    }
}

/// What a masked region becomes.
fn replacement(
    corpus: &dyn ExampleSource,
    sequence: &EncodedSequence,
    draws: &mut impl Draws,
) -> Result<RegionMask, InputError> {
    let dice = draws.unit();
    if dice < MASK_SHARE {
        return Ok(RegionMask::Zeros);
    }
    if dice >= MASK_OR_RANDOM_SHARE {
        return Ok(RegionMask::Unchanged);
    }
    let other = read_row(corpus, draws.below(corpus.len()))?;
    let (count, dim) = (other.regions.len(), other.regions.dim());
    if count == 0 {
        return Ok(RegionMask::Zeros);
    }
    if sequence.region_dim() != Some(dim) {
        return Err(InputError::RegionDim {
            origin: other.origin,
            found: dim,
            other: sequence.origin.clone(),
            expected: sequence.region_dim().unwrap_or(0),
        });
    }
    let region = draws.below(count);
    let mut values = vec![0.0; (region + 1) * dim];
    let read = other.regions.copy_into(&mut values);
    read.map_err(|source| InputError::Regions {
        origin: other.origin,
        source,
    })?;
    values.drain(..region * dim);
    values.truncate(dim - BOX_VALUES.min(dim));
    Ok(RegionMask::Other(values))
}
