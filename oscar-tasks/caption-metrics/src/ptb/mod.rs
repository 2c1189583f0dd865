//! Words of a caption, exactly as the COCO caption evaluation sees them.
//!
//! The evaluation tokenises captions with the Stanford tokeniser 3.4.1, in the manner of the Penn
//! Treebank and in lower case, and removes punctuation. [`tokenize`] does the first, [`caption`]
//! both.
//!
//! The evaluation hands the tokeniser all captions as the lines of one file, where what begins the
//! next line may decide about the last word of a caption (`no.` before a number is one token). Here
//! every caption stands by itself, as if a line followed that begins with a small letter.

mod definitions;
mod lexer;
mod rules;

use std::borrow::Cow;
use std::sync::LazyLock;

use lexer::{Lexer, Scratch};
use regex_automata::util::pool::{Pool, PoolGuard};
use rules::{Keep, RULES, Text};

/// Tokens that the evaluation removes. Brackets are on its list too, but as `-LRB-`, which no token
/// in lower case equals: they stay.
pub const PUNCTUATION: [&str; 13] = [
    "''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";",
];

/// The line that is taken to follow a caption.
const NEXT_LINE: &str = "\na";

type MakeScratch = Box<dyn Fn() -> Scratch + Send + Sync>;

struct Tokenizer {
    lexer: &'static Lexer,
    scratch: Pool<Scratch, MakeScratch>,
}

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    static LEXER: LazyLock<Lexer> = LazyLock::new(|| match Lexer::new(&rules::patterns()) {
        Ok(lexer) => lexer,
        // Not a matter of input: the tests of this module run the table.
        Err(error) => unreachable!("the table of rules: {error}"),
    });
    let lexer: &'static Lexer = &LEXER;
    let make: MakeScratch = Box::new(|| lexer.scratch());
    Tokenizer {
        lexer,
        scratch: Pool::new(make),
    }
});

/// The tokens of `caption`, separated by blanks.
///
/// Blanks within a token (a phone number, a fraction) do not break: U+00A0.
pub fn tokenize(caption: &str) -> String {
    collect(caption, |_| true)
}

/// The tokens of `caption` without punctuation, separated by blanks: what metrics are computed on.
pub fn caption(caption: &str) -> String {
    collect(caption, |token| !PUNCTUATION.contains(&token))
}

/// The words of a tokenised caption, split as the evaluation's Python does: at any white space, so
/// at blanks that do not break too.
pub fn words(tokenized: &str) -> impl Iterator<Item = &str> {
    tokenized.split(is_space).filter(|word| !word.is_empty())
}

/// White space to Python.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1C}'..='\u{1F}')
}

fn collect(caption: &str, keep: impl Fn(&str) -> bool) -> String {
    let mut line = String::with_capacity(caption.len() + caption.len() / 4);
    // Line ends within a caption are blanks to the evaluation.
    let text = [
        &caption.replace(
            [
                '\n', '\r', '\u{B}', '\u{C}', '\u{85}', '\u{2028}', '\u{2029}',
            ],
            " ",
        ),
        NEXT_LINE,
    ]
    .concat();
    for token in Tokens::of(&text) {
        if keep(&token) {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&token);
        }
    }
    line
}

/// The tokens of a text up to its first line end.
struct Tokens<'t> {
    text: &'t str,
    at: usize,
    /// A full stop that was read as part of an abbreviation, and is a token too.
    stop: bool,
    scratch: PoolGuard<'static, Scratch, MakeScratch>,
}

impl<'t> Tokens<'t> {
    fn of(text: &'t str) -> Self {
        let mut scratch = TOKENIZER.scratch.get();
        scratch.next_text();
        Self {
            text,
            at: 0,
            stop: false,
            scratch,
        }
    }
}

impl<'t> Iterator for Tokens<'t> {
    type Item = Cow<'t, str>;

    fn next(&mut self) -> Option<Self::Item> {
        if std::mem::take(&mut self.stop) {
            return Some(Cow::Borrowed("."));
        }
        loop {
            let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
            let bytes = self.text.as_bytes();
            let Some(found) = TOKENIZER.lexer.longest(bytes, self.at, &mut self.scratch) else {
                // A character that no rule begins with is left out.
                self.at += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            };
            let rule = &RULES[found.rule];
            let matched = &self.text[self.at..found.end];
            let token = kept(matched, rule.keep);
            self.at += token.len();
            let token = match rule.text {
                Text::Skip => continue,
                Text::End => return None,
                Text::Is(text) => return Some(Cow::Borrowed(text)),
                Text::Written => token.into(),
                Text::Same => plain(token),
                Text::Quotes => token.chars().map(quote).collect::<String>().into(),
                Text::SameAndStop => {
                    self.stop = true;
                    plain(token)
                }
                Text::WithoutStop => {
                    self.stop = true;
                    plain(token.strip_suffix('.').unwrap_or(token))
                }
                Text::Apostrophe => token
                    .replace("&apos;", "'")
                    .replace(['\u{92}', '\u{2019}'], "'")
                    .replace(['\u{91}', '\u{2018}', '\u{201B}'], "`")
                    .into(),
                Text::Joined => token
                    .replace([' ', '\t'], "\u{A0}")
                    .replace('(', "-lrb-")
                    .replace(')', "-rrb-")
                    .into(),
            };
            return Some(lower(token));
        }
    }
}

/// What of a match is the token. Never nothing, so that reading goes on.
fn kept(matched: &str, keep: Keep) -> &str {
    let end = match keep {
        Keep::All => None,
        Keep::First(bytes) => Some(bytes),
        Keep::But(characters) => {
            let mut ends = matched.char_indices().rev().map(|(at, _)| at);
            ends.nth(characters - 1)
        }
        Keep::ToBlank => matched.find(|c: char| c.is_whitespace()),
        Keep::ToStop => matched.rfind('.').map(|at| at + 1),
        Keep::ToN => matched.rfind(['n', 'N']),
        Keep::ToApostrophe => matched
            .rfind("&apos;")
            .or_else(|| matched.rfind(['\'', '\u{92}', '\u{2019}'])),
    };
    let end = end.filter(|&end| end > 0 && matched.is_char_boundary(end));
    &matched[..end.unwrap_or(matched.len())]
}

/// A word as it is written: ampersands as such, and without soft hyphens.
fn plain(token: &str) -> Cow<'_, str> {
    if token.is_ascii() && !token.contains('&') {
        return token.into();
    }
    match token.chars().all(|c| c == '\u{AD}') {
        true => "-".into(),
        false => token.replace("&amp;", "&").replace('\u{AD}', "").into(),
    }
}

/// The plain form of a quotation mark, if it has one.
fn quote(mark: char) -> Cow<'static, str> {
    match mark {
        '\u{91}' | '\u{2018}' | '\u{201B}' | '\u{2039}' => "`".into(),
        '\u{92}' | '\u{2019}' | '\u{203A}' => "'".into(),
        '\u{93}' | '\u{201C}' | '\u{AB}' => "``".into(),
        '\u{94}' | '\u{201D}' | '\u{BB}' => "''".into(),
        other => other.to_string().into(),
    }
}

fn lower(token: Cow<'_, str>) -> Cow<'_, str> {
    match token
        .bytes()
        .all(|b| b.is_ascii() && !b.is_ascii_uppercase())
    {
        true => token,
        false => token.to_lowercase().into(),
    }
}
