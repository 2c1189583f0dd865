//! The encoder's configuration: names, ranges, classes.

use oscar_core::config::ConfigError;
use oscar_core::input::{
    InputError, PaddingConfig, PretrainEncoder, PretrainEncoderConfig, TextBSampleMode,
};
use rstest::rstest;

use crate::input_support;
use input_support::{contrast, tokenizer};

#[rstest]
#[case(0.0, true, 2)]
#[case(0.25, true, 3)]
#[case(0.5, true, 2)]
#[case(0.0, false, 3)]
#[case(0.5, false, 2)]
fn the_number_of_classes_is_the_official_one(
    #[case] p: f64,
    #[case] use_text_b: bool,
    #[case] expected: usize,
) {
    let config = PretrainEncoderConfig {
        use_text_b,
        ..contrast(p, TextBSampleMode::TextAOrB)
    };
    assert_eq!(config.num_contrast_classes(), expected);
}

#[rstest]
#[case("max_seq_length = 4", "max_seq_length", "4")]
#[case("max_regions = 0", "max_regions", "0")]
#[case("mask_probability = 1.5", "mask_probability", "1.5")]
#[case("mask_probability = nan", "mask_probability", "NaN")]
#[case(
    "contrast.texta_false_prob = -0.1",
    "contrast.texta_false_prob",
    "-0.1"
)]
fn a_value_out_of_range_is_named(#[case] toml: &str, #[case] key: &str, #[case] found: &str) {
    let config: PretrainEncoderConfig = toml::from_str(toml).unwrap();
    let error = PretrainEncoder::new(tokenizer(), config, PaddingConfig::default()).unwrap_err();
    let InputError::Config(ConfigError::Value {
        key: named,
        found: value,
        ..
    }) = error
    else {
        panic!("{error}");
    };
    assert_eq!((&named[..], &value[..]), (key, found));
}

#[rstest]
#[case("'text_a_or_b'", TextBSampleMode::TextAOrB)]
#[case("'answer'", TextBSampleMode::Answer)]
#[case("0", TextBSampleMode::TextAOrB)]
#[case("1", TextBSampleMode::TextB)]
#[case("2", TextBSampleMode::Answer)]
fn the_sample_mode_has_names_and_official_numbers(
    #[case] value: &str,
    #[case] expected: TextBSampleMode,
) {
    let text = format!("contrast.textb_sample_mode = {value}");
    let config: PretrainEncoderConfig = toml::from_str(&text).unwrap();
    assert_eq!(config.contrast.textb_sample_mode, expected);
    let again = toml::to_string(&config).unwrap();
    assert_eq!(
        toml::from_str::<PretrainEncoderConfig>(&again).unwrap(),
        config
    );
}

#[rstest]
#[case("contrast.textb_sample_mode = 3")]
#[case("contrast.textb_sample_mode = 'tags'")]
fn another_sample_mode_is_refused(#[case] text: &str) {
    let error = toml::from_str::<PretrainEncoderConfig>(text)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`text_a_or_b` (0), `text_b` (1) or `answer` (2)"),
        "{error}"
    );
}

#[rstest]
#[case("max_seq_len = 4")]
#[case("contrast.p = 4")]
fn an_unknown_key_is_refused(#[case] text: &str) {
    assert!(toml::from_str::<PretrainEncoderConfig>(text).is_err());
}
