//! Lengths of the rows of a benchmark.
//!
//! `--lengths real` samples them from the ranges of COCO, VQA and Visual Genome with a BERT vocabulary
//! and regions of the bottom-up-attention detector:
//!
//! | | text A, pieces | text B, pieces | regions |
//! |---|---|---|---|
//! | pre-training, 7 of 10 rows | caption, 9 to 15 | tags, 10 to 29 | 10 to 50 |
//! | pre-training, 3 of 10 rows | question, 6 to 12 | answer, 1 to 3 | 10 to 50 |
//! | VQA | question, 6 to 12 | tags, 4 to 12 | 10 to 50 |
//! | retrieval, each image | | tags, 10 to 29 | 10 to 50 |
//! | retrieval, each caption | 9 to 15 | | |
//! | captions | | tags, 10 to 29 | 10 to 50 |
//!
//! each uniformly, one number after the other from [`Random`]. After truncation to 35 text positions a
//! pre-training row has 57 positions on average, as in the official corpora.
//!
//! `benches/pytorch/lengths.py` does the same in Python; keep both equal.

use oscar_core::input::PaddingConfig;
use oscar_core::ops::mix;

use super::Work;

/// Seed of the lengths.
const SEED: u64 = 2020;

/// Text pieces (without `[CLS]` and `[SEP]`s) and regions of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Caption or question.
    pub text_a: usize,
    /// Tags or answer.
    pub text_b: usize,
    /// Regions.
    pub regions: usize,
}

impl Row {
    /// Text positions of `[CLS] A [SEP] B [SEP]`, at most `longest`.
    pub fn text(&self, longest: usize) -> usize {
        (self.text_a + self.text_b + 3).min(longest)
    }
}

/// The lengths of all rows of a work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// Every row has these text positions and regions: nothing is padded.
    Fixed { text: usize, regions: usize },
    /// Sampled as in real data.
    Real,
}

impl Lengths {
    /// Most text positions and regions of a row, as in the published recipe.
    pub fn limits(self, work: Work) -> (usize, usize) {
        match self {
            Self::Fixed { text, regions } => (text, regions),
            Self::Real => match work {
                Work::Pretrain => (35, 50),
                Work::Vqa => (128, 50),
                Work::Retrieval => (70, 50),
                _ => (30, 50),
            },
        }
    }

    /// The default padding of recipes for real lengths; none for fixed ones.
    pub fn padding(self) -> PaddingConfig {
        match self {
            Self::Fixed { .. } => PaddingConfig {
                pad_multiple: 1,
                ..PaddingConfig::default()
            },
            Self::Real => PaddingConfig::default(),
        }
    }

    /// The first `count` rows of a work.
    pub fn rows(self, work: Work, count: usize) -> Vec<Row> {
        let mut random = Random::new(SEED);
        (0..count).map(|_| self.row(work, &mut random)).collect()
    }

    fn row(self, work: Work, random: &mut Random) -> Row {
        let (text_a, text_b) = match (self, work) {
            (Self::Fixed { text, .. }, Work::Caption) => (0, text - 1),
            (Self::Fixed { text, .. }, _) => ((text - 3).div_ceil(2), (text - 3) / 2),
            (Self::Real, Work::Pretrain) => match random.between(1, 10) {
                1..=3 => (random.between(6, 12), random.between(1, 3)),
                _ => (random.between(9, 15), random.between(10, 29)),
            },
            (Self::Real, Work::Vqa) => (random.between(6, 12), random.between(4, 12)),
            (Self::Real, _) => (0, random.between(10, 29)),
        };
        let regions = match self {
            Self::Fixed { regions, .. } => regions,
            Self::Real => random.between(10, 50),
        };
        Row {
            text_a,
            text_b,
            regions,
        }
    }

    /// Some groups of images (text B and regions) with some captions (text A) each, for retrieval.
    pub fn groups(self, groups: usize, images: usize, captions: usize) -> Vec<Vec<Captioned>> {
        let mut random = Random::new(SEED);
        let caption = |random: &mut Random| match self {
            Self::Fixed { .. } => self.row(Work::Retrieval, random).text_a,
            Self::Real => random.between(9, 15),
        };
        let image = |random: &mut Random| Captioned {
            image: self.row(Work::Retrieval, random),
            captions: (0..captions).map(|_| caption(random)).collect(),
        };
        (0..groups)
            .map(|_| (0..images).map(|_| image(&mut random)).collect())
            .collect()
    }
}

/// An image and the pieces of its captions.
#[derive(Clone, Debug)]
pub struct Captioned {
    pub image: Row,
    pub captions: Vec<usize>,
}

/// SplitMix64, which is a few lines in any language: a seed and the number of values drawn so far.
struct Random {
    seed: u64,
    drawn: u64,
}

impl Random {
    fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    fn next(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.seed, self.drawn - 1)
    }

    /// A number from `least` to `most`.
    fn between(&mut self, least: usize, most: usize) -> usize {
        least + (self.next() % (most - least + 1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_those_of_splitmix64() {
        // The published test vector of seed 1234567.
        let mut random = Random::new(1_234_567);
        let found = [random.next(), random.next(), random.next()];
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn pretraining_rows_are_as_long_as_the_official_corpora_say() {
        let (longest, most) = Lengths::Real.limits(Work::Pretrain);
        let rows = Lengths::Real.rows(Work::Pretrain, 20_000);
        let total: usize = rows.iter().map(|row| row.text(longest) + row.regions).sum();
        let mean = total as f64 / rows.len() as f64;
        assert!((56.0..58.0).contains(&mean), "{mean}");
        assert!(rows.iter().all(|row| row.regions <= most));
    }

    #[test]
    fn fixed_rows_fill_their_positions() {
        let lengths = Lengths::Fixed {
            text: 34,
            regions: 7,
        };
        for work in [Work::Pretrain, Work::Vqa] {
            let row = lengths.rows(work, 1)[0];
            assert_eq!((row.text(34), row.regions), (34, 7));
            assert_eq!(row.text_a + row.text_b + 3, 34);
        }
        assert_eq!(lengths.rows(Work::Caption, 1)[0].text_b, 33);
    }
}
