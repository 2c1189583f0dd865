//! Decoding: the cache changes nothing, nor does the batch.

use std::sync::Arc;

use burn_flex::{Flex, FlexDevice};
use oscar_core::config::ModelConfig;
use oscar_core::decode::{
    Automaton, ConstrainedSearch, Decoder, Draws, GenerationConfig, Hypothesis, SampleConfig,
    beam_search, constrained_search, greedy, sample,
};
use oscar_core::input::{
    BOX_VALUES, CaptionEncoder, EncodedSequence, ExampleSeed, OscarInput, PaddingConfig,
    RegionHandle, RegionSource, SequenceConfig, SequenceEncoder, SourceError, SpecialIds,
    Tokenizer,
};
use oscar_core::model::{CaptionSteps, OscarForCaptioning, initialize};
use oscar_tests::UncachedSteps;

const IMAGES: usize = 8;

/// Appearance values per region.
const APPEARANCE: usize = 4;

const WORDS: &[&str] = &[
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "green", "dog", "cat",
    "bird", "on", "grass", "sits", "tree", "sky", "two", "dogs", "##s",
];

/// Images of 0 to 7 regions; the first has nothing at all.
struct Regions;

impl RegionSource for Regions {
    fn region_dim(&self) -> usize {
        APPEARANCE + BOX_VALUES
    }

    fn num_regions(&self, row: usize) -> Result<usize, SourceError> {
        Ok(row)
    }

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> Result<(), SourceError> {
        for (region, values) in out.chunks_mut(self.region_dim()).enumerate() {
            for (at, value) in values[..APPEARANCE].iter_mut().enumerate() {
                *value = (((region * APPEARANCE + at) * 7 + row * 13) % 11) as f32 / 3.0 - 1.4;
            }
            values[APPEARANCE..].copy_from_slice(&[0.0, 0.0, 0.5, 0.5, 0.5, 0.5]);
        }
        Ok(())
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_vocab(WORDS.iter().map(|word| word.to_string()).collect()).unwrap()
}

fn special() -> SpecialIds {
    tokenizer().special()
}

/// A captioner that has learned nothing.
fn model(seed: u64) -> OscarForCaptioning<Flex> {
    let config = ModelConfig {
        vocab_size: WORDS.len(),
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 64,
        max_position_embeddings: 64,
        // Large, so that words differ in their scores.
        initializer_range: 0.4,
        img_feature_dim: APPEARANCE + BOX_VALUES,
        ..ModelConfig::base()
    };
    let model = OscarForCaptioning::new(&config, &FlexDevice);
    initialize(&model, &FlexDevice, seed);
    model
}

/// Images to describe in up to 10 tokens, with as many tags as regions.
fn contexts(images: &[usize]) -> OscarInput<Flex> {
    let config = SequenceConfig {
        max_seq_length: 24,
        max_regions: 6,
        ..SequenceConfig::default()
    };
    let sequences =
        SequenceEncoder::new(Arc::new(tokenizer()), config, PaddingConfig::default()).unwrap();
    let encoder = CaptionEncoder::new(sequences, 12, Default::default()).unwrap();
    let context = |image: &usize| {
        let tags: Vec<u32> = (0..*image)
            .map(|tag| 5 + ((tag + image) % 11) as u32)
            .collect();
        let regions = RegionHandle::new(Arc::new(Regions), *image).unwrap();
        encoder.encode_context(image.to_string(), &tags, &regions)
    };
    let rows: Vec<EncodedSequence> = images.iter().map(context).collect();
    encoder.batch_contexts(&rows, 10, &FlexDevice).unwrap()
}

/// A way to decode, with the cache or without.
#[derive(Clone, Copy)]
enum Way {
    Cached,
    Uncached,
}

fn decoder<'a>(
    model: &'a OscarForCaptioning<Flex>,
    images: &[usize],
    way: Way,
) -> Box<dyn Decoder<Flex> + 'a> {
    let (context, mask) = (contexts(images), special().mask);
    match way {
        Way::Cached => Box::new(CaptionSteps::new(model, context, mask)),
        Way::Uncached => Box::new(UncachedSteps::new(model, context, mask)),
    }
}

/// A model that has learned nothing rarely gives `[SEP]`: here its most frequent word ends a caption.
fn ending(model: &OscarForCaptioning<Flex>) -> SpecialIds {
    let images: Vec<usize> = (0..IMAGES).collect();
    let mut decoder = decoder(model, &images, Way::Cached);
    let captions = greedy(&mut *decoder, &GenerationConfig::greedy(10), special());
    let words = || {
        captions
            .iter()
            .flat_map(|caption| caption.ids.iter().skip(2))
    };
    let count = |word: &u32| words().filter(|other| *other == word).count();
    SpecialIds {
        sep: *words().max_by_key(|word| count(word)).unwrap(),
        ..special()
    }
}

/// Every way of decoding, and what it gives for `images`.
fn all(
    model: &OscarForCaptioning<Flex>,
    images: &[usize],
    way: Way,
) -> Vec<(String, Vec<Vec<Hypothesis>>)> {
    let special = ending(model);
    let decoder = || decoder(model, images, way);
    let one =
        |captions: Vec<Hypothesis>| captions.into_iter().map(|caption| vec![caption]).collect();
    let mut found = Vec::new();
    for penalty in [1.0, 1.7] {
        let config = GenerationConfig {
            repetition_penalty: penalty,
            ..GenerationConfig::greedy(10)
        };
        let captions = greedy(&mut *decoder(), &config, special);
        found.push((format!("greedy, repetition {penalty}"), one(captions)));
    }
    for (beams, keep, penalty) in [(2, 1, 1.0), (3, 3, 0.0), (5, 2, 1.5)] {
        let config = GenerationConfig {
            max_length: 10,
            num_beams: beams,
            num_keep_best: keep,
            length_penalty: penalty,
            repetition_penalty: 1.0,
        };
        let captions = beam_search(&mut *decoder(), &config, special);
        found.push((format!("{config:?}"), captions));
    }
    let automata: Vec<Automaton> = images.iter().map(|image| automaton(*image)).collect();
    for beams in [1, 3] {
        let config = ConstrainedSearch {
            max_length: 10,
            num_beams: beams,
            ..ConstrainedSearch::default()
        };
        let captions = constrained_search(&mut *decoder(), &automata, &config, special);
        let captions = captions.into_iter().map(|(caption, _)| caption).collect();
        found.push((format!("{config:?}"), one(captions)));
    }
    for (top_k, top_p) in [(0, 1.0), (4, 1.0), (0, 0.8)] {
        let config = SampleConfig {
            max_length: 10,
            temperature: 0.7,
            top_k,
            top_p,
            repetition_penalty: 1.2,
        };
        let seed = ExampleSeed { seed: 7, epoch: 1 };
        let draws = Draws {
            rows: images.iter().map(|image| (seed, *image)).collect(),
        };
        let sampled = sample(&mut *decoder(), &config, special, &draws);
        found.push((format!("{config:?}"), one(sampled.texts)));
    }
    found
}

/// None, one and two constraints, one of them of two tokens, by the number of the image.
fn automaton(image: usize) -> Automaton {
    let dog = vec![vec![9, 18]];
    let sky = vec![vec![16], vec![12]];
    match image % 3 {
        0 => Automaton::unconstrained(),
        1 => Automaton::new(&[dog]),
        _ => Automaton::new(&[dog, sky]),
    }
}

fn assert_same(what: &str, found: &[Vec<Hypothesis>], wanted: &[Vec<Hypothesis>]) {
    assert_eq!(found.len(), wanted.len());
    for (image, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let ids = |captions: &[Hypothesis]| -> Vec<Vec<u32>> {
            captions.iter().map(|caption| caption.ids.clone()).collect()
        };
        assert_eq!(ids(found), ids(wanted), "{what}, image {image}");
        for (found, wanted) in found.iter().zip(wanted) {
            let difference = (found.score - wanted.score).abs();
            assert!(
                difference < 1e-4,
                "{what}, image {image}: {found:?}, {wanted:?}"
            );
        }
    }
}

#[test]
fn the_cache_changes_nothing() {
    let images: Vec<usize> = (0..IMAGES).collect();
    for seed in 0..4 {
        let model = model(seed);
        let cached = all(&model, &images, Way::Cached);
        let plain = all(&model, &images, Way::Uncached);
        for ((what, cached), (_, plain)) in cached.iter().zip(&plain) {
            assert_same(what, cached, plain);
        }
    }
}

#[test]
fn images_of_a_batch_do_not_touch_each_other() {
    let images: Vec<usize> = (0..IMAGES).rev().collect();
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 5..9 {
        let model = model(seed);
        let together = all(&model, &images, Way::Cached);
        let alone: Vec<_> = images
            .iter()
            .map(|image| all(&model, &[*image], Way::Cached))
            .collect();
        for (number, (what, together)) in together.iter().enumerate() {
            let alone: Vec<Vec<Hypothesis>> = alone
                .iter()
                .map(|found| found[number].1[0].clone())
                .collect();
            assert_same(what, together, &alone);
            lengths.extend(together.iter().map(|captions| captions[0].ids.len()));
        }
    }
    // Captions end at different steps, so that images were dropped from the batch.
    assert!(lengths.len() > 4, "{lengths:?}");
}

#[test]
fn beams_find_what_is_likelier() {
    let images: Vec<usize> = (0..IMAGES).collect();
    // The mean over models and images: of one image, more beams may find less.
    let search = |beams| {
        let config = GenerationConfig {
            max_length: 10,
            num_beams: beams,
            ..GenerationConfig::default()
        };
        let best = |seed| {
            let model = model(seed);
            let mut decoder = decoder(&model, &images, Way::Cached);
            let found = beam_search(&mut *decoder, &config, special());
            found.iter().map(|captions| captions[0].score).sum::<f64>()
        };
        (0..8).map(best).sum::<f64>() / (8 * IMAGES) as f64
    };
    let [one, six] = [1, 6].map(search);
    assert!(six > one + 0.02, "{six} of six beams, {one} of one");
}

#[test]
fn constrained_captions_have_their_words() {
    let images: Vec<usize> = (0..IMAGES).collect();
    let model = model(2);
    let automata: Vec<Automaton> = images.iter().map(|image| automaton(*image)).collect();
    let mut decoder = decoder(&model, &images, Way::Cached);
    let config = ConstrainedSearch {
        max_length: 10,
        ..ConstrainedSearch::default()
    };
    let found = constrained_search(&mut *decoder, &automata, &config, special());
    for (image, (caption, satisfied)) in found.iter().enumerate() {
        let ids = &caption.ids;
        let dog = ids.iter().any(|id| [9, 18].contains(id));
        let sky = ids.windows(2).any(|pair| pair == [16, 12]);
        let wanted = image % 3;
        assert_eq!(*satisfied, wanted, "image {image}: {ids:?}");
        assert!(wanted < 1 || dog, "image {image}: {ids:?}");
        assert!(wanted < 2 || sky, "image {image}: {ids:?}");
    }
}

#[test]
fn draws_follow_the_seed() {
    let model = model(1);
    let draw = |seed, epoch| {
        let draws = Draws {
            rows: (0..IMAGES)
                .map(|image| (ExampleSeed { seed, epoch }, image))
                .collect(),
        };
        let images: Vec<usize> = (0..IMAGES).collect();
        let mut decoder = decoder(&model, &images, Way::Cached);
        let config = SampleConfig {
            max_length: 10,
            ..SampleConfig::default()
        };
        sample(&mut *decoder, &config, special(), &draws).texts
    };
    assert_eq!(draw(1, 0), draw(1, 0));
    assert_ne!(draw(1, 0), draw(1, 1));
    assert_ne!(draw(1, 0), draw(2, 0));
}
