//! The tokenizer against the official one, and against broken vocabularies.

use std::fs;

use oscar_core::input::{InputError, Tokenizer};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::Value;

use crate::input_support;
use input_support::{goldens, tokenizer};

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token.as_str().unwrap())
        .collect()
}

#[test]
fn ids_tokens_and_decoded_text_are_the_official_ones() {
    let tokenizer = tokenizer();
    let special = tokenizer.special();
    let text = fs::read_to_string(goldens().join("expected.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 25);
    for case in &cases {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(tokenizer.encode(text), ids, "ids of {text:?}");
        assert_eq!(
            tokenizer.tokens(text),
            strings(&case["tokens"]),
            "tokens of {text:?}"
        );

        let framed = [
            &[special.cls],
            ids.as_slice(),
            &[special.sep, special.pad, special.pad],
        ];
        let decoded = tokenizer.decode(&framed.concat());
        assert_eq!(
            decoded,
            case["decoded"].as_str().unwrap(),
            "decoded {text:?}"
        );
    }
}

fn small_vocab(extra: &[&str]) -> Vec<String> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    special
        .iter()
        .chain(extra)
        .map(|token| (*token).to_owned())
        .collect()
}

// Each rule of `clean_up_tokenization`, which the golden's sentences do not all reach.
#[rstest]
#[case(&["it", "'", "s", "ok", "."], "it's ok.")]
#[case(&["a", ",", "b", "!", "c", "?"], "a, b! c?")]
#[case(&["do", "n't"], "don't")]
#[case(&["i", "'m", "he", "'s", "we", "'ve", "they", "'re"], "i'm he's we've they're")]
#[case(&["we", "do", "not", "go"], "we don't go")]
#[case(&["do", "not"], "do not")]
#[case(&["we", "do", "nothing"], "we don'thing")]
#[case(&["##s", "##t"], "##st")]
#[case(&["x", ";", "(", "y", ")"], "x ; ( y )")]
fn decoding_cleans_up_as_officially(#[case] tokens: &[&str], #[case] expected: &str) {
    let mut unique: Vec<&str> = tokens.to_vec();
    unique.sort_unstable();
    unique.dedup();
    let tokenizer = Tokenizer::from_vocab(small_vocab(&unique)).unwrap();
    let ids: Vec<u32> = tokens
        .iter()
        .map(|token| tokenizer.id(token).unwrap())
        .collect();
    assert_eq!(tokenizer.decode(&ids), expected);
}

#[test]
fn decoding_drops_special_and_unknown_ids() {
    let tokenizer = Tokenizer::from_vocab(small_vocab(&["a"])).unwrap();
    assert_eq!(tokenizer.decode(&[2, 5, 1, 4, 99, 3, 0]), "a");
}

#[test]
fn words_beyond_a_hundred_characters_are_unknown() {
    let tokenizer = Tokenizer::from_vocab(small_vocab(&["a", "##a", "é"])).unwrap();
    assert_eq!(tokenizer.encode(&"a".repeat(100)).len(), 100);
    assert_eq!(
        tokenizer.encode(&"a".repeat(101)),
        [tokenizer.special().unk]
    );
}

// Python lowers the last sigma of a word to another letter than the others.
#[rstest]
#[case("ΟΔΟΣ", &["οδος"])]
#[case("ΣΑΣ [MASK]", &["σας", "[MASK]"])]
#[case("Σ", &["σ"])]
fn a_words_last_sigma_is_final(#[case] text: &str, #[case] expected: &[&str]) {
    let tokenizer = Tokenizer::from_vocab(small_vocab(&["οδος", "οδοσ", "σας", "σ"])).unwrap();
    assert_eq!(tokenizer.tokens(text), expected);
}

#[test]
fn special_ids_are_looked_up_not_assumed() {
    let vocab = ["a", "[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]"]
        .map(str::to_owned)
        .to_vec();
    let special = Tokenizer::from_vocab(vocab).unwrap().special();
    assert_eq!((special.mask, special.sep, special.cls), (1, 2, 3));
    assert_eq!((special.unk, special.pad), (4, 5));
}

#[test]
fn a_saved_vocabulary_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocab.txt");
    let tokenizer = tokenizer();
    tokenizer.save(&path).unwrap();
    assert_eq!(
        fs::read(&path).unwrap(),
        fs::read(goldens().join("vocab.txt")).unwrap()
    );
    assert_eq!(
        Tokenizer::from_vocab_file(&path).unwrap().vocab(),
        tokenizer.vocab()
    );
    let error = tokenizer
        .save(folder.path().join("no/such/vocab.txt"))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot write the vocabulary "),
        "{error}"
    );
}

#[test]
fn line_ends_of_windows_and_blank_lines_at_the_end_are_no_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocab.txt");
    for end in ["", "\r\n", "\r\n\r\n \n"] {
        fs::write(&path, small_vocab(&["a"]).join("\r\n") + end).unwrap();
        assert_eq!(
            Tokenizer::from_vocab_file(&path).unwrap().vocab(),
            small_vocab(&["a"])
        );
    }
}

#[rstest]
#[case("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", &["vocab.txt", "[MASK]"])]
#[case(
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\na\n",
    &["vocab.txt:8", "`a`", "line 6"]
)]
#[case("[PAD]\n\n[UNK]\n", &["vocab.txt:2"])]
#[case("", &["vocab.txt", "[PAD]"])]
fn a_broken_vocabulary_is_refused(#[case] content: &str, #[case] named: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocab.txt");
    fs::write(&path, content).unwrap();
    let error = Tokenizer::from_vocab_file(&path).unwrap_err().to_string();
    for part in named {
        assert!(error.contains(part), "{error}");
    }
}

#[rstest]
#[case(None)]
#[case(Some(b"[PAD]\n\xff\xfe\n".as_slice()))]
fn an_unreadable_vocabulary_is_named(#[case] content: Option<&[u8]>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocab.txt");
    if let Some(content) = content {
        fs::write(&path, content).unwrap();
    }
    let error = Tokenizer::from_vocab_file(&path).unwrap_err();
    assert!(matches!(error, InputError::ReadVocab { .. }));
    assert!(error.to_string().ends_with("vocab.txt"), "{error}");
}

proptest! {
    #[test]
    fn any_text_encodes_to_ids_of_the_vocabulary(text in any::<String>()) {
        let tokenizer = tokenizer();
        for id in tokenizer.encode(&text) {
            prop_assert!(tokenizer.token(id).is_some());
        }
    }

    #[test]
    fn any_ids_decode(ids in proptest::collection::vec(any::<u32>(), 0..50)) {
        tokenizer().decode(&ids);
    }
}
