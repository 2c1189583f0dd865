//! Pollution: how often each text is replaced, by what, and what stays.

use oscar_core::input::{ExampleSeed, InputError, PretrainEncoderConfig, TextB, TextBSampleMode};
use rstest::rstest;

use crate::input_support;
use input_support::{
    Corpus, SEED, assert_share, caption, contrast, encode_all, example, regions, tags, text_a,
    text_b, tokenizer, unmasked,
};

#[rstest]
#[case(0.0, true, [0.5, 0.5, 0.0])]
#[case(0.25, true, [0.5, 0.25, 0.25])]
#[case(0.1, true, [0.5, 0.4, 0.1])]
#[case(0.5, true, [0.5, 0.5, 0.0])]
#[case(0.0, false, [0.5, 0.0, 0.5])]
fn classes_occur_as_often_as_configured(
    #[case] p: f64,
    #[case] use_text_b: bool,
    #[case] shares: [f64; 3],
) {
    let config = PretrainEncoderConfig {
        use_text_b,
        ..contrast(p, TextBSampleMode::TextAOrB)
    };
    let pairs = encode_all(&unmasked(config), &Corpus::numbered(200), 50);
    for (class, share) in shares.into_iter().enumerate() {
        let count = pairs
            .iter()
            .filter(|pair| usize::from(pair.relation) == class)
            .count();
        assert_share(count, pairs.len(), share, &format!("class {class}"));
    }
}

#[rstest]
#[case(0.0, [1.0, 0.0, 0.0])]
#[case(0.3, [0.7, 0.2, 0.1])]
fn the_polluted_share_can_be_set(#[case] polluted: f64, #[case] shares: [f64; 3]) {
    let mut config = contrast(0.1, TextBSampleMode::TextB);
    config.contrast.polluted = polluted;
    let pairs = encode_all(&unmasked(config), &Corpus::numbered(200), 50);
    for (class, share) in shares.into_iter().enumerate() {
        let count = pairs
            .iter()
            .filter(|pair| usize::from(pair.relation) == class)
            .count();
        assert_share(count, pairs.len(), share, &format!("class {class}"));
    }
}

#[test]
fn without_text_b_the_caption_is_replaced_in_both_arms() {
    let texts: Vec<_> = (0..50).map(caption).collect();
    let texts: Vec<_> = texts.iter().map(|text| (text.as_str(), " ")).collect();
    let config = contrast(0.0, TextBSampleMode::TextB);
    let pairs = encode_all(&unmasked(config), &Corpus::new(&texts), 20);
    let polluted = pairs.iter().filter(|pair| pair.relation == 1).count();
    assert_share(polluted, pairs.len(), 0.5, "polluted");
    for (index, pair) in pairs.iter().enumerate() {
        let own = tokenizer().encode(&caption(index % 50));
        assert_eq!(text_a(pair) == own, pair.relation == 0);
        assert!(text_b(pair).is_empty());
    }
}

#[test]
fn the_image_keeps_its_regions_and_one_text_is_anothers() {
    let corpus = Corpus::numbered(30);
    let pairs = encode_all(
        &unmasked(contrast(0.25, TextBSampleMode::TextB)),
        &corpus,
        20,
    );
    let tokenizer = tokenizer();
    for (index, pair) in pairs.iter().enumerate() {
        let row = index % 30;
        let own_a = text_a(pair) == tokenizer.encode(&caption(row));
        let own_b = text_b(pair) == tokenizer.encode(&tags(row));
        assert_eq!(
            (own_a, own_b),
            (pair.relation != 2, pair.relation != 1),
            "{}",
            pair.sequence.origin
        );
        let mut values = vec![0.0; 4];
        pair.sequence.regions[0].0.copy_into(&mut values).unwrap();
        assert_eq!(values[0], (100 * row) as f32);
        assert_eq!(pair.sequence.num_regions(), 2 + row % 5);
    }
}

#[test]
fn the_default_mode_takes_captions_for_tags_half_of_the_time() {
    let corpus = Corpus::numbered(100);
    let pairs = encode_all(
        &unmasked(contrast(0.0, TextBSampleMode::TextAOrB)),
        &corpus,
        50,
    );
    let polluted: Vec<_> = pairs.iter().filter(|pair| pair.relation == 1).collect();
    let the = tokenizer().id("the").unwrap();
    let captions = polluted
        .iter()
        .filter(|pair| text_b(pair)[0] == the)
        .count();
    assert_share(captions, polluted.len(), 0.5, "captions among the tags");
}

/// Ten captioned rows, then ten questions about one and the same image.
fn mixed_corpus() -> Corpus {
    let mut corpus = Corpus::numbered(10);
    for row in 10..20 {
        let mut question = example(row, "is it blue ?", &format!("no {row}"), regions(3));
        question.image = "image-of-questions".to_owned();
        question.text_b_is = TextB::Answer;
        corpus.push(question);
    }
    corpus
}

#[test]
fn answer_mode_takes_other_rows_answers_even_of_the_same_image() {
    let corpus = mixed_corpus();
    let encoder = unmasked(contrast(0.0, TextBSampleMode::Answer));
    encoder.check_corpus(&corpus).unwrap();
    let pairs = encode_all(&encoder, &corpus, 50);
    let no = tokenizer().id("no").unwrap();
    for (index, pair) in pairs
        .iter()
        .enumerate()
        .filter(|(_, pair)| pair.relation == 1)
    {
        assert_eq!(text_b(pair)[0], no);
        let own = tokenizer().encode(&corpus.rows[index % 20].text_b);
        assert_ne!(text_b(pair), own);
    }
}

#[test]
fn answer_mode_needs_answers() {
    let corpus = Corpus::numbered(10);
    let encoder = unmasked(contrast(0.0, TextBSampleMode::Answer));
    assert!(matches!(
        encoder.check_corpus(&corpus),
        Err(InputError::NoAnswerRows)
    ));
    let failed = (0..10)
        .map(|row| encoder.encode(&corpus, row, SEED))
        .filter(Result::is_err);
    assert!(failed.count() > 0);
    // Nor is an answer ever drawn where text B is not replaced.
    let encoder = unmasked(contrast(0.5, TextBSampleMode::Answer));
    encoder.check_corpus(&corpus).unwrap();
    encode_all(&encoder, &corpus, 20);
}

#[test]
fn a_corpus_of_one_image_is_polluted_with_itself() {
    let corpus = Corpus::numbered(1);
    let pairs = encode_all(
        &unmasked(contrast(0.25, TextBSampleMode::TextB)),
        &corpus,
        2000,
    );
    let polluted = pairs.iter().filter(|pair| pair.relation > 0).count();
    assert_share(polluted, pairs.len(), 0.5, "polluted");
}

#[test]
fn a_polluted_row_names_both_rows() {
    // The other row's caption is empty: whichever way row 0 is polluted, it must be named.
    let corpus = Corpus::new(&[("a box", ""), ("\u{0}", "")]);
    let encoder = unmasked(PretrainEncoderConfig::default());
    let error = (0..40)
        .find_map(|epoch| {
            encoder
                .encode(&corpus, 0, ExampleSeed { seed: 1, epoch })
                .err()
        })
        .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("memory:1 (with the text of memory:2)"),
        "{error}"
    );
}
