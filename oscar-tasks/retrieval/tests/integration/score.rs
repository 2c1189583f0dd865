//! The fast way to score pairs against the straightforward one, and what is kept of it.

use crate::common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexDevice};
use common::{APPEARANCE, Place, encoder};
use oscar_core::config::ModelConfig;
use oscar_core::input::{AttentionRestriction, SequenceEncoder};
use oscar_core::model::OscarClassifier;
use oscar_retrieval::{Retrieval, RetrievalData, score_pairs};
use oscar_task::cross_encoder::match_scores;
use oscar_task::{
    ClassData, Classifier, EvaluateOptions, Evaluation, Opened, Role, Score, Target, Task,
    TaskCheckpoint, TaskData,
};

fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 18,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 32,
        img_feature_dim: APPEARANCE + 6,
        initializer_range: 0.5,
        use_img_layernorm: true,
        ..ModelConfig::base()
    }
}

fn open(place: &Place, images: usize, encoder: &SequenceEncoder) -> RetrievalData {
    let split = place.split(&place.rows(images));
    let task = Retrieval::default();
    task.open(&split, Role::Evaluate, encoder).unwrap()
}

/// Each pair by itself: encoded, batched alone, its regions projected.
fn one_by_one(
    model: &OscarClassifier<Flex>,
    data: &RetrievalData,
    encoder: &SequenceEncoder,
) -> Vec<f32> {
    let seed = oscar_core::input::ExampleSeed { seed: 0, epoch: 0 };
    let rows = (0..data.len()).flat_map(|image| data.example(image, seed).unwrap());
    rows.flat_map(|row| {
        let input = encoder.batch(&row.sequences, &FlexDevice).unwrap();
        match_scores(model.forward(input).unwrap())
    })
    .collect()
}

#[test]
fn pairs_score_as_one_by_one() {
    let place = Place::new(6);
    let model = OscarClassifier::<Flex>::new(&config(), &FlexDevice);
    let mut ways = Vec::new();
    for attention in [
        AttentionRestriction::Clr,
        AttentionRestriction::Cl,
        AttentionRestriction::Cr,
        AttentionRestriction::Lr,
    ] {
        let encoder = encoder(attention, 12);
        let data = open(&place, 6, &encoder);
        let expected = one_by_one(&model, &data, &encoder);
        // Blocks of one image, and one block of all; begun anew, and in the middle of an image.
        for (batch, done) in [(1, 0), (7, 0), (7, 17)] {
            let mut kept = expected[..done].to_vec();
            let mut keep = |scores: &[f32], so_far: usize| {
                kept.extend(scores);
                assert_eq!(kept.len(), so_far);
                Ok(())
            };
            let begun = expected[..done].to_vec();
            let (scores, throughput) =
                score_pairs(&model, &data, batch, begun, &mut keep, &FlexDevice).unwrap();
            assert_eq!(scores, kept);
            assert_eq!(throughput.examples, 72 - done);
            for (at, (found, expected)) in scores.iter().zip(&expected).enumerate() {
                let difference = (found - expected).abs();
                assert!(
                    difference < 1e-4,
                    "{attention:?} {batch} {at}: {difference}"
                );
            }
        }
        ways.push(expected);
    }
    for (a, b) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        assert_ne!(ways[a], ways[b]);
    }
}

/// A model with weights of its own, opened with `encoder`.
fn opened(encoder: &SequenceEncoder) -> Opened<Retrieval, Flex> {
    Opened {
        checkpoint: TaskCheckpoint {
            model: config(),
            task: Retrieval::default(),
            encoder_config: encoder.config().clone(),
            padding: encoder.padding(),
            encoder: Arc::new(encoder.clone()),
            extractor: None,
            path: PathBuf::new(),
        },
        model: Classifier {
            network: OscarClassifier::new(&config(), &FlexDevice),
            names: Vec::new(),
        },
        device: FlexDevice,
        extractor: None,
    }
}

fn evaluate(
    opened: &Opened<Retrieval, Flex>,
    data: &RetrievalData,
    cache: Option<&Path>,
) -> Evaluation {
    let options = EvaluateOptions {
        batch_size: 4,
        progress: &|_, _| {},
        cache,
    };
    Retrieval::score(opened, data, &options).unwrap()
}

#[test]
fn kept_scores_are_those_of_the_same_thing_only() {
    let place = Place::new(6);
    let cache = place.path("cache");
    let files = || std::fs::read_dir(&cache).map_or(0, Iterator::count);
    let usual = encoder(AttentionRestriction::Clr, 12);
    let first = opened(&usual);
    let data = open(&place, 6, &usual);

    let without = evaluate(&first, &data, None);
    let written = evaluate(&first, &data, Some(&cache));
    assert_eq!(files(), 1);
    let read = evaluate(&first, &data, Some(&cache));
    assert_eq!(files(), 1);
    assert_eq!(read.throughput.unwrap().examples, 0);
    assert_eq!(
        (&written.scores, &read.scores),
        (&without.scores, &without.scores)
    );
    let content = |evaluation: &Evaluation| evaluation.predictions.clone().unwrap().content;
    assert_eq!(content(&written), content(&read));

    // A part of the images, other settings, other weights: none is taken for the first.
    evaluate(&first, &open(&place, 5, &usual), Some(&cache));
    assert_eq!(files(), 2);
    let other = encoder(AttentionRestriction::Cr, 12);
    evaluate(&first, &open(&place, 6, &other), Some(&cache));
    assert_eq!(files(), 3);
    evaluate(&opened(&usual), &data, Some(&cache));
    assert_eq!(files(), 4);
    // The same captions in another file are the same.
    let renamed = place.path("renamed.jsonl");
    std::fs::copy(place.rows(6), &renamed).unwrap();
    let split = place.split(&renamed);
    let renamed = Retrieval::default()
        .open(&split, Role::Evaluate, &usual)
        .unwrap();
    evaluate(&first, &renamed, Some(&cache));
    assert_eq!(files(), 4);
}

#[test]
fn what_is_reported() {
    let place = Place::new(6);
    let usual = encoder(AttentionRestriction::Clr, 12);
    let opened = opened(&usual);
    let data = open(&place, 6, &usual);
    let expected = one_by_one(&opened.model.network, &data, &usual);
    let evaluation = evaluate(&opened, &data, None);
    let names: Vec<&str> = evaluation
        .scores
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "i2t_R@1",
            "i2t_R@5",
            "i2t_R@10",
            "i2t_median_rank",
            "t2i_R@1",
            "t2i_R@5",
            "t2i_R@10",
            "t2i_median_rank"
        ]
    );
    assert_eq!(evaluation.examples, 72);
    let content = evaluation.predictions.unwrap().content;
    let file: serde_json::Value = serde_json::from_slice(&content).unwrap();
    assert_eq!(file["i2t_retrieval"]["R@1"], evaluation.scores[0].1);
    assert_eq!(file["t2i_retrieval"]["R@10"], evaluation.scores[6].1);
    assert_eq!(file["images"].as_array().unwrap().len(), 6);
    assert_eq!(file["captions"].as_array().unwrap().len(), 12);
    let row = &expected[..12];
    let best = (0..12).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    assert_eq!(file["images"][0]["image"], "1");
    assert_eq!(
        file["images"][0]["best"]["image"],
        (best / 2 + 1).to_string()
    );
    let score = file["images"][0]["best"]["score"].as_f64().unwrap() as f32;
    assert!((score - 1.0 / (1.0 + (-row[best]).exp())).abs() < 1e-5);
}

#[test]
fn scores_are_log_odds_or_the_single_label() {
    let logits =
        |values: &[f32], shape| Tensor::<Flex, 1>::from_floats(values, &FlexDevice).reshape(shape);
    assert_eq!(
        match_scores(logits(&[1.0, 3.0, 40.0, -40.0], [2, 2])),
        [2.0, -80.0]
    );
    assert_eq!(match_scores(logits(&[1.0, 3.0], [2, 1])), [1.0, 3.0]);
}

#[test]
fn targets_are_of_the_image() {
    let place = Place::new(3);
    let data = open(&place, 3, &encoder(AttentionRestriction::Clr, 12));
    let seed = oscar_core::input::ExampleSeed { seed: 0, epoch: 0 };
    for image in 0..3 {
        let rows = data.example(image, seed).unwrap();
        let classes: Vec<_> = rows.into_iter().map(|row| row.target.unwrap()).collect();
        let expected: Vec<_> = (0..6)
            .map(|caption| Target::Class(u32::from(caption / 2 == image)))
            .collect();
        assert_eq!(classes, expected);
    }
}
