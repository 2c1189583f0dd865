//! CIDEr-D: consensus of a caption with its references, each n-gram weighed by how few images have
//! it.
//!
//! The COCO caption evaluation prints this as CIDEr, with the document frequencies of the references
//! that are evaluated; SCST takes it as the reward, with frequencies of the training set from a
//! file. For each order from 1 to 4: the cosine of the tf-idf vectors, the candidate's weights
//! clipped to the reference's, times a Gaussian of the difference in length; then the mean over
//! orders and references, times ten. "Length" is the number of bigrams, as in the official code.

use foldhash::HashMap;
use rayon::prelude::*;

use crate::df::DocumentFrequencies;
use crate::ngrams::{Gram, MAX_ORDER, Words, counted, order};
use crate::ptb::{is_space, words};

/// Standard deviation of the penalty for length, in words.
const SIGMA: f64 = 6.0;

/// What to say of a CIDEr of weightless references.
pub const WEIGHTLESS: &str = "CIDEr is 0 whatever the captions are: it weighs words by how few images \
    have them in their references, and with one image, or where all images have the same references, \
    no word weighs anything";

/// Scores captions against references whose vectors are computed once.
///
/// Texts are split at white space: give [`caption`](crate::ptb::caption)s for the evaluation's
/// CIDEr, [`scst_text`]s for the reward.
#[derive(Debug)]
pub struct CiderD {
    words: Words,
    /// N-grams that a reference or the frequencies have, numbered.
    grams: HashMap<Gram, u32>,
    /// Inverse document frequency by number.
    idf: Vec<f64>,
    /// That of n-grams that no image has.
    idf_unseen: f64,
    references: Vec<Vec<Vector>>,
}

/// A caption's n-grams by order.
#[derive(Debug, Default)]
struct Vector {
    /// Numbers of n-grams, ascending, and how often each is in the caption.
    counts: [Vec<(u32, u32)>; MAX_ORDER],
    /// Lengths of the tf-idf vectors.
    norms: [f64; MAX_ORDER],
    bigrams: f64,
}

impl CiderD {
    /// A scorer for images with these references each.
    pub fn new<R, T>(frequencies: DocumentFrequencies, references: &[R]) -> Self
    where
        R: AsRef<[T]>,
        T: AsRef<str>,
    {
        let DocumentFrequencies {
            mut words,
            counts,
            images,
        } = frequencies;
        let idf_unseen = images.ln();
        let mut idf = Vec::with_capacity(counts.len());
        // In an order of their own: sums of floats, and so rewards, are the same in every run.
        let mut counts: Vec<(Gram, f64)> = counts.into_iter().collect();
        counts.sort_unstable_by_key(|&(gram, _)| gram);
        let known = counts.into_iter().map(|(gram, count)| {
            idf.push(idf_unseen - count.max(1.0).ln());
            (gram, (idf.len() - 1) as u32)
        });
        let mut grams: HashMap<Gram, u32> = known.collect();
        // Numbered one after the other; what costs time, the vectors, follows in parallel.
        let numbered: Vec<Vec<Vec<(Gram, u32)>>> = references
            .iter()
            .map(|texts| {
                let texts = texts.as_ref().iter();
                texts
                    .map(|text| {
                        let text = crate::ptb::words(text.as_ref());
                        let numbers: Vec<u32> = text.map(|word| words.number(word)).collect();
                        let counts = counted(&numbers);
                        for &(gram, _) in &counts {
                            grams.entry(gram).or_insert_with(|| {
                                idf.push(idf_unseen);
                                (idf.len() - 1) as u32
                            });
                        }
                        counts
                    })
                    .collect()
            })
            .collect();
        let mut scorer = Self {
            words,
            grams,
            idf,
            idf_unseen,
            references: Vec::new(),
        };
        scorer.references = numbered
            .par_iter()
            .map(|texts| texts.iter().map(|counts| scorer.vector(counts)).collect())
            .collect();
        scorer
    }

    /// Whether no n-gram of the references weighs anything, so that every score is 0: each is in the
    /// references of every image, as with one image alone.
    pub fn is_weightless(&self) -> bool {
        !self.idf.is_empty() && self.idf.iter().all(|weight| *weight == 0.0)
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.references.len()
    }

    /// CIDEr-D of one candidate per image, in their order. Runs on rayon's threads.
    ///
    /// # Panics
    ///
    /// If there are not as many candidates as images.
    pub fn score<T: AsRef<str> + Sync>(&self, candidates: &[T]) -> Vec<f64> {
        assert_eq!(candidates.len(), self.images(), "one candidate per image");
        let images = candidates.par_iter().enumerate();
        images
            .map(|(image, candidate)| self.score_one(image, candidate.as_ref()))
            .collect()
    }

    /// CIDEr-D of any number of candidates, each of the image of a number. Runs on rayon's threads.
    ///
    /// # Panics
    ///
    /// If an image number is out of range.
    pub fn score_each<T: AsRef<str> + Sync>(&self, candidates: &[(usize, T)]) -> Vec<f64> {
        candidates
            .par_iter()
            .map(|(image, candidate)| self.score_one(*image, candidate.as_ref()))
            .collect()
    }

    /// CIDEr-D of a candidate for an image; 0 if the image has no references.
    fn score_one(&self, image: usize, candidate: &str) -> f64 {
        let references = &self.references[image];
        if references.is_empty() {
            return 0.0;
        }
        let candidate = self.vector(&counted(&self.words.lookup(words(candidate))));
        let similar = |reference: &Vector| self.similarity(&candidate, reference);
        let sum: f64 = references.iter().map(similar).sum();
        sum / references.len() as f64 * 10.0
    }

    fn vector(&self, counts: &[(Gram, u32)]) -> Vector {
        let mut vector = Vector::default();
        for &(gram, count) in counts {
            let number = self.grams.get(&gram);
            let idf = number.map_or(self.idf_unseen, |&number| self.idf[number as usize]);
            let order = order(gram);
            vector.norms[order] += (f64::from(count) * idf).powi(2);
            if order == 1 {
                vector.bigrams += f64::from(count);
            }
            // N-grams that no reference has count for the norm alone.
            if let Some(&number) = number {
                vector.counts[order].push((number, count));
            }
        }
        for counts in &mut vector.counts {
            counts.sort_unstable();
        }
        vector.norms = vector.norms.map(f64::sqrt);
        vector
    }

    /// Mean over the orders.
    fn similarity(&self, candidate: &Vector, reference: &Vector) -> f64 {
        let difference = candidate.bigrams - reference.bigrams;
        let penalty = (-difference * difference / (2.0 * SIGMA * SIGMA)).exp();
        let cosine = |n: usize| {
            let norms = candidate.norms[n] * reference.norms[n];
            let product = self.clipped(&candidate.counts[n], &reference.counts[n]);
            if norms == 0.0 {
                product
            } else {
                product / norms
            }
        };
        (0..MAX_ORDER).map(|n| cosine(n) * penalty).sum::<f64>() / MAX_ORDER as f64
    }

    /// Product of two vectors, the candidate's weights at most the reference's.
    fn clipped(&self, candidate: &[(u32, u32)], reference: &[(u32, u32)]) -> f64 {
        let mut rest = reference.iter().peekable();
        let mut sum = 0.0;
        for &(number, count) in candidate {
            while rest.next_if(|&&(other, _)| other < number).is_some() {}
            if let Some(&&(_, other)) = rest.peek().filter(|(other, _)| *other == number) {
                let idf = self.idf[number as usize];
                let (candidate, reference) = (f64::from(count) * idf, f64::from(other) * idf);
                sum += candidate.min(reference) * reference;
            }
        }
        sum
    }
}

/// The form in which SCST compares captions: without blanks around it and without one final full
/// stop, then `<eos>`. Nothing is tokenised or made lower case.
pub fn scst_text(caption: &str) -> String {
    let caption = caption.trim_matches(is_space);
    format!("{} <eos>", caption.strip_suffix('.').unwrap_or(caption))
}
