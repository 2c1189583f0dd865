//! Decoding without a neural network: a table of bigrams whose best texts are known.

use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use oscar_core::decode::{
    Automaton, Boundaries, ConstrainedSearch, Decoder, Draws, GenerationConfig, Hypothesis,
    SampleConfig, beam_search, constrained_search, greedy, sample,
};
use oscar_core::input::ExampleSeed;

const VOCAB: usize = 6;
const START: u32 = 0;
const END: u32 = 1;
const PAD: u32 = 2;
const BOUNDARIES: Boundaries = Boundaries {
    start: START,
    end: END,
    pad: PAD,
};
const A: u32 = 3;
const B: u32 = 4;
const C: u32 = 5;

/// Probabilities of the next word by the image and the last word alone.
///
/// | image | after the start | after A | after B | after C |
/// |---|---|---|---|---|
/// | 0 | A 0.6, B 0.4 | B 0.4, C 0.3, end 0.3 | end 1 | end 1 |
/// | 1 | C 1 | | | end 0.9, A 0.1 |
struct Bigrams {
    images: Vec<usize>,
    rows: Vec<Vec<u32>>,
    /// Numbers of rows of all calls of `next`.
    calls: Vec<usize>,
}

impl Bigrams {
    fn new(images: &[usize]) -> Self {
        Self {
            images: images.to_vec(),
            rows: vec![Vec::new(); images.len()],
            calls: Vec::new(),
        }
    }

    fn probability(image: usize, last: u32, next: u32) -> f32 {
        match (image, last, next) {
            (0, START, A) => 0.6,
            (0, START, B) => 0.4,
            (0, A, B) => 0.4,
            (0, A, C) | (0, A, END) => 0.3,
            (0, B | C, END) | (1, START, C) => 1.0,
            (1, C, END) => 0.9,
            (1, C, A) => 0.1,
            (1, A, END) => 1.0,
            _ => 0.0,
        }
    }
}

impl Decoder<Flex> for Bigrams {
    fn images(&self) -> usize {
        self.images.len()
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn device(&self) -> FlexDevice {
        FlexDevice
    }

    fn next(&mut self, tokens: &[u32]) -> Tensor<Flex, 2> {
        assert_eq!(tokens.len(), self.rows.len());
        self.calls.push(tokens.len());
        let width = self.rows.len() / self.images.len();
        let mut logits = Vec::new();
        for (at, (row, token)) in self.rows.iter_mut().zip(tokens).enumerate() {
            row.push(*token);
            let image = self.images[at / width];
            let of_word = |word| Self::probability(image, *token, word).max(1e-9).ln();
            logits.extend((0..VOCAB as u32).map(of_word));
        }
        let shape = [self.rows.len(), VOCAB];
        Tensor::from_data(TensorData::new(logits, shape), &FlexDevice)
    }

    fn select(&mut self, images: Option<&[usize]>, rows: &[usize]) {
        if let Some(images) = images {
            self.images = images.iter().map(|image| self.images[*image]).collect();
        }
        self.rows = rows.iter().map(|row| self.rows[*row].clone()).collect();
        assert!(self.rows.len().is_multiple_of(self.images.len()));
    }
}

fn assert_is(found: &Hypothesis, ids: &[u32], score: f64) {
    assert_eq!(found.ids, ids);
    assert!((found.score - score).abs() < 1e-5, "{found:?}, not {score}");
}

#[test]
fn greedy_takes_the_best_word_each_time() {
    let mut bigrams = Bigrams::new(&[0, 1]);
    let found = greedy(&mut bigrams, &GenerationConfig::greedy(6), BOUNDARIES);
    // 0.6 * 0.4 * 1 of three words, the end included; 1 * 0.9 of two.
    assert_is(&found[0], &[A, B], 0.24f64.ln() / 3.0);
    assert_is(&found[1], &[C], 0.9f64.ln() / 2.0);
    // The second image is dropped once it is done.
    assert_eq!(bigrams.calls, [2, 2, 1]);
}

#[test]
fn the_last_position_is_the_end() {
    let config = GenerationConfig::greedy(3);
    let found = greedy(&mut Bigrams::new(&[0]), &config, BOUNDARIES);
    assert_is(&found[0], &[A], 0.24f64.ln() / 2.0);
}

#[test]
fn a_beam_finds_what_greedy_misses() {
    let config = |num_beams, num_keep_best, length_penalty| GenerationConfig {
        max_length: 6,
        num_beams,
        num_keep_best,
        length_penalty,
        repetition_penalty: 1.0,
    };
    let search = |config| beam_search(&mut Bigrams::new(&[0, 1]), &config, BOUNDARIES);
    // Without a penalty the most probable text: B, of 0.4 * 1.
    let found = search(config(3, 3, 0.0));
    assert_is(&found[0][0], &[B], 0.4f64.ln());
    assert_is(&found[0][1], &[A, B], 0.24f64.ln());
    assert!(found[0].len() == 3 && found[0][1].score >= found[0][2].score);
    assert_is(&found[1][0], &[C], 0.9f64.ln());
    assert_is(&found[1][1], &[C, A], 0.1f64.ln());
    // The score is divided by the length, the start counted and the end not.
    let found = search(config(3, 1, 1.0));
    assert_is(&found[0][0], &[B], 0.4f64.ln() / 2.0);
    // The higher the penalty, the longer the text.
    let found = search(config(3, 1, 3.0));
    assert_is(&found[0][0], &[A, B], 0.24f64.ln() / 27.0);
    // A single beam cannot come back to B.
    let found = search(config(1, 1, 0.0));
    assert_is(&found[0][0], &[A, B], 0.24f64.ln());
}

#[test]
fn constraints_are_satisfied_by_the_most_probable_text_that_has_them() {
    let automata = [Automaton::new(&[vec![vec![C]]]), Automaton::unconstrained()];
    let config = ConstrainedSearch {
        max_length: 6,
        num_beams: 2,
        ..ConstrainedSearch::default()
    };
    let found = constrained_search(&mut Bigrams::new(&[0, 1]), &automata, &config, BOUNDARIES);
    let (text, satisfied) = &found[0];
    assert_is(text, &[A, C], (0.6f64 * 0.3).ln() / 3.0);
    assert_eq!(*satisfied, 1);
    assert_is(&found[1].0, &[C], 0.9f64.ln() / 2.0);
}

#[test]
fn samples_have_the_models_probabilities() {
    let rows = 2000;
    let texts = |config: &SampleConfig| {
        let mut bigrams = Bigrams::new(&[0]);
        bigrams.select(None, &vec![0; rows]);
        let seed = ExampleSeed { seed: 5, epoch: 0 };
        let draws = Draws {
            rows: (0..rows).map(|row| (seed, row)).collect(),
        };
        sample(&mut bigrams, config, BOUNDARIES, &draws).texts
    };
    let config = SampleConfig {
        max_length: 6,
        ..SampleConfig::default()
    };
    let found = texts(&config);
    let share = |ids: &[u32]| {
        let count = found.iter().filter(|text| text.ids == ids).count();
        count as f64 / rows as f64
    };
    // Four standard deviations of a share of 0.4 are 0.044.
    for (ids, wanted) in [
        (&[B][..], 0.4),
        (&[A, B], 0.24),
        (&[A, C], 0.18),
        (&[A], 0.18),
    ] {
        assert!(
            (share(ids) - wanted).abs() < 0.044,
            "{ids:?}: {}",
            share(ids)
        );
    }
    let one = found.iter().find(|text| text.ids == [B]).expect("a text");
    assert_is(one, &[B], 0.4f64.ln() / 2.0);
    // The best word alone is greedy.
    let best = SampleConfig { top_k: 1, ..config };
    assert!(texts(&best).iter().all(|text| text.ids == [A, B]));
}
