//! The official ways to a caption, over any [`Decoder`].
//!
//! | official function | what it is | here |
//! |---|---|---|
//! | `generate2` | filters by `top_p`, then takes the best token: greedy, whatever its options | [`official_greedy`] |
//! | `generate_beam` | keeps the beams with the best mean log-probability, finished ones among them | [`official_beam`] |
//!
//! Both end a caption with the stop token, which is part of it.

use oscar_core::decode::Decoder;
use oscar_core::ops::{self, OscarBackend};

use crate::model::PADDING;

/// A caption, its stop token included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Mean log-probability of a token.
    pub score: f32,
}

/// A beam at the end of [`official_beam`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfficialBeam {
    /// As many tokens as steps were made for the image, filled up with 0 behind the stop token.
    pub tokens: Vec<u32>,
    /// How many of them are the caption.
    pub length: usize,
    /// Mean log-probability of a token.
    pub score: f32,
}

impl From<OfficialBeam> for Written {
    fn from(mut beam: OfficialBeam) -> Self {
        beam.tokens.truncate(beam.length);
        Self {
            ids: beam.tokens,
            score: beam.score,
        }
    }
}

/// Settings of [`official_beam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OfficialSearch {
    /// Beams of an image; at most as many as there are tokens.
    pub beams: usize,
    /// Most tokens of a caption.
    pub max_tokens: usize,
    /// Divides the logits; 1 if it is not above 0.
    pub temperature: f64,
    /// The token that ends a caption.
    pub stop: u32,
}

/// The best token each time: one caption for each image, as the official `generate2` writes it.
///
/// Unlike there, a caption may have a single token.
pub fn official_greedy<B: OscarBackend>(
    decoder: &mut (impl Decoder<B> + ?Sized),
    max_tokens: usize,
    stop: u32,
) -> Vec<Written> {
    let mut captions = vec![Written::default(); decoder.images()];
    let mut active: Vec<usize> = (0..captions.len()).collect();
    let mut newest = vec![PADDING; active.len()];
    for length in 1..=max_tokens {
        let scores = ops::log_softmax(decoder.next(&newest));
        for (image, best) in active.iter().zip(ops::top_k(scores, 1).rows()) {
            let (token, log_prob) = best[0];
            let caption = &mut captions[*image];
            caption.ids.push(token);
            caption.score += log_prob;
        }
        let last = |image: usize| captions[image].ids.last().copied().unwrap_or(stop);
        let places = 0..active.len();
        let kept: Vec<usize> = places.filter(|at| last(active[*at]) != stop).collect();
        if kept.is_empty() || length == max_tokens {
            break;
        }
        if kept.len() < active.len() {
            decoder.select(Some(&kept), &kept);
            active = kept.iter().map(|at| active[*at]).collect();
        }
        newest = active.iter().map(|image| last(*image)).collect();
    }
    for caption in &mut captions {
        caption.score /= caption.ids.len().max(1) as f32;
    }
    captions
}

/// A hypothesis of [`official_beam`].
#[derive(Clone, Debug)]
struct Beam {
    tokens: Vec<u32>,
    /// Sum of the log-probabilities, in the precision of the official code.
    sum: f32,
    length: f32,
    stopped: bool,
    /// The beam of the step before that it continues.
    source: usize,
}

/// The official `generate_beam`: all beams of each image, the best first.
///
/// Beams are ranked by their mean log-probability per token, the stop token counted. A finished beam
/// keeps its place by its mean, and is lost when enough others have a better one; there is no list of
/// finished captions, and no length penalty.
pub fn official_beam<B: OscarBackend>(
    decoder: &mut (impl Decoder<B> + ?Sized),
    search: &OfficialSearch,
) -> Vec<Vec<OfficialBeam>> {
    let mut found: Vec<Vec<Beam>> = vec![Vec::new(); decoder.images()];
    let mut active: Vec<usize> = (0..found.len()).collect();
    let mut newest = vec![PADDING; active.len()];
    for length in 1..=search.max_tokens {
        let logits = match search.temperature > 0.0 {
            true => decoder.next(&newest) / search.temperature,
            false => decoder.next(&newest),
        };
        let best = ops::top_k(ops::log_softmax(logits), search.beams);
        let best: Vec<&[(u32, f32)]> = best.rows().collect();
        let width = best.len() / active.len();
        for (words, image) in best.chunks(width).zip(&active) {
            let beams = &mut found[*image];
            *beams = match beams.is_empty() {
                true => first(words[0], search.stop),
                false => next(beams, words, search),
            };
        }
        let open = |at: &usize| !found[active[*at]].iter().all(|beam| beam.stopped);
        let kept: Vec<usize> = (0..active.len()).filter(open).collect();
        if kept.is_empty() || length == search.max_tokens {
            break;
        }
        let rows = kept.iter().flat_map(|place| {
            let beams = found[active[*place]].iter();
            beams.map(move |beam| place * width + beam.source)
        });
        let rows: Vec<usize> = rows.collect();
        decoder.select((kept.len() < active.len()).then_some(&kept), &rows);
        active = kept.iter().map(|at| active[*at]).collect();
        let beams = active.iter().flat_map(|image| &found[*image]);
        newest = beams
            .map(|beam| beam.tokens.last().copied().unwrap_or(PADDING))
            .collect();
    }
    found.into_iter().map(ranked).collect()
}

/// The beams after the first token.
fn first(best: &[(u32, f32)], stop: u32) -> Vec<Beam> {
    let beam = |(token, log_prob): &(u32, f32)| Beam {
        tokens: vec![*token],
        sum: *log_prob,
        length: 1.0,
        stopped: *token == stop,
        source: 0,
    };
    best.iter().map(beam).collect()
}

/// The beams after another token; `words` are the best next ones of each beam.
fn next(beams: &[Beam], words: &[&[(u32, f32)]], search: &OfficialSearch) -> Vec<Beam> {
    let mut candidates: Vec<(f32, f32, usize, u32)> = Vec::new();
    for (source, (beam, words)) in beams.iter().zip(words).enumerate() {
        if beam.stopped {
            candidates.push((beam.sum / beam.length, beam.length, source, PADDING));
            continue;
        }
        let length = beam.length + 1.0;
        let with =
            |(word, log_prob): &(u32, f32)| ((beam.sum + log_prob) / length, length, source, *word);
        candidates.extend(words.iter().map(with));
    }
    // Stable: of equal ones the first.
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
    candidates.truncate(search.beams);
    let beam = |(mean, length, source, token): (f32, f32, usize, u32)| {
        let mut tokens = beams[source].tokens.clone();
        tokens.push(token);
        Beam {
            tokens,
            sum: mean * length,
            length,
            stopped: beams[source].stopped || token == search.stop,
            source,
        }
    };
    candidates.into_iter().map(beam).collect()
}

fn ranked(beams: Vec<Beam>) -> Vec<OfficialBeam> {
    let beam = |beam: Beam| OfficialBeam {
        score: beam.sum / beam.length,
        length: beam.length as usize,
        tokens: beam.tokens,
    };
    let mut beams: Vec<OfficialBeam> = beams.into_iter().map(beam).collect();
    beams.sort_by(|a, b| b.score.total_cmp(&a.score));
    beams
}
