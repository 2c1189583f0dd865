//! The model's configuration: official files, errors, and the sizes of the presets.

use std::path::PathBuf;

use burn_flex::{Flex, FlexDevice};
use oscar_core::checkpoint::{Checkpointed, parameters};
use oscar_core::config::{Activation, Classifier, ConfigError, ModelConfig};
use oscar_core::model::{Backbone, OscarClassifier, OscarForCaptioning, OscarForPretraining};
use rstest::rstest;
use serde_json::{Value, json};

#[test]
fn every_official_file_is_read_and_written_without_loss() {
    let mut read = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path().join("config.json");
        if !path.is_file() {
            continue;
        }
        let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        // Sets of detectors have configurations of another kind.
        if file.get("hidden_size").is_none() {
            continue;
        }
        let config = ModelConfig::from_file(&path).unwrap();
        let written = serde_json::to_value(&config).unwrap();
        for (key, value) in file.as_object().unwrap() {
            let same = match key.as_str() {
                "use_img_layernorm" => written[key].as_bool() == Some(value == &json!(1)),
                _ => match (written[key].as_f64(), value.as_f64()) {
                    (Some(written), Some(value)) => written == value,
                    _ => &written[key] == value,
                },
            };
            assert!(
                same,
                "{}: {key} {value} became {}",
                path.display(),
                written[key]
            );
        }
        assert_eq!(
            serde_json::from_value::<ModelConfig>(written).unwrap(),
            config
        );
        read += 1;
    }
    assert!(read >= 12, "only {read} configurations");
}

#[test]
fn official_keys_are_understood() {
    let config = ModelConfig::from_file(fixtures().join("nlvr2_ce_mlp_ln/config.json")).unwrap();
    assert_eq!(config.hidden_size, 32);
    assert_eq!(config.head_size(), 8);
    assert_eq!(config.hidden_act, Activation::Gelu);
    assert_eq!(config.classifier, Classifier::Mlp);
    assert_eq!(config.cls_hidden_scale, 3);
    assert_eq!(config.num_choice, 2);
    assert_eq!(config.img_feature_dim, 38);
    assert!(config.use_img_layernorm);
    assert_eq!(config.img_layer_norm_eps, 1e-5);
    assert_eq!(config.layer_norm_eps, 1e-12);
    assert_eq!(config.extra["torchscript"], json!(false));
}

#[test]
fn absent_keys_are_those_of_oscar_base() {
    let config: ModelConfig = serde_json::from_str("{}").unwrap();
    assert_eq!(config, ModelConfig::base());
    assert_eq!((config.vocab_size, config.img_feature_dim), (30_522, 2054));
    assert_eq!(
        (config.num_contrast_classes, config.use_img_layernorm),
        (2, false)
    );
}

#[rstest]
#[case(json!(0), false)]
#[case(json!(1), true)]
#[case(json!(false), false)]
#[case(json!(true), true)]
fn flags_are_numbers_or_booleans(#[case] value: Value, #[case] expected: bool) {
    let config: ModelConfig = serde_json::from_value(json!({"use_img_layernorm": value})).unwrap();
    assert_eq!(config.use_img_layernorm, expected);
}

#[test]
fn another_flag_is_refused() {
    let error = serde_json::from_value::<ModelConfig>(json!({"use_img_layernorm": 2})).unwrap_err();
    assert!(
        error.to_string().contains("expected 0 or 1, found 2"),
        "{error}"
    );
}

#[test]
fn unknown_keys_survive() {
    let config: ModelConfig =
        serde_json::from_value(json!({"spatial_dim": 6, "code_voc": {"a": [1, null]}})).unwrap();
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!(written["spatial_dim"], json!(6));
    assert_eq!(written["code_voc"], json!({"a": [1, null]}));
}

#[rstest]
#[case(json!({"vocab_size": 0}), "vocab_size", "0")]
#[case(json!({"type_vocab_size": 1}), "type_vocab_size", "1")]
#[case(json!({"num_hidden_layers": 0}), "num_hidden_layers", "0")]
#[case(json!({"num_attention_heads": 0}), "num_attention_heads", "0")]
#[case(json!({"num_attention_heads": 7}), "hidden_size", "768")]
#[case(json!({"img_feature_dim": 6}), "img_feature_dim", "6")]
#[case(json!({"img_feature_dim": 0}), "img_feature_dim", "0")]
#[case(json!({"hidden_dropout_prob": 1.0}), "hidden_dropout_prob", "1")]
#[case(json!({"attention_probs_dropout_prob": -0.1}), "attention_probs_dropout_prob", "-0.1")]
#[case(json!({"layer_norm_eps": 0.0}), "layer_norm_eps", "0")]
#[case(json!({"img_layer_norm_eps": -1.0}), "img_layer_norm_eps", "-1")]
#[case(json!({"initializer_range": 0.0}), "initializer_range", "0")]
#[case(json!({"num_contrast_classes": 4}), "num_contrast_classes", "4")]
#[case(json!({"img_feature_type": "dis_code_t"}), "img_feature_type", "dis_code_t")]
#[case(json!({"pruned_heads": {"0": [1]}}), "pruned_heads", "{\"0\":[1]}")]
fn errors_name_the_key_and_its_value(#[case] file: Value, #[case] name: &str, #[case] value: &str) {
    let config: ModelConfig = serde_json::from_value(file).unwrap();
    let error = config.validate().unwrap_err();
    let ConfigError::Value { key, found, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((&key[..], &found[..]), (name, value));
}

#[test]
fn a_vocabulary_has_an_entry_for_each_of_its_tokens() {
    let config = ModelConfig::tiny();
    config.check_vocabulary(config.vocab_size).unwrap();
    let error = config.check_vocabulary(config.vocab_size + 1).unwrap_err();
    let ConfigError::Value { key, .. } = error.in_section("model") else {
        panic!("not a value out of range");
    };
    assert_eq!(key, "model.vocab_size");
}

#[test]
fn files_that_are_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let error = ModelConfig::from_file(&path).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    assert!(error.to_string().contains("config.json"), "{error}");

    for text in [
        "",
        "[]",
        "{\"hidden_size\": \"wide\"}",
        "{\"hidden_act\": \"tanh\"}",
    ] {
        std::fs::write(&path, text).unwrap();
        let error = ModelConfig::from_file(&path).unwrap_err();
        assert!(
            matches!(error, ConfigError::Parse { .. }),
            "{text}: {error}"
        );
        assert!(error.to_string().contains("config.json"), "{error}");
    }
    let mut keys = serde_json::to_value(ModelConfig::tiny()).unwrap();
    keys["num_choice"] = json!(0);
    std::fs::write(&path, keys.to_string()).unwrap();
    assert!(matches!(
        ModelConfig::from_file(&path),
        Err(ConfigError::Value { .. })
    ));
}

/// A file that says nothing of the model is not one of Oscar base.
#[test]
fn a_file_without_sizes_names_those_that_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    for (keys, lacks) in [
        (json!({}), "vocab_size, hidden_size, num_hidden_layers"),
        (
            json!({"vocab_size": 30_522, "hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}),
            "no num_attention_heads;",
        ),
    ] {
        std::fs::write(&path, keys.to_string()).unwrap();
        let error = ModelConfig::from_file(&path).unwrap_err();
        assert!(matches!(error, ConfigError::Incomplete { .. }), "{error}");
        let found = error.to_string();
        assert!(
            found.contains("config.json") && found.contains(lacks),
            "{found}"
        );
    }
}

#[rstest]
#[case::oscar_base(ModelConfig::base(), 111_684_668)]
#[case::oscar_large(ModelConfig::large(), 338_330_428)]
#[case::oscar_plus_base(plus(ModelConfig::base()), 111_686_973)]
#[case::oscar_plus_large(plus(ModelConfig::large()), 338_333_501)]
fn pretraining_models_have_the_official_size(#[case] config: ModelConfig, #[case] size: usize) {
    assert_eq!(
        count(&OscarForPretraining::<Flex>::new(&config, &FlexDevice), ""),
        size
    );
}

#[rstest]
#[case::base(ModelConfig::base(), 109_482_240 + 1_578_240, 1_536, 622_650, 23_440_896)]
#[case::large(ModelConfig::large(), 335_141_888 + 2_104_320, 2_048, 1_082_170, 31_254_528)]
fn parts_have_the_official_size(
    #[case] config: ModelConfig,
    #[case] body: usize,
    #[case] region_norm: usize,
    #[case] mlm_head: usize,
    #[case] decoder: usize,
) {
    assert_eq!(
        count(&Backbone::<Flex>::new(&config, &FlexDevice), ""),
        body
    );
    assert_eq!(
        count(
            &Backbone::<Flex>::new(&plus(config.clone()), &FlexDevice),
            ""
        ),
        body + region_norm
    );
    let tied = ModelConfig {
        tie_weights: true,
        ..config.clone()
    };
    assert_eq!(
        count(&OscarForCaptioning::<Flex>::new(&tied, &FlexDevice), "cls."),
        mlm_head
    );
    let untied = OscarForCaptioning::<Flex>::new(&config, &FlexDevice);
    assert_eq!(count(&untied, "cls."), mlm_head + decoder);
}

#[rstest]
#[case::vqa_base(ModelConfig::base(), 3129, 2_406_201)]
#[case::vqa_large(ModelConfig::large(), 3129, 3_207_225)]
#[case::gqa_base(ModelConfig::base(), 1853, 1_424_957)]
#[case::gqa_large(ModelConfig::large(), 1853, 1_899_325)]
fn answer_heads_have_the_official_size(
    #[case] config: ModelConfig,
    #[case] num_labels: usize,
    #[case] size: usize,
) {
    let config = ModelConfig {
        num_labels,
        ..config
    };
    let model = OscarClassifier::<Flex>::new(&config, &FlexDevice);
    assert_eq!(count(&model, "classifier."), size);
}

#[rstest]
#[case::base(ModelConfig::base(), 3, 3_545_858, 4_608)]
#[case::base(ModelConfig::base(), 2, 2_363_906, 3_072)]
#[case::large(ModelConfig::large(), 3, 6_300_674, 6_144)]
#[case::large(ModelConfig::large(), 2, 4_200_450, 4_096)]
fn pair_heads_have_the_official_size(
    #[case] config: ModelConfig,
    #[case] cls_hidden_scale: usize,
    #[case] size: usize,
    #[case] norm: usize,
) {
    let config = ModelConfig {
        classifier: Classifier::Mlp,
        cls_hidden_scale,
        ..config
    };
    let model = OscarClassifier::<Flex>::joint(&config, &FlexDevice);
    assert_eq!(count(&model, "classifier."), size);
    let model = OscarClassifier::<Flex>::joint(&plus(config), &FlexDevice);
    assert_eq!(count(&model, "classifier."), size + norm);
}

#[test]
fn presets_are_valid_and_have_names() {
    for name in ["tiny", "base", "large"] {
        ModelConfig::preset(name).unwrap().validate().unwrap();
    }
    assert_eq!(ModelConfig::preset("huge"), None);
}

/// Oscar+: normalised regions and a third contrastive class.
fn plus(config: ModelConfig) -> ModelConfig {
    ModelConfig {
        use_img_layernorm: true,
        num_contrast_classes: 3,
        ..config
    }
}

/// Values of the parameters under `prefix`; none is initialised for that.
fn count<M: Checkpointed<Flex>>(model: &M, prefix: &str) -> usize {
    let parameters = parameters(model);
    parameters
        .iter()
        .filter(|p| p.name.starts_with(prefix))
        .map(|p| p.len())
        .sum()
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}
