//! What the VQA evaluation takes for the same answer: without case, articles and punctuation, with
//! digits for number words and apostrophes where they belong.
//!
//! The published evaluation has its quirks (a comma between digits anywhere removes all
//! punctuation; 32 full stops are removed and no more), and its numbers depend on them.

use std::collections::HashMap;
use std::sync::LazyLock;

const PUNCTUATION: &str = ";/[]\"{}()=+\\_-><@`,?!";
const ARTICLES: &[&str] = &["a", "an", "the"];
const NUMBERS: &[(&str, &str)] = &[
    ("none", "0"),
    ("zero", "0"),
    ("one", "1"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
];

/// Most full stops that are removed.
const FULL_STOPS: usize = 32;

/// Contractions, each known with any one of its apostrophes missing.
const CONTRACTIONS: &str = "
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't
    mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've
    should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
    someone'll someone's something'd something'd've something'll that's there'd there'd've there're
    there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll
    what're what's what've when's where'd where's where've who'd who'd've who'll who's who've
    why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd
    you'd've you'll you're you've";

/// Words that are written otherwise.
static WORDS: LazyLock<HashMap<String, &str>> = LazyLock::new(|| {
    let mut words = HashMap::new();
    for contraction in CONTRACTIONS.split_ascii_whitespace() {
        for (at, _) in contraction.match_indices('\'') {
            let misspelt = format!("{}{}", &contraction[..at], &contraction[at + 1..]);
            words.insert(misspelt, contraction);
        }
    }
    // The published list has it the wrong way round.
    words.insert("somebody'd".into(), "somebodyd");
    words
});

/// An answer as the VQA evaluation compares it.
pub fn normalise(answer: &str) -> String {
    let text = remove_punctuation(answer).to_lowercase();
    let mut words = Vec::new();
    for word in text.split(is_blank).filter(|word| !word.is_empty()) {
        let number = NUMBERS.iter().find(|(name, _)| *name == word);
        let word = number.map_or(word, |(_, digits)| digits);
        if !ARTICLES.contains(&word) {
            words.push(WORDS.get(word).copied().unwrap_or(word));
        }
    }
    words.join(" ")
}

/// An answer without its punctuation, of which some becomes blanks.
pub fn remove_punctuation(answer: &str) -> String {
    let comma_in_number = has_comma_in_number(answer);
    let mut text = answer.to_owned();
    for mark in PUNCTUATION.chars().filter(|mark| answer.contains(*mark)) {
        let beside_blank =
            answer.contains(&format!("{mark} ")) || answer.contains(&format!(" {mark}"));
        let with = if beside_blank || comma_in_number {
            ""
        } else {
            " "
        };
        text = text.replace(mark, with);
    }
    remove_full_stops(&text)
}

/// Python's blanks: those of Unicode, and four separators of ASCII.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\x1c'..='\x1f')
}

/// The text without blanks around it, and with spaces for newlines and tabs.
pub fn tidy(answer: &str) -> String {
    let text = answer.replace(['\n', '\t'], " ");
    text.trim_matches(is_blank).to_owned()
}

fn has_comma_in_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes
        .windows(3)
        .any(|window| window[1] == b',' && window[0].is_ascii_digit() && window[2].is_ascii_digit())
}

/// Removes full stops before anything but a digit.
fn remove_full_stops(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut removed = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let before_digit = characters.peek().is_some_and(char::is_ascii_digit);
        if character == '.' && !before_digit && removed < FULL_STOPS {
            removed += 1;
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_published_evaluation() {
        for (answer, expected) in [
            ("The Dog.", "dog"),
            ("Two dogs", "2 dogs"),
            ("1,000 dogs!", "1000 dogs"),
            ("t-shirt", "t shirt"),
            ("black / white", "black white"),
            ("dont", "don't"),
            ("yall'd've", "y'all'd've"),
            ("somebody'd", "somebodyd"),
            ("a.1", "a.1"),
            ("1.a", "1a"),
            ("lets", "lets"),
            ("the a an", ""),
        ] {
            assert_eq!(normalise(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn no_contraction_is_another_ones_misspelling() {
        let misspellings: usize = CONTRACTIONS.matches('\'').count();
        assert_eq!(WORDS.len(), misspellings + 1);
    }
}
