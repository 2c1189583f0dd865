//! Sequences of fine-tuning: what is cut, what is joined, who attends to whom.

use burn::tensor::Tensor;
use burn_flex::Flex;
use oscar_core::config::ConfigError;
use oscar_core::input::{
    AttentionMask, AttentionRestriction, EncodedSequence, InputError, PaddingConfig,
    SequenceConfig, SequenceEncoder, Truncation,
};

use crate::input_support;
use input_support::{Regions, handle, region_value, regions, tokenizer};

type B = Flex;

fn encoder(config: SequenceConfig) -> SequenceEncoder {
    let padding = PaddingConfig {
        pad_multiple: 1,
        ..Default::default()
    };
    SequenceEncoder::new(tokenizer(), config, padding).unwrap()
}

fn short(max_seq_length: usize) -> SequenceConfig {
    SequenceConfig {
        max_seq_length,
        max_regions: 3,
        ..Default::default()
    }
}

fn encode(encoder: &SequenceEncoder, a: &str, b: &str, counts: &[usize]) -> EncodedSequence {
    let images: Vec<_> = counts.iter().map(|&count| regions(count)).collect();
    encoder.encode("row 1".into(), a, b, &images).unwrap()
}

fn words(sequence: &EncodedSequence) -> String {
    let tokenizer = tokenizer();
    let tokens: Vec<&str> = sequence
        .input_ids
        .iter()
        .map(|&id| tokenizer.token(id).unwrap())
        .collect();
    tokens.join(" ")
}

#[test]
fn punctuation_is_deleted_on_request() {
    let plain = encoder(SequenceConfig {
        drop_punctuation: true,
        ..short(20)
    });
    let found = encode(&plain, "is a box , on the _wall_ ?!", "box , tower", &[1]);
    assert_eq!(
        words(&found),
        "[CLS] is a box on the wall [SEP] box , tower [SEP]"
    );
    let kept = encode(&encoder(short(20)), "is a box ?", "", &[1]);
    assert_eq!(words(&kept), "[CLS] is a box ? [SEP]");
    let nothing = plain.encode("row 1".into(), "?!", "", &[]);
    assert!(matches!(nothing, Err(InputError::EmptyText { .. })));
}

#[test]
fn texts_are_laid_out_and_cut() {
    let question = "is a black box on the wall";
    let tags = "box tower wall block";
    let longer = encode(&encoder(short(9)), question, tags, &[2]);
    // Six tokens fit: the longer text gives up what it has more, then both shrink.
    assert_eq!(
        words(&longer),
        "[CLS] is a black [SEP] box tower wall [SEP]"
    );
    assert_eq!(longer.token_type_ids, [0, 0, 0, 0, 0, 1, 1, 1, 1]);

    let text_b = SequenceConfig {
        truncation: Truncation::TextB,
        ..short(11)
    };
    let sequence = encode(&encoder(text_b.clone()), question, tags, &[2]);
    assert_eq!(
        words(&sequence),
        "[CLS] is a black box on the wall [SEP] box [SEP]"
    );
    // Nothing is left for the tags: no second [SEP] either.
    let full = SequenceConfig {
        max_seq_length: 9,
        ..text_b
    };
    let sequence = encode(&encoder(full), question, tags, &[2]);
    assert_eq!(words(&sequence), "[CLS] is a black box on the wall [SEP]");

    let blind = SequenceConfig {
        use_tags: false,
        ..short(40)
    };
    let sequence = encode(&encoder(blind), question, tags, &[2]);
    assert_eq!(words(&sequence), "[CLS] is a black box on the wall [SEP]");
}

#[test]
fn an_image_alone_is_its_tags_and_regions() {
    let tags = |text: &str| tokenizer().encode(text);
    let alone = |config, text: &str| {
        encoder(config).encode_image("image 1".into(), &tags(text), &[regions(5)])
    };
    let image = alone(short(20), "box tower wall");
    assert_eq!(words(&image), "[CLS] box tower wall [SEP]");
    // Tags have the segment that they have beside a text.
    assert_eq!(image.token_type_ids, [0, 1, 1, 1, 1]);
    assert_eq!(image.num_regions(), 3);
    let cut = alone(short(5), "box tower wall block");
    assert_eq!(words(&cut), "[CLS] box tower wall [SEP]");
    let blind = SequenceConfig {
        use_tags: false,
        ..short(20)
    };
    for untagged in [alone(short(20), ""), alone(blind, "box")] {
        assert_eq!(words(&untagged), "[CLS] [SEP]");
        assert_eq!(untagged.token_type_ids, [0, 1]);
        assert_eq!(untagged.num_regions(), 3);
    }
}

#[test]
fn a_text_without_words_is_named() {
    let error = encoder(short(9))
        .encode("vqa.json:7".into(), " \u{200b} ", "box", &[])
        .unwrap_err();
    assert!(matches!(error, InputError::EmptyText { .. }));
    assert!(error.to_string().starts_with("vqa.json:7"), "{error}");
}

#[test]
fn regions_of_several_images_follow_one_another() {
    let two = std::sync::Arc::new(Regions {
        counts: vec![2, 5],
        dim: 4,
    });
    let encoder = encoder(short(20));
    let images = [handle(two.clone(), 0), handle(two, 1)];
    let sequence = encoder.encode("row".into(), "a box", "", &images).unwrap();
    // All of the first image, and the first three of the second.
    let input = encoder
        .batch::<B>(std::slice::from_ref(&sequence), &Default::default())
        .unwrap();
    let features = input.region_features.unwrap();
    assert_eq!(features.dims(), [1, 5, 4]);
    let values: Vec<f32> = features.into_data().iter::<f32>().collect();
    let expected: Vec<f32> = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
        .into_iter()
        .flat_map(|(image, region)| (0..4).map(move |v| region_value(image, region, v)))
        .collect();
    assert_eq!(values, expected);
    assert_eq!(sequence.len(), 4 + 5);
}

/// The mask of a caption of 2 words, tags of 1, 2 regions, beside a longer row that pads it.
fn mask(attention: AttentionRestriction) -> Vec<Vec<f32>> {
    let config = SequenceConfig {
        attention,
        ..short(20)
    };
    let encoder = encoder(config);
    let rows = [
        encode(&encoder, "a box", "wall", &[2]),
        encode(&encoder, "a box on the wall", "wall", &[3]),
    ];
    let input = encoder.batch::<B>(&rows, &Default::default()).unwrap();
    let mask: Tensor<B, 3> = match input.attention_mask {
        AttentionMask::Full(mask) => mask,
        AttentionMask::Padding(mask) => {
            let [rows, seq] = mask.dims();
            mask.reshape([rows, 1, seq]).repeat_dim(1, seq)
        }
    };
    let [_, seq, _] = mask.dims();
    let values: Vec<f32> = mask.into_data().iter::<f32>().collect();
    values[..seq * seq]
        .chunks(seq)
        .map(<[f32]>::to_vec)
        .collect()
}

#[test]
fn attention_is_restricted_to_pairs_of_blocks() {
    // Positions: [CLS] a box [SEP] = caption, wall [SEP] = labels, 3 of padding, 2 regions and 1
    // of padding.
    let block = |position: usize| match position {
        0..4 => Some('C'),
        4..6 => Some('L'),
        9..11 => Some('R'),
        _ => None,
    };
    for (attention, joined) in [
        (AttentionRestriction::Cl, "CL"),
        (AttentionRestriction::Cr, "CR"),
        (AttentionRestriction::Lr, "LR"),
    ] {
        let mask = mask(attention);
        assert_eq!(mask.len(), 12);
        for (query, row) in mask.iter().enumerate() {
            for (key, value) in row.iter().enumerate() {
                let attends = match (block(query), block(key)) {
                    (Some(a), Some(b)) => a == b || joined.contains(a) && joined.contains(b),
                    _ => false,
                };
                assert_eq!(*value, f32::from(attends), "{attention:?} {query} {key}");
            }
        }
    }
    let all = mask(AttentionRestriction::Clr);
    assert!(all.iter().all(|row| {
        row.iter()
            .enumerate()
            .all(|(key, value)| *value == f32::from(block(key).is_some()))
    }));
}

#[test]
fn values_out_of_range_are_named() {
    let padding = PaddingConfig::default();
    let config = SequenceConfig {
        max_regions: 0,
        ..Default::default()
    };
    let error = SequenceEncoder::new(tokenizer(), config, padding).unwrap_err();
    let InputError::Config(ConfigError::Value { key, found, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!((&key[..], &found[..]), ("max_regions", "0"));
}
