//! Masking, repeatability, and rows that are refused.

use oscar_core::input::{
    EncodedPair, Example, ExampleSeed, InputError, PretrainEncoderConfig, ProbeTargets,
    TextBSampleMode,
};

use crate::input_support;
use input_support::{
    Corpus, SEED, assert_share, contrast, encode_all, encoder, example, ids, lengths, regions,
    text_a, text_b, unmasked,
};

#[test]
fn masking_has_berts_odds() {
    let corpus = Corpus::new(&[("there is a yellow block ", "blue box black tower"); 10]);
    let encoder = encoder(PretrainEncoderConfig::default());
    let clean = unmasked(PretrainEncoderConfig::default());
    let (mut tokens, mut targets, mut masks, mut same) = (0, 0, 0, 0);
    let mask = encoder.tokenizer().special().mask;
    for epoch in 0..2500 {
        for row in 0..10 {
            let seed = ExampleSeed { seed: 7, epoch };
            let pair = encoder.encode(&corpus, row, seed).unwrap();
            let original = clean.encode(&corpus, row, seed).unwrap().sequence.input_ids;
            let (len_a, len_b) = lengths(&pair);
            tokens += len_a + len_b;
            targets += pair.masked.len();
            let changed = original
                .iter()
                .zip(&pair.sequence.input_ids)
                .filter(|(a, b)| a != b)
                .count();
            assert!(changed <= pair.masked.len());
            for token in &pair.masked {
                let (position, label) = (token.position as usize, token.label);
                assert_eq!(original[position], label);
                assert!(position >= 1 && position != len_a + 1);
                assert!(position < pair.sequence.input_ids.len() - 1);
                masks += usize::from(pair.sequence.input_ids[position] == mask);
                same += usize::from(pair.sequence.input_ids[position] == label);
            }
        }
    }
    assert!(tokens > 200_000);
    // A random token may be [MASK] or the old one by chance.
    let chance = 0.1 / encoder.tokenizer().vocab_size() as f64;
    assert_share(targets, tokens, 0.15, "targets");
    assert_share(masks, targets, 0.8 + chance, "[MASK]");
    assert_share(same, targets, 0.1 + chance, "unchanged");
}

#[test]
fn every_token_is_a_target_at_probability_one_but_the_special_ones() {
    let config = PretrainEncoderConfig {
        mask_probability: 1.0,
        ..Default::default()
    };
    for pair in encode_all(&encoder(config), &Corpus::numbered(20), 5) {
        let positions: Vec<usize> = pair
            .masked
            .iter()
            .map(|token| token.position as usize)
            .collect();
        let specials = [0, lengths(&pair).0 + 1, pair.sequence.input_ids.len() - 1];
        let expected: Vec<usize> = (0..pair.sequence.input_ids.len())
            .filter(|position| !specials.contains(position))
            .collect();
        assert_eq!(positions, expected);
    }
}

#[test]
fn polluted_tags_can_be_masked_without_being_guessed() {
    let config = |mask_loss_for_unmatched| PretrainEncoderConfig {
        mask_probability: 1.0,
        mask_loss_for_unmatched,
        ..contrast(0.25, TextBSampleMode::TextB)
    };
    let corpus = Corpus::numbered(20);
    let guessed = encode_all(&encoder(config(true)), &corpus, 10);
    let spared = encode_all(&encoder(config(false)), &corpus, 10);
    for (guessed, spared) in guessed.iter().zip(&spared) {
        // What the model sees is the same: nothing but the words tells that they are another's.
        assert_eq!(guessed.sequence.input_ids, spared.sequence.input_ids);
        let (len_a, len_b) = lengths(spared);
        assert_eq!(guessed.masked.len(), len_a + len_b);
        let in_b = if spared.relation == 0 { len_b } else { 0 };
        assert_eq!(spared.masked.len(), len_a + in_b);
    }
}

#[test]
fn tags_can_be_shown_whole() {
    let config = |mask_text_b| PretrainEncoderConfig {
        mask_probability: 1.0,
        mask_text_b,
        ..contrast(0.0, TextBSampleMode::TextB)
    };
    let corpus = Corpus::numbered(20);
    let clean = encode_all(&unmasked(config(false)), &corpus, 5);
    let shown = encode_all(&encoder(config(false)), &corpus, 5);
    let masked = encode_all(&encoder(config(true)), &corpus, 5);
    for ((clean, shown), masked) in clean.iter().zip(&shown).zip(&masked) {
        assert_eq!(text_b(shown), text_b(clean));
        let (len_a, len_b) = lengths(shown);
        assert_eq!(shown.masked.len(), len_a);
        // The captions are masked as they are where tags are masked too.
        assert_eq!(text_a(shown), text_a(masked));
        assert_eq!(masked.masked.len(), len_a + len_b);
    }
}

fn essence(pair: EncodedPair) -> (Vec<u32>, Vec<(u32, u32)>, u8) {
    let masked = pair
        .masked
        .iter()
        .map(|token| (token.position, token.label))
        .collect();
    (pair.sequence.input_ids, masked, pair.relation)
}

#[test]
fn an_example_depends_on_seed_epoch_and_row_only() {
    let corpus = Corpus::numbered(64);
    let encoder = encoder(contrast(0.25, TextBSampleMode::TextAOrB));
    let encode = |row: usize| essence(encoder.encode(&corpus, row, SEED).unwrap());
    let forward: Vec<_> = (0..64).map(encode).collect();
    let mut backward: Vec<_> = (0..64).rev().map(encode).collect();
    backward.reverse();
    assert_eq!(forward, backward);

    let threaded: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                scope.spawn(move || (worker * 16..worker * 16 + 16).map(encode).collect())
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| -> Vec<_> { worker.join().unwrap() })
            .collect()
    });
    assert_eq!(forward, threaded);

    for other in [
        ExampleSeed { seed: 43, epoch: 0 },
        ExampleSeed { seed: 42, epoch: 1 },
    ] {
        let differ = (0..64)
            .filter(|&row| essence(encoder.encode(&corpus, row, other).unwrap()) != encode(row));
        assert!(differ.count() > 40);
    }
}

#[test]
fn an_endless_caption_is_cut() {
    let text = "a yellow block ".repeat(700);
    assert!(text.len() > 10_000);
    let encoder = encoder(PretrainEncoderConfig::default());
    for (b, total) in [("box tower", 35), ("", 35)] {
        let corpus = Corpus::new(&[(text.as_str(), b); 3]);
        let pair = encoder.encode(&corpus, 0, SEED).unwrap();
        assert_eq!(pair.sequence.input_ids.len(), total);
        assert_eq!(pair.sequence.token_type_ids.len(), total);
    }
}

#[test]
fn a_row_that_cannot_be_encoded_is_named() {
    let encoder = unmasked(contrast(0.0, TextBSampleMode::TextB));
    let corpus = Corpus::new(&[("\u{0}\u{200b} \u{fffd}", "box")]);
    let error = encoder.encode(&corpus, 0, SEED).unwrap_err();
    assert!(matches!(error, InputError::EmptyText { .. }));
    assert!(error.to_string().starts_with("memory:1"), "{error}");

    let error = encoder.encode(&corpus, 9, SEED).unwrap_err();
    assert_eq!(error.to_string(), "cannot read row 9 of the corpus");
    assert!(matches!(
        encoder.check_corpus(&Corpus::default()),
        Err(InputError::EmptyCorpus)
    ));
}

#[test]
fn regions_beyond_the_limit_are_left_out() {
    let config = PretrainEncoderConfig {
        max_regions: 3,
        ..Default::default()
    };
    let mut corpus = Corpus::default();
    corpus.push(example(0, "a box", "box", regions(7)));
    assert_eq!(
        encoder(config)
            .encode(&corpus, 0, SEED)
            .unwrap()
            .sequence
            .num_regions(),
        3
    );
}

fn probe_pair() -> (Example, Example) {
    let own = example(
        0,
        "a yellow box and a blue tower and a black block",
        "box yellow",
        regions(2),
    );
    let other = example(1, "the red one", "circle blue square", regions(5));
    (own, other)
}

#[test]
fn a_probe_masks_only_what_is_asked_and_shows_another_image() {
    let encoder = encoder(PretrainEncoderConfig::default());
    let tokenizer = encoder.tokenizer().clone();
    let wanted = ids(&tokenizer, &["yellow", "blue", "black"]);
    let (own, other) = probe_pair();
    let mut total = 0;
    for row in 0..500 {
        let targets = ProbeTargets {
            ids: wanted.clone(),
            phrases: Vec::new(),
            rate: 0.15,
        };
        let probe = |swap| {
            encoder
                .encode_probe(&own, &targets, &mut SEED.rng(row), swap)
                .unwrap()
        };
        let (mine, theirs) = (probe(None), probe(Some(&other)));
        assert!(!mine.masked.is_empty());
        assert_eq!(mine.masked, theirs.masked);
        for token in &mine.masked {
            assert!(wanted.contains(&token.label));
            assert_eq!(
                mine.sequence.input_ids[token.position as usize],
                tokenizer.special().mask
            );
        }
        total += mine.masked.len();
        assert_eq!(text_b(&mine), tokenizer.encode("box yellow"));
        assert_eq!(text_b(&theirs), tokenizer.encode("circle blue square"));
        assert_eq!(
            (mine.sequence.num_regions(), theirs.sequence.num_regions()),
            (2, 5)
        );
        assert_eq!((mine.relation, theirs.relation), (0, 1));
    }
    // Three candidates at 15 %, and one wherever none was drawn: 0.45 + 0.85 ^ 3 = 1.06 per row.
    assert!((480..600).contains(&total), "{total}");
}

#[test]
fn a_probe_masks_a_phrase_as_a_whole() {
    let encoder = encoder(PretrainEncoderConfig::default());
    let tokenizer = encoder.tokenizer().clone();
    let phrase = |text: &str| tokenizer.encode(text);
    let targets = ProbeTargets {
        ids: ids(&tokenizer, &["box"]),
        // The longest phrase counts where two begin, and "tower and" does not begin inside it.
        phrases: vec![
            phrase("a blue"),
            phrase("a blue tower"),
            phrase("tower and"),
        ],
        rate: 0.0,
    };
    let (own, _) = probe_pair();
    let mut found = [0, 0];
    for row in 0..100 {
        let pair = encoder
            .encode_probe(&own, &targets, &mut SEED.rng(row), None)
            .unwrap();
        let labels: Vec<u32> = pair.masked.iter().map(|token| token.label).collect();
        let which = match labels.len() {
            1 => 0,
            _ => 1,
        };
        assert_eq!(labels, phrase(["box", "a blue tower"][which]));
        found[which] += 1;
    }
    assert!(found.iter().all(|count| *count > 20), "{found:?}");
}

#[test]
fn a_probe_without_candidates_masks_nothing() {
    let encoder = encoder(PretrainEncoderConfig::default());
    let targets = ProbeTargets {
        ids: ids(encoder.tokenizer(), &["seven"]),
        phrases: Vec::new(),
        rate: 1.0,
    };
    let (own, _) = probe_pair();
    let pair = encoder
        .encode_probe(&own, &targets, &mut SEED.rng(0), None)
        .unwrap();
    assert!(pair.masked.is_empty());
}
