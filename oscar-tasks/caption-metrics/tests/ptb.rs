//! The tokeniser against the Stanford tokeniser's own output.

use oscar_caption_metrics::ptb;
use proptest::prelude::*;

const CASES: &str = include_str!("ptb/cases.tsv");

#[test]
fn tokens_are_those_of_the_stanford_tokeniser() {
    let mut wrong = Vec::new();
    // Lines are told by their line feed alone: other line ends are among the cases.
    for case in CASES.split_terminator('\n') {
        let (sentence, tokens) = case.split_once('\t').expect("two columns");
        let got = ptb::tokenize(sentence);
        if got != tokens {
            wrong.push(format!("{sentence:?}: expected {tokens:?}, got {got:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn punctuation_is_removed_and_brackets_are_kept() {
    assert_eq!(
        ptb::caption("A man's \"hat\" (red), isn't it? -- Yes..."),
        "a man 's hat -lrb- red -rrb- is n't it yes"
    );
    assert_eq!(ptb::caption("..."), "");
    assert_eq!(ptb::caption(""), "");
}

#[test]
fn line_ends_within_a_caption_are_blanks() {
    assert_eq!(ptb::caption("a dog\nruns\r\nfast"), "a dog runs fast");
}

#[test]
fn words_split_as_python_does() {
    // A phone number is one token, of several words.
    let tokens = ptb::tokenize("call 800 555 1234");
    assert_eq!(tokens, "call 800\u{A0}555\u{A0}1234");
    let words: Vec<&str> = ptb::words(&tokens).collect();
    assert_eq!(words, ["call", "800", "555", "1234"]);
}

/// Texts in which a match fails far behind its end at every position: of quadratic time, these would
/// not come to an end.
#[test]
fn unclosed_tags_and_the_like_take_linear_time() {
    for part in [
        "<a b ", "<!-", "<a b=\"", "*.", "a@", "&#1", "(5", "~.~", "a'", "\u{AD}", "http://", ". ",
    ] {
        let text = part.repeat(1_000_000 / part.len());
        assert!(!ptb::tokenize(&text).is_empty(), "{part}");
    }
}

proptest! {
    #[test]
    fn any_text_has_tokens(text in any::<String>()) {
        let tokens = ptb::tokenize(&text);
        prop_assert!(!tokens.contains('\n'));
        prop_assert_eq!(&ptb::tokenize(&text), &tokens);
    }

    #[test]
    fn texts_of_marks_have_tokens(text in "[a-cA-C0-2'\"`.,!?&;:<>/@#$()_ =*’“-]{0,40}") {
        let tokens = ptb::tokenize(&text);
        // Nothing is lost but blanks, case and the names of marks.
        let letters = |text: &str| text.chars().filter(|c| "abc012".contains(*c)).count();
        prop_assert!(letters(&tokens) >= letters(&text.to_lowercase()), "{tokens}");
    }
}
