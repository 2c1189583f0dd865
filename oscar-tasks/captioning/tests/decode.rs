//! Decoding: the cache changes nothing, nor does the batch.

mod common;

use burn_flex::Flex;
use common::{Place, contexts, model, open, special};
use oscar_captioning::CaptionData;
use oscar_captioning::decode::{
    Automaton, Caption, ConstrainedSearch, Draws, GenerationConfig, SampleConfig, beam_search,
    constrained_search, greedy, sample,
};
use oscar_core::input::{ExampleSeed, SpecialIds};
use oscar_core::model::{CaptionSteps, OscarForCaptioning, Stepping};
use oscar_task::Role;

const IMAGES: usize = 8;

/// Images of 0 to 7 regions and as many tags; the first has nothing at all.
fn data(place: &Place) -> CaptionData {
    open(&place.split(&place.rows(IMAGES)), Role::Evaluate).unwrap()
}

fn steps<'a>(
    model: &'a OscarForCaptioning<Flex>,
    data: &CaptionData,
    images: &[usize],
    way: Stepping,
) -> CaptionSteps<'a, Flex> {
    CaptionSteps::new(model, contexts(data, images), special().mask, way)
}

/// What has learned nothing rarely says `[SEP]`: here the word that it says most ends a caption.
fn ending(model: &OscarForCaptioning<Flex>, data: &CaptionData) -> SpecialIds {
    let images: Vec<usize> = (0..IMAGES).collect();
    let steps = steps(model, data, &images, Stepping::Cached);
    let captions = greedy(steps, &GenerationConfig::greedy(10), special());
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
    data: &CaptionData,
    images: &[usize],
    way: Stepping,
) -> Vec<(String, Vec<Vec<Caption>>)> {
    let special = ending(model, data);
    let steps = || steps(model, data, images, way);
    let one = |captions: Vec<Caption>| captions.into_iter().map(|caption| vec![caption]).collect();
    let mut found = Vec::new();
    for penalty in [1.0, 1.7] {
        let config = GenerationConfig {
            repetition_penalty: penalty,
            ..GenerationConfig::greedy(10)
        };
        let captions = greedy(steps(), &config, special);
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
        let captions = beam_search(steps(), &config, special, false);
        found.push((format!("{config:?}"), captions));
    }
    let automata: Vec<Automaton> = images.iter().map(|image| automaton(*image)).collect();
    for beams in [1, 3] {
        let config = ConstrainedSearch {
            max_length: 10,
            num_beams: beams,
            ..ConstrainedSearch::default()
        };
        let captions = constrained_search(steps(), &automata, &config, special);
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
        let sampled = sample(steps(), &config, special, &draws);
        found.push((format!("{config:?}"), one(sampled.captions)));
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

fn assert_same(what: &str, found: &[Vec<Caption>], wanted: &[Vec<Caption>]) {
    assert_eq!(found.len(), wanted.len());
    for (image, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let ids = |captions: &[Caption]| -> Vec<Vec<u32>> {
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
    let place = Place::new(IMAGES);
    let data = data(&place);
    let images: Vec<usize> = (0..IMAGES).collect();
    for seed in 0..4 {
        let model = model(seed);
        let cached = all(&model, &data, &images, Stepping::Cached);
        let plain = all(&model, &data, &images, Stepping::Uncached);
        for ((what, cached), (_, plain)) in cached.iter().zip(&plain) {
            assert_same(what, cached, plain);
        }
    }
}

#[test]
fn images_of_a_batch_do_not_touch_each_other() {
    let place = Place::new(IMAGES);
    let data = data(&place);
    let images: Vec<usize> = (0..IMAGES).rev().collect();
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 5..9 {
        let model = model(seed);
        let together = all(&model, &data, &images, Stepping::Cached);
        let alone: Vec<_> = images
            .iter()
            .map(|image| all(&model, &data, &[*image], Stepping::Cached))
            .collect();
        for (number, (what, together)) in together.iter().enumerate() {
            let alone: Vec<Vec<Caption>> = alone
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
    let place = Place::new(IMAGES);
    let data = data(&place);
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
            let steps = steps(&model, &data, &images, Stepping::Cached);
            let found = beam_search(steps, &config, special(), false);
            found.iter().map(|captions| captions[0].score).sum::<f64>()
        };
        (0..8).map(best).sum::<f64>() / (8 * IMAGES) as f64
    };
    let [one, six] = [1, 6].map(search);
    assert!(six > one + 0.02, "{six} of six beams, {one} of one");
}

#[test]
fn constrained_captions_have_their_words() {
    let place = Place::new(IMAGES);
    let data = data(&place);
    let images: Vec<usize> = (0..IMAGES).collect();
    let model = model(2);
    let automata: Vec<Automaton> = images.iter().map(|image| automaton(*image)).collect();
    let steps = steps(&model, &data, &images, Stepping::Cached);
    let config = ConstrainedSearch {
        max_length: 10,
        ..ConstrainedSearch::default()
    };
    let found = constrained_search(steps, &automata, &config, special());
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
    let place = Place::new(IMAGES);
    let data = data(&place);
    let model = model(1);
    let draw = |seed, epoch| {
        let draws = Draws {
            rows: (0..IMAGES)
                .map(|image| (ExampleSeed { seed, epoch }, image))
                .collect(),
        };
        let images: Vec<usize> = (0..IMAGES).collect();
        let steps = steps(&model, &data, &images, Stepping::Cached);
        let config = SampleConfig {
            max_length: 10,
            ..SampleConfig::default()
        };
        sample(steps, &config, special(), &draws).captions
    };
    assert_eq!(draw(1, 0), draw(1, 0));
    assert_ne!(draw(1, 0), draw(1, 1));
    assert_ne!(draw(1, 0), draw(2, 0));
}
