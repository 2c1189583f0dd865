//! Checkpoints: official names and layout, both ways.

use std::fs;
use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use oscar_core::checkpoint::{self, CheckpointError, Checkpointed, NamedTensor, RandomInit};
use oscar_core::config::ModelConfig;
use oscar_core::model::{Backbone, OscarClassifier, OscarForPretraining};
use rstest::rstest;
use tempfile::TempDir;

use crate::checkpoint_support;
use checkpoint_support::{Tensors, bits, config, load, tensors, weights, write};

#[rstest]
#[case("pretrain_ln")]
#[case("pretrain_noln_3way")]
fn saved_weights_are_those_loaded(#[case] set: &str) {
    round_trip(
        OscarForPretraining::<Flex>::new(&config(set), &FlexDevice),
        set,
    );
}

#[test]
fn every_model_writes_what_it_read() {
    let set = "bert_img_ln";
    round_trip(Backbone::<Flex>::new(&config(set), &FlexDevice), set);
    for set in [
        "seqcls_bce_linear",
        "seqcls_ce_gqa",
        "seqcls_kl3129",
        "seqcls_mse",
    ] {
        round_trip(OscarClassifier::<Flex>::new(&config(set), &FlexDevice), set);
    }
    for set in ["nlvr2_ce_linear", "nlvr2_ce_mlp_ln"] {
        round_trip(
            OscarClassifier::<Flex>::joint(&config(set), &FlexDevice),
            set,
        );
    }
}

/// Same names (aliases of tied matrices included), shapes and bits.
fn round_trip<M: Checkpointed<Flex>>(model: M, set: &str) {
    let folder = TempDir::new().unwrap();
    let (model, report) = checkpoint::load(model, weights(set), &RandomInit::Refuse).unwrap();
    assert_eq!(
        (report.skipped.len(), report.missing.len()),
        (0, 0),
        "{report:?}"
    );
    let path = folder.path().join("model.safetensors");
    checkpoint::save(&model, &path).unwrap();

    let (before, after) = (tensors(&weights(set)), tensors(&path));
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (name, tensor) in &before {
        assert_eq!(tensor.shape, after[name].shape, "{name}");
        assert_eq!(bits(tensor), bits(&after[name]), "{name}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing else is left in the folder");
}

#[test]
fn a_tied_output_matrix_is_written_under_both_names() {
    let saved = tensors(&weights("pretrain_ln"));
    let folder = TempDir::new().unwrap();
    let mut changed = saved.clone();
    // A stale alias is not believed: the word embedding is the parameter.
    changed
        .get_mut("cls.predictions.decoder.weight")
        .unwrap()
        .data
        .fill(7.0);
    let path = write(&folder, &changed);
    let (model, _) = load(&path, &RandomInit::Refuse).unwrap();
    checkpoint::save(&model, &path).unwrap();
    let written = tensors(&path);
    let embedding = bits(&saved["bert.embeddings.word_embeddings.weight"]);
    assert_eq!(bits(&written["cls.predictions.decoder.weight"]), embedding);
    assert_eq!(
        bits(&written["bert.embeddings.word_embeddings.weight"]),
        embedding
    );
}

#[rstest]
#[case(2, 3)]
#[case(3, 2)]
fn a_contrastive_head_of_another_class_count_starts_random(#[case] from: usize, #[case] to: usize) {
    let set = if from == 2 {
        "pretrain_ln"
    } else {
        "pretrain_noln_3way"
    };
    let config = ModelConfig {
        num_contrast_classes: to,
        ..config(set)
    };
    let new = || OscarForPretraining::<Flex>::new(&config, &FlexDevice);

    let error = checkpoint::load(new(), weights(set), &RandomInit::Refuse).unwrap_err();
    assert!(matches!(error, CheckpointError::Missing { .. }), "{error}");
    assert!(
        error.to_string().contains("cls.seq_relationship"),
        "{error}"
    );

    let parts = RandomInit::Parts(vec!["cls.seq_relationship".into()]);
    let (model, report) = checkpoint::load(new(), weights(set), &parts).unwrap();
    let shapes: Vec<_> = report
        .mismatched
        .iter()
        .map(|m| (m.name.as_str(), m.file[0], m.model[0]))
        .collect();
    let expected = [
        ("cls.seq_relationship.weight", from, to),
        ("cls.seq_relationship.bias", from, to),
    ];
    assert_eq!(shapes, expected);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("saved.safetensors");
    checkpoint::save(&model, &path).unwrap();
    assert_eq!(
        tensors(&path)["cls.seq_relationship.weight"].shape,
        [to, 48]
    );
}

#[test]
fn names_of_old_files_are_understood() {
    let folder = TempDir::new().unwrap();
    let saved = tensors(&weights("pretrain_ln"));
    let old = renamed(&saved, |name| {
        name.replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    });
    assert!(old.contains_key("bert.LayerNorm.gamma"));
    same_weights(&write(&folder, &old), &saved);
}

#[test]
fn a_bare_backbone_goes_into_a_model_and_the_other_way_round() {
    let folder = TempDir::new().unwrap();
    let saved = tensors(&weights("pretrain_ln"));
    let mut bare = renamed(&saved, |name| name.replacen("bert.", "", 1));
    bare.retain(|name, _| !name.starts_with("cls."));
    let path = write(&folder, &bare);

    let heads = RandomInit::Parts(vec!["cls.".into()]);
    let (_, report) = load(&path, &heads).unwrap();
    assert!(
        report.missing.iter().all(|name| name.starts_with("cls.")),
        "{report:?}"
    );
    assert_eq!((report.loaded.len(), report.skipped.len()), (bare.len(), 0));

    let backbone = Backbone::<Flex>::new(&config("pretrain_ln"), &FlexDevice);
    let (backbone, report) =
        checkpoint::load(backbone, weights("pretrain_ln"), &RandomInit::Refuse).unwrap();
    assert_eq!(report.loaded.len(), bare.len());
    checkpoint::save(&backbone, &path).unwrap();
    let written = tensors(&path);
    assert_eq!(
        written.keys().collect::<Vec<_>>(),
        bare.keys().collect::<Vec<_>>()
    );
}

#[test]
fn tensors_without_a_place_are_reported() {
    let folder = TempDir::new().unwrap();
    let mut more = tensors(&weights("pretrain_ln"));
    let tensor = NamedTensor {
        name: "qa.head".into(),
        shape: vec![2],
        data: vec![1.0, 2.0],
    };
    more.insert(tensor.name.clone(), tensor);
    let (_, report) = load(&write(&folder, &more), &RandomInit::Refuse).unwrap();
    assert_eq!(report.skipped, ["qa.head"]);
}

/// Loading `path` and saving gives `expected`.
fn same_weights(path: &Path, expected: &Tensors) {
    let (model, _) = load(path, &RandomInit::Refuse).unwrap();
    checkpoint::save(&model, path).unwrap();
    let written = tensors(path);
    for (name, tensor) in expected {
        assert_eq!(bits(tensor), bits(&written[name]), "{name}");
    }
}

fn renamed(saved: &Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    let tensors = saved.values().map(|tensor| {
        let name = rename(&tensor.name);
        (
            name.clone(),
            NamedTensor {
                name,
                ..tensor.clone()
            },
        )
    });
    tensors.collect()
}
