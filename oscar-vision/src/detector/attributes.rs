//! The attributes of boxes from their logits.

use super::boxes::descending;
use super::config::{DetectorConfig, Flavour, SelectionConfig};
use super::select::{maximum, softmax};

/// An attribute: its position in the list of names, which has no "none", and its score.
pub type ScoredAttribute = (usize, f32);

/// The attributes of boxes from their logits `[boxes, attributes + 1]`, the best first.
///
/// Frcnn: the best one, by a softmax without "none" (the last). VinVL: by a softmax with "none"
/// (the first), those above the threshold.
#[must_use]
pub fn attributes(config: &DetectorConfig, logits: &[f32]) -> Vec<Vec<ScoredAttribute>> {
    let columns = config.heads.attributes + 1;
    match config.flavour {
        Flavour::Frcnn => {
            let rows = logits.chunks_exact(columns);
            let best = rows.map(|row| {
                let row = &row[..columns - 1];
                vec![maximum(&softmax(row, columns - 1))]
            });
            best.collect()
        }
        Flavour::Vinvl => several_attributes(&config.selection, logits, columns),
    }
}

fn several_attributes(
    config: &SelectionConfig,
    logits: &[f32],
    columns: usize,
) -> Vec<Vec<ScoredAttribute>> {
    let mut scores = softmax(logits, columns);
    for row in scores.chunks_exact_mut(columns) {
        row[0] = 0.0;
        for score in row.iter_mut().filter(|s| **s <= config.attribute_threshold) {
            *score = 0.0;
        }
    }
    // The reference means to keep so many scores of a picture, but counts from the smallest of all
    // scores, most of which are 0: at the usual sizes this removes nothing.
    let positive = scores.iter().filter(|score| **score > 0.0).count();
    if config.attributes_per_picture > 0 && positive > config.attributes_per_picture {
        let mut sorted = scores.clone();
        sorted.sort_by(f32::total_cmp);
        let least = sorted[positive - config.attributes_per_picture];
        for score in scores.iter_mut().filter(|score| **score < least) {
            *score = 0.0;
        }
    }
    let rows = scores.chunks_exact(columns).map(|row| {
        let best = descending(row).into_iter().take(config.attributes_per_box);
        let named = best.filter(|at| row[*at] > 0.0).map(|at| (at - 1, row[at]));
        named.collect()
    });
    rows.collect()
}
