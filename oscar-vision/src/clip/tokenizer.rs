//! The tokens of CLIP's texts: byte-pair encoding of lower-cased words, by the `tokenizers` crate.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use oscar_files::{SMALL_FILE, TextFile, read_file};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::normalizers::utils::{Lowercase, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as Splitters;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::ClipError;

/// Files of merges: HuggingFace's, and OpenAI's, which has more of them than are used.
const MERGES: [&str; 3] = [
    "merges.txt",
    "bpe_simple_vocab_16e6.txt.gz",
    "bpe_simple_vocab_16e6.txt",
];

const VOCABULARY: &str = "vocab.json";

/// Begins and ends a text.
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// Behind the last piece of a word.
const END_OF_WORD: &str = "</w>";

/// What is a word: an English contraction, letters, one digit, or other signs. White space is none.
const WORD: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Encodes texts as OpenAI's `SimpleTokenizer` does: lower-cased, a word's last piece marked as such.
/// Unlike there, broken encodings and HTML entities stay as they are.
#[derive(Debug)]
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
}

impl ClipTokenizer {
    /// Opens the merges in `directory`: HuggingFace's `merges.txt`, else OpenAI's
    /// `bpe_simple_vocab_16e6.txt.gz`, for a model of `size` tokens. Which number a token has follows from
    /// the merges: 256 bytes, 256 bytes that end a word, the merges, start and end of a text.
    ///
    /// # Errors
    ///
    /// If there is none, it has too few merges or another form, or a `vocab.json` beside it has other
    /// numbers.
    pub fn open(directory: &Path, size: usize) -> Result<Self, ClipError> {
        let paths = MERGES.map(|name| directory.join(name));
        let path = paths.iter().find(|path| path.is_file());
        let path = path.ok_or_else(|| ClipError::NoTokens {
            directory: directory.into(),
        })?;
        let wrong = |found: String| malformed(path, found);
        let bytes = TextFile::open(path)?.bytes()?;
        let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
        let bytes = byte_characters().map(|(_, letter)| letter.to_string());
        let mut tokens: Vec<String> = bytes.collect();
        tokens.extend_from_within(..);
        tokens[256..]
            .iter_mut()
            .for_each(|token| token.push_str(END_OF_WORD));
        let wanted = size.saturating_sub(tokens.len() + 2);
        let merges = read_merges(text, wanted).map_err(wrong)?;
        tokens.extend(
            merges
                .iter()
                .map(|(first, second)| format!("{first}{second}")),
        );
        tokens.extend([START.into(), END.into()]);
        if tokens.len() != size {
            let found = format!(
                "its merges make {} tokens, but the CLIP has {size}",
                tokens.len()
            );
            return Err(wrong(found));
        }
        let vocabulary: BTreeMap<String, u32> = tokens.into_iter().zip(0..).collect();
        check_vocabulary(&directory.join(VOCABULARY), &vocabulary)?;
        let (start, end) = (size as u32 - 2, size as u32 - 1);
        let tokenizer = build(vocabulary, merges).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            tokenizer,
            start,
            end,
        })
    }

    /// The tokens of a text, between those that begin and end it.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        // Every byte is a token, so that every text has tokens.
        let encoded = self.tokenizer.encode(text, false);
        let ids = encoded.map_or_else(|_| Vec::new(), |encoded| encoded.get_ids().to_vec());
        [vec![self.start], ids, vec![self.end]].concat()
    }
}

fn build(
    vocabulary: BTreeMap<String, u32>,
    merges: Vec<(String, String)>,
) -> tokenizers::Result<Tokenizer> {
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.into_iter().collect::<Vocab>(), merges)
        .end_of_word_suffix(END_OF_WORD.into())
        .build()?;
    let words = SplitPattern::Regex(WORD.into());
    let words = Split::new(words, SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::new(false, true, false);
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(Normalizers::new(vec![NFC.into(), Lowercase.into()])))
        .with_pre_tokenizer(Some(Splitters::new(vec![words.into(), bytes.into()])));
    let special = [START, END].map(|name| AddedToken::from(name, true).normalized(false));
    tokenizer.add_special_tokens(&special);
    Ok(tokenizer)
}

fn malformed(path: &Path, found: String) -> ClipError {
    ClipError::Malformed {
        path: path.into(),
        found,
        fix: "give the merges of the same CLIP: HuggingFace's merges.txt or OpenAI's \
              bpe_simple_vocab_16e6.txt.gz",
    }
}

/// The first `wanted` pairs of pieces, one a line, behind the line of the version.
fn read_merges(text: &str, wanted: usize) -> Result<Vec<(String, String)>, String> {
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(number, line)| {
        let version = *number == 1 && line.contains("#version");
        !version && !line.is_empty()
    });
    let pair = |(number, line): (usize, &str)| match line.split_once(' ') {
        Some((first, second)) if !first.is_empty() && !second.is_empty() => {
            Ok((first.to_string(), second.to_string()))
        }
        _ => Err(format!("line {number} is not two pieces: {line:?}")),
    };
    lines.take(wanted).map(pair).collect()
}

/// Numbers that a `vocab.json` gives must be those that follow from the merges.
fn check_vocabulary(path: &Path, vocabulary: &BTreeMap<String, u32>) -> Result<(), ClipError> {
    if !path.is_file() {
        return Ok(());
    }
    let wrong = |found: String| malformed(path, found);
    let named: HashMap<String, u32> = serde_json::from_slice(&read_file(path, SMALL_FILE)?)
        .map_err(|error| wrong(error.to_string()))?;
    let other = |(token, id): &(&String, &u32)| named.get(*token) != Some(id);
    match vocabulary.iter().find(other) {
        None => Ok(()),
        Some((token, id)) => {
            let found = named
                .get(token)
                .map_or("no number".into(), |id| format!("number {id}"));
            let found = format!("token {token:?} has {found}, but {id} by the merges beside it");
            Err(wrong(found))
        }
    }
}

/// The characters that stand for the 256 bytes in byte-level vocabularies, in their order there: those
/// that can be printed stand for themselves and come first.
pub fn byte_characters() -> impl Iterator<Item = (u8, char)> {
    let printable = |byte: &u8| matches!(*byte, 33..=126 | 161..=172 | 174..=255);
    let others = (0..=255u8).filter(move |byte| !printable(byte));
    let own = (0..=255u8)
        .filter(printable)
        .map(|byte| (byte, char::from(byte)));
    let others = others.zip(256u32..);
    own.chain(others.filter_map(|(byte, code)| Some((byte, char::from_u32(code)?))))
}
