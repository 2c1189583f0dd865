//! Pairs an image with its own texts, or with another's.
//!
//! The contrastive head predicts whether caption, tags and regions belong together. Half of the
//! triples are left matched; in the other half one text is replaced, never the regions.

use rand::Rng;

use super::error::InputError;
use super::example::{Example, ExampleSource};
use super::pretrain_config::{PretrainEncoderConfig, TextBSampleMode};
use super::scene_graph::SceneGraph;

/// Rows to draw before giving up on one that differs.
const MAX_TRIES: usize = 10;

/// The contrastive class of a triple whose texts are its own.
pub const MATCHED: u8 = 0;
/// The contrastive class of a triple with another's tags or answer.
pub const POLLUTED_TEXT_B: u8 = 1;

/// Draws the contrastive class of row `index`, and replaces the text that the class names.
///
/// The order and probabilities of the draws are the official ones: with probability 0.5 (or
/// 1 - `contrast.polluted`) nothing is replaced; else text B if there is one and the same dice is above
/// `texta_false_prob`; else text A.
///
/// A replacement comes from another image (answers: from another row), and is not empty. After ten
/// draws without one the last is taken, and the class is "polluted" all the same, as officially.
pub fn pollute<R: Rng + ?Sized>(
    example: &mut Example,
    index: usize,
    corpus: &dyn ExampleSource,
    config: &PretrainEncoderConfig,
    rng: &mut R,
) -> Result<u8, InputError> {
    let dice = rng.random::<f64>();
    if dice > config.contrast.polluted {
        return Ok(MATCHED);
    }
    if dice > config.contrast.texta_false_prob && !is_blank(&example.text_b) {
        example.text_b = other_text_b(example, index, corpus, config, rng)?;
        return Ok(POLLUTED_TEXT_B);
    }
    replace_text_a(example, corpus, rng)?;
    Ok((config.num_contrast_classes() - 1) as u8)
}

/// Row `row` of `corpus`.
pub fn read_row(corpus: &dyn ExampleSource, row: usize) -> Result<Example, InputError> {
    corpus
        .get(row)
        .map_err(|source| InputError::Row { row, source })
}

fn replace_text_a<R: Rng + ?Sized>(
    example: &mut Example,
    corpus: &dyn ExampleSource,
    rng: &mut R,
) -> Result<(), InputError> {
    let mut other = random_row(corpus, rng)?;
    for _ in 1..MAX_TRIES {
        if other.image != example.image {
            break;
        }
        other = random_row(corpus, rng)?;
    }
    example.text_a = other.text_a;
    // Its objects are regions of another image.
    example.graph = other.graph.map(SceneGraph::without_regions);
    // An error about this text must name the row that it comes from.
    example.origin = format!("{} (with the text of {})", example.origin, other.origin);
    Ok(())
}

fn other_text_b<R: Rng + ?Sized>(
    example: &Example,
    index: usize,
    corpus: &dyn ExampleSource,
    config: &PretrainEncoderConfig,
    rng: &mut R,
) -> Result<String, InputError> {
    let mode = config.contrast.textb_sample_mode;
    let mut text = String::new();
    for _ in 0..MAX_TRIES {
        let (row, other) = match mode {
            TextBSampleMode::Answer => random_answer(corpus, rng)?,
            _ => (usize::MAX, random_row(corpus, rng)?),
        };
        let is_other = match mode {
            TextBSampleMode::Answer => row != index,
            _ => other.image != example.image,
        };
        let take_a = mode == TextBSampleMode::TextAOrB && rng.random::<bool>();
        text = if take_a { other.text_a } else { other.text_b };
        if is_other && !is_blank(&text) {
            break;
        }
    }
    Ok(text)
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn random_row<R: Rng + ?Sized>(
    corpus: &dyn ExampleSource,
    rng: &mut R,
) -> Result<Example, InputError> {
    if corpus.is_empty() {
        return Err(InputError::EmptyCorpus);
    }
    read_row(corpus, rng.random_range(0..corpus.len()))
}

fn random_answer<R: Rng + ?Sized>(
    corpus: &dyn ExampleSource,
    rng: &mut R,
) -> Result<(usize, Example), InputError> {
    let rows = corpus.answer_rows();
    if rows.is_empty() {
        return Err(InputError::NoAnswerRows);
    }
    let row = rows[rng.random_range(0..rows.len())] as usize;
    Ok((row, read_row(corpus, row)?))
}
