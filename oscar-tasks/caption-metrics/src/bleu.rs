//! BLEU-1 to BLEU-4 as the COCO caption evaluation computes them: over the corpus, with the length
//! of the reference that is closest to the candidate's, the shorter of two equally close.

use crate::ngrams::{MAX_ORDER, Words, counted, order};
use crate::ptb::words;

/// Guard against division by zero, as in the evaluation.
const SMALL: f64 = 1e-9;
/// Keeps products of no match above zero, as in the evaluation.
const TINY: f64 = 1e-15;

/// What BLEU knows of a candidate, or of the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BleuCounts {
    /// Words of the candidate.
    pub candidate_length: u64,
    /// Words of the closest reference.
    pub reference_length: u64,
    /// N-grams of the candidate that a reference has too, each at most as often as there.
    pub matches: [u64; MAX_ORDER],
    /// N-grams of the candidate.
    pub ngrams: [u64; MAX_ORDER],
}

impl BleuCounts {
    /// Counts of a tokenised candidate and its references; without references the length of the
    /// closest one is 0.
    pub fn of(candidate: &str, references: &[impl AsRef<str>]) -> Self {
        let mut numbers = Words::default();
        let mut read =
            |text: &str| -> Vec<u32> { words(text).map(|w| numbers.number(w)).collect() };
        let candidate = read(candidate);
        let references: Vec<Vec<u32>> = references.iter().map(|text| read(text.as_ref())).collect();
        let length = candidate.len();
        let closest = references.iter().map(Vec::len);
        let closest = closest.min_by_key(|&reference| (reference.abs_diff(length), reference));

        let counts: Vec<_> = references.iter().map(|words| counted(words)).collect();
        let mut matches = [0; MAX_ORDER];
        for (gram, count) in counted(&candidate) {
            let most = counts.iter().filter_map(|counts| {
                let found = counts.binary_search_by_key(&gram, |&(gram, _)| gram);
                found.ok().map(|at| counts[at].1)
            });
            matches[order(gram)] += u64::from(count.min(most.max().unwrap_or(0)));
        }
        Self {
            candidate_length: length as u64,
            reference_length: closest.unwrap_or(0) as u64,
            matches,
            ngrams: std::array::from_fn(|n| length.saturating_sub(n) as u64),
        }
    }

    /// Both taken together.
    pub fn plus(mut self, other: &Self) -> Self {
        self.candidate_length += other.candidate_length;
        self.reference_length += other.reference_length;
        for n in 0..MAX_ORDER {
            self.matches[n] += other.matches[n];
            self.ngrams[n] += other.ngrams[n];
        }
        self
    }

    /// BLEU-1 to BLEU-4 of these counts.
    pub fn scores(&self) -> [f64; MAX_ORDER] {
        let ratio = (self.candidate_length as f64 + TINY) / (self.reference_length as f64 + SMALL);
        let brevity = if ratio < 1.0 {
            (1.0 - 1.0 / ratio).exp()
        } else {
            1.0
        };
        let mut product = 1.0;
        std::array::from_fn(|n| {
            product *= (self.matches[n] as f64 + TINY) / (self.ngrams[n] as f64 + SMALL);
            f64::powf(product, 1.0 / (n + 1) as f64) * brevity
        })
    }
}
