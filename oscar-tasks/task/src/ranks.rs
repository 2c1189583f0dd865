//! Ranks of images and captions that are to be found by each other, and what is reported of them.
//!
//! | rank, from 0 | is |
//! |---|---|
//! | of an image | the position of its first own caption among the captions, by falling score |
//! | of a caption | the position of its own image among the images |
//!
//! as the official evaluation has them, but for ties: equal scores count against the model. There
//! their order is that of a sort that is not stable, and a model that scores all pairs alike would
//! find by luck.

/// Recall is reported at these.
pub const CUTS: [usize; 3] = [1, 5, 10];

/// The rank of the first right one of `candidates` (score, whether it is right): how many wrong ones
/// score at least as high as the best right one. All of them, if none is right.
pub fn rank_of_first(candidates: impl Iterator<Item = (f32, bool)> + Clone) -> usize {
    let right = candidates.clone().filter(|(_, right)| *right);
    let best = right.map(|(score, _)| score).max_by(f32::total_cmp);
    let wrong = candidates.filter(|(_, right)| !right);
    match best {
        // A score that is no number is never below.
        Some(best) => wrong.filter(|(score, _)| !is_below(*score, best)).count(),
        None => wrong.count(),
    }
}

fn is_below(a: f32, b: f32) -> bool {
    a.partial_cmp(&b) == Some(std::cmp::Ordering::Less)
}

/// Ranks of all images among `scores`, `[images, width]` row by row; `own(image, column)` says whether
/// the caption in that column is the image's.
pub fn image_ranks(scores: &[f32], width: usize, own: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let rows = scores.chunks_exact(width.max(1)).enumerate();
    rows.map(|(image, row)| {
        let candidates = row.iter().enumerate();
        rank_of_first(candidates.map(|(column, score)| (*score, own(image, column))))
    })
    .collect()
}

/// Ranks of all captions among `scores`, `[images, captions]` row by row; `image_of` says whose a
/// caption is.
pub fn caption_ranks(scores: &[f32], image_of: &[usize]) -> Vec<usize> {
    let width = image_of.len().max(1);
    let own = image_of
        .iter()
        .enumerate()
        .map(|(caption, image)| scores.get(image * width + caption).copied())
        .map(|score| score.unwrap_or(f32::NAN))
        .collect();
    let mut ranks = CaptionRanks::new(image_of, own);
    for (image, row) in scores.chunks_exact(width).enumerate() {
        ranks.add(image, row);
    }
    ranks.finish()
}

/// Ranks of all captions among scores that are given image by image, so that there need never be all
/// of them.
pub struct CaptionRanks<'a> {
    image_of: &'a [usize],
    own: Vec<f32>,
    ranks: Vec<usize>,
}

impl<'a> CaptionRanks<'a> {
    /// No image is counted yet: `image_of` says whose a caption is, `own` is its score with that image.
    pub fn new(image_of: &'a [usize], own: Vec<f32>) -> Self {
        Self {
            image_of,
            own,
            ranks: vec![0; image_of.len()],
        }
    }

    /// Counts the scores of `image` with all captions.
    pub fn add(&mut self, image: usize, scores: &[f32]) {
        let captions = self.ranks.iter_mut().zip(&self.own).zip(self.image_of);
        for (((rank, own), own_image), score) in captions.zip(scores) {
            *rank += usize::from(image != *own_image && !is_below(*score, *own));
        }
    }

    /// The ranks.
    pub fn finish(self) -> Vec<usize> {
        self.ranks
    }
}

/// Recalls and the median rank of a direction under the names that evaluations report them by:
/// `i2t_R@1`, ….
pub fn named(direction: &str, ranks: &[usize]) -> Vec<(String, f64)> {
    let recalls = CUTS.map(|cut| (format!("{direction}_R@{cut}"), recall(ranks, cut)));
    let median = median_rank(ranks) as f64;
    let mut named = Vec::from(recalls);
    named.push((format!("{direction}_median_rank"), median));
    named
}

/// Share of `ranks` below `cut`.
pub fn recall(ranks: &[usize], cut: usize) -> f64 {
    let found = ranks.iter().filter(|rank| **rank < cut).count();
    found as f64 / ranks.len().max(1) as f64
}

/// The median rank, counted from 1 as it is published; the lower one of two.
pub fn median_rank(ranks: &[usize]) -> usize {
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).map_or(0, |rank| rank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_by_definition() {
        // Two images with two captions each.
        let scores = [0.9, 0.1, 0.95, 0.2, 0.8, 0.3, 0.7, 0.6];
        let image_of = [0, 0, 1, 1];
        let own = |image: usize, column: usize| image_of[column] == image;
        assert_eq!(image_ranks(&scores, 4, own), [1, 1]);
        assert_eq!(caption_ranks(&scores, &image_of), [0, 1, 1, 0]);
    }

    #[test]
    fn ties_and_nan_count_against_the_model() {
        let even = [0.5; 8];
        let image_of = [0, 0, 1, 1];
        let own = |image: usize, column: usize| image_of[column] == image;
        assert_eq!(image_ranks(&even, 4, own), [2, 2]);
        assert_eq!(caption_ranks(&even, &image_of), [1; 4]);
        let nan = [f32::NAN; 8];
        assert_eq!(image_ranks(&nan, 4, own), [2, 2]);
        assert_eq!(caption_ranks(&nan, &image_of), [1; 4]);
    }

    #[test]
    fn without_a_right_candidate_the_rank_is_their_number() {
        assert_eq!(rank_of_first([(0.5, false); 20].into_iter()), 20);
    }

    #[test]
    fn what_is_reported() {
        let ranks = [0, 3, 4, 5, 12];
        assert_eq!(CUTS.map(|cut| recall(&ranks, cut)), [0.2, 0.6, 0.8]);
        assert_eq!(median_rank(&ranks), 5);
        assert_eq!(median_rank(&[0, 3]), 1);
        assert_eq!((recall(&[], 1), median_rank(&[])), (0.0, 0));
    }
}
