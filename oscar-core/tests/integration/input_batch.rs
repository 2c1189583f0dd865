//! Padding never changes what a batch says.

use burn::tensor::{Int, Tensor};
use burn_flex::Flex;
use oscar_core::config::ConfigError;
use oscar_core::input::{
    AttentionMask, EncodedPair, ExampleSeed, InputError, PaddingConfig, PretrainBatch,
    PretrainEncoder, PretrainEncoderConfig, RegionHandle, RegionSource, SourceError,
};
use proptest::prelude::*;

use crate::input_support;
use input_support::{Corpus, Regions, encoder, handle, region_value, regions, tokenizer};

type B = Flex;

fn config() -> PretrainEncoderConfig {
    PretrainEncoderConfig {
        max_seq_length: 21,
        max_regions: 5,
        ..Default::default()
    }
}

fn texts() -> Vec<(&'static str, &'static str)> {
    vec![
        ("a box", "box"),
        ("there is a yellow block touching the wall", ""),
        ("one", "tower black"),
        (
            "a tower with two blue blocks and a black one at the top and one box more",
            "square",
        ),
        ("three circles", "circle circle circle"),
        ("the base is blue", "base blue"),
    ]
}

fn pairs(count: usize, seed: u64) -> Vec<EncodedPair> {
    let corpus = Corpus::new(&texts());
    let encoder = encoder(config());
    let encode = |row| {
        encoder.encode(
            &corpus,
            row % 6,
            ExampleSeed {
                seed,
                epoch: row as u64,
            },
        )
    };
    (0..count).map(|row| encode(row).unwrap()).collect()
}

fn batch(rows: &[EncodedPair], padding: PaddingConfig) -> PretrainBatch<B> {
    let encoder = PretrainEncoder::new(tokenizer(), config(), padding).unwrap();
    encoder.batch(rows, &Default::default()).unwrap()
}

fn ints<const D: usize>(tensor: &Tensor<B, D, Int>) -> Vec<i64> {
    tensor.to_data().iter::<i64>().collect()
}

fn floats<const D: usize>(tensor: &Tensor<B, D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

fn mask(batch: &PretrainBatch<B>) -> Tensor<B, 2> {
    match &batch.input.attention_mask {
        AttentionMask::Padding(mask) => mask.clone(),
        AttentionMask::Full(_) => panic!("a pre-training batch has a padding mask"),
    }
}

/// Checks `batch` value by value against the rows it was made of.
fn check(batch: &PretrainBatch<B>, rows: &[EncodedPair], padding: PaddingConfig) {
    let [count, text] = batch.input.input_ids.dims();
    let features = batch.input.region_features.as_ref().unwrap();
    let [_, regions, dim] = features.dims();
    let longest = |len: &dyn Fn(&EncodedPair) -> usize| rows.iter().map(len).max().unwrap();
    let rounded = |len: usize, limit: usize| len.next_multiple_of(padding.pad_multiple).min(limit);
    assert_eq!(count, rows.len());
    assert_eq!(
        text,
        rounded(longest(&|row| row.sequence.input_ids.len()), 21)
    );
    assert_eq!(
        regions,
        rounded(longest(&|row| row.sequence.num_regions()), 5)
    );

    let (ids, types) = (
        ints(&batch.input.input_ids),
        ints(&batch.input.token_type_ids),
    );
    let (attend, values) = (floats(&mask(batch)), floats(features));
    assert_eq!(attend.len(), count * (text + regions));
    for (index, row) in rows.iter().enumerate() {
        for position in 0..text {
            let at = index * text + position;
            let expected = row
                .sequence
                .input_ids
                .get(position)
                .map_or(0, |&id| i64::from(id));
            assert_eq!(ids[at], expected);
            assert_eq!(
                types[at],
                row.sequence
                    .token_type_ids
                    .get(position)
                    .map_or(0, |&t| i64::from(t))
            );
            let real = position < row.sequence.input_ids.len();
            assert_eq!(
                attend[index * (text + regions) + position],
                f32::from(u8::from(real))
            );
        }
        for region in 0..regions {
            let real = region < row.sequence.num_regions();
            let at = index * (text + regions) + text + region;
            assert_eq!(attend[at], f32::from(u8::from(real)));
            for value in 0..dim {
                let expected = if real {
                    region_value(index % 6, region, value)
                } else {
                    0.0
                };
                assert_eq!(values[(index * regions + region) * dim + value], expected);
            }
        }
    }
    check_targets(batch, rows, text + regions, padding.masked_multiple);
    assert_eq!(batch.num_examples, rows.len());
    assert_eq!(batch.num_tokens as f32, attend.iter().sum::<f32>());
    assert_eq!(
        ints(&batch.relation),
        rows.iter()
            .map(|row| i64::from(row.relation))
            .collect::<Vec<_>>()
    );
}

fn check_targets(batch: &PretrainBatch<B>, rows: &[EncodedPair], seq: usize, multiple: usize) {
    let positions = ints(&batch.masked.positions);
    let (labels, weights) = (ints(&batch.masked.labels), floats(&batch.masked.weights));
    let expected: Vec<(i64, i64)> = rows
        .iter()
        .enumerate()
        .flat_map(|(index, row)| {
            let flat = move |position: u32| (index * seq) as i64 + i64::from(position);
            row.masked
                .iter()
                .map(move |token| (flat(token.position), i64::from(token.label)))
        })
        .collect();
    assert_eq!(batch.masked.count, expected.len());
    assert_eq!(
        positions.len(),
        expected.len().max(1).next_multiple_of(multiple)
    );
    assert_eq!(
        (labels.len(), weights.len()),
        (positions.len(), positions.len())
    );
    for index in 0..positions.len() {
        match expected.get(index) {
            Some(&target) => {
                assert_eq!(
                    ((positions[index], labels[index]), weights[index]),
                    (target, 1.0)
                );
            }
            None => assert_eq!(
                (positions[index], labels[index], weights[index]),
                (0, 0, 0.0)
            ),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn padding_changes_no_content(
        count in 1_usize..12,
        seed in any::<u64>(),
        pad_multiple in 1_usize..20,
        masked_multiple in 1_usize..20,
    ) {
        let rows = pairs(count, seed);
        let padding = PaddingConfig { pad_multiple, masked_multiple };
        check(&batch(&rows, padding), &rows, padding);
    }
}

#[test]
fn a_batch_without_targets_has_one_of_no_weight() {
    let mut rows = pairs(3, 0);
    rows.iter_mut().for_each(|row| row.masked.clear());
    let padding = PaddingConfig {
        masked_multiple: 1,
        ..Default::default()
    };
    let batch = batch(&rows, padding);
    assert_eq!(ints(&batch.masked.positions), [0]);
    assert_eq!(floats(&batch.masked.weights), [0.0]);
}

#[test]
fn images_without_regions_are_text_alone() {
    let mut rows = pairs(2, 0);
    rows[0].sequence.regions = vec![(regions(0), 0)];
    check(
        &batch(&rows, PaddingConfig::default()),
        &rows,
        PaddingConfig::default(),
    );

    rows[1].sequence.regions = vec![(regions(0), 0)];
    let batch = batch(&rows, PaddingConfig::default());
    assert!(batch.input.region_features.is_none());
    let AttentionMask::Padding(mask) = batch.input.attention_mask else {
        panic!("pre-training masks padding alone");
    };
    assert_eq!(mask.dims(), batch.input.input_ids.dims());
}

#[test]
fn unreadable_regions_are_named() {
    struct Broken;
    impl RegionSource for Broken {
        fn region_dim(&self) -> usize {
            4
        }
        fn num_regions(&self, _: usize) -> Result<usize, SourceError> {
            Ok(3)
        }
        fn copy_regions(&self, _: usize, _: &mut [f32]) -> Result<(), SourceError> {
            Err("features.tsv:7: cut off".into())
        }
    }
    let mut rows = pairs(2, 0);
    let broken = RegionHandle::new(std::sync::Arc::new(Broken), 0).unwrap();
    rows[1].sequence.regions = vec![(broken, 3)];
    let encoder = encoder(config());
    let error = encoder.batch::<B>(&rows, &Default::default()).unwrap_err();
    assert!(error.to_string().starts_with("memory:2"), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "features.tsv:7: cut off");
}

#[test]
fn regions_of_two_sizes_do_not_batch() {
    let mut rows = pairs(2, 0);
    let wider = std::sync::Arc::new(Regions {
        counts: vec![2],
        dim: 6,
    });
    rows[1].sequence.regions = vec![(handle(wider, 0), 2)];
    let encoder = encoder(config());
    let error = encoder.batch::<B>(&rows, &Default::default()).unwrap_err();
    assert!(
        matches!(
            &error,
            InputError::RegionDim {
                found: 6,
                expected: 4,
                ..
            }
        ),
        "{error}"
    );
    let error = encoder.batch::<B>(&[], &Default::default()).unwrap_err();
    assert!(matches!(error, InputError::EmptyBatch));
}

#[test]
fn padding_to_multiples_of_zero_is_refused() {
    let padding = PaddingConfig {
        pad_multiple: 0,
        ..Default::default()
    };
    let error = PretrainEncoder::new(tokenizer(), config(), padding).unwrap_err();
    let InputError::Config(ConfigError::Value { key, found, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!((&key[..], &found[..]), ("pad_multiple", "0"));
}
