//! WordPiece, as BERT's: the tokens, ids and decoded text of `pytorch_transformers` 1.1.
//!
//! Built on the `tokenizers` crate. This module adds a vocabulary checked line by line, and the
//! official clean-up of decoded text, on which caption metrics are computed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::{fmt, fs};

use oscar_files::{SMALL_FILE, read_text};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, DecoderWrapper, PostProcessorWrapper, TokenizerBuilder};
use tokenizers::{Result as WordPieceResult, TokenizerImpl};

use super::casing::{SETTINGS_FILE, do_lower_case, is_cased, words_with_capitals};
use super::error::InputError;
use super::masking::TokenMasker;

type Pipeline = TokenizerImpl<
    WordPiece,
    BertNormalizer,
    BertPreTokenizer,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// Longer words become `[UNK]`, as officially.
const MAX_CHARS_PER_WORD: usize = 100;

/// The official clean-up of decoded text, in the official order: each rule sees the result of the
/// one before.
const CLEAN_UP: [(&str, &str); 11] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// Ids of the five special tokens. In `bert-base-uncased`: 0, 100, 101, 102 and 103.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialIds {
    /// `[PAD]`, which fills a batch.
    pub pad: u32,
    /// `[UNK]`, in place of any word that the vocabulary cannot spell.
    pub unk: u32,
    /// `[CLS]`, the first token; its hidden state represents the whole input.
    pub cls: u32,
    /// `[SEP]`, which ends each text.
    pub sep: u32,
    /// `[MASK]`, the token to be predicted.
    pub mask: u32,
}

impl SpecialIds {
    pub(super) const TOKENS: [&'static str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

    fn find(ids: &HashMap<&str, u32>, origin: &str) -> Result<Self, InputError> {
        let id = |token: &'static str| match ids.get(token) {
            Some(&id) => Ok(id),
            None => Err(InputError::MissingSpecialToken {
                origin: origin.to_owned(),
                token,
            }),
        };
        let [pad, unk, cls, sep, mask] = Self::TOKENS;
        Ok(Self {
            pad: id(pad)?,
            unk: id(unk)?,
            cls: id(cls)?,
            sep: id(sep)?,
            mask: id(mask)?,
        })
    }

    /// Whether `id` is one of the five.
    pub fn contains(&self, id: u32) -> bool {
        [self.pad, self.unk, self.cls, self.sep, self.mask].contains(&id)
    }
}

/// The vocabulary of BERT base uncased (Apache-2.0).
const BERT_BASE_UNCASED: &str = include_str!("../../../config/bert-base-uncased-vocab.txt");

/// A WordPiece tokenizer. Immutable: share one among all threads.
///
/// Texts are lower-cased as for BERT base uncased, unless the vocabulary is one of cased text, or its
/// `tokenizer_config.json` says otherwise.
///
/// ```
/// use oscar_core::input::Tokenizer;
///
/// let tokenizer = Tokenizer::bert_base_uncased()?;
/// assert_eq!(tokenizer.tokens("An unaffable dog"), ["an", "una", "##ffa", "##ble", "dog"]);
/// assert_eq!(tokenizer.decode(&tokenizer.encode("An unaffable dog")), "an unaffable dog");
/// # Ok::<(), oscar_core::input::InputError>(())
/// ```
pub struct Tokenizer {
    pipeline: Pipeline,
    vocab: Vec<String>,
    special: SpecialIds,
    lower_case: bool,
}

impl Tokenizer {
    /// Reads a `vocab.txt`: one token per line, whose id is the line's number from 0. Texts are
    /// lower-cased as a `tokenizer_config.json` beside it says, else if it has no capitals.
    ///
    /// # Errors
    ///
    /// A file cannot be read, a line is empty or repeats another, or a special token is missing.
    pub fn from_vocab_file(path: impl AsRef<Path>) -> Result<Self, InputError> {
        let path = path.as_ref();
        let text = read_text(path, SMALL_FILE).map_err(|source| InputError::ReadVocab {
            path: path.to_owned(),
            source,
        })?;
        let lower_case = do_lower_case(path.parent().unwrap_or(Path::new("")))?;
        let origin = path.display().to_string();
        // Blank lines may end a file, as editors leave them: they are no tokens.
        let tokens = || text.trim_end().lines().map(str::trim_end);
        // Before any is kept: a file of blank or equal lines would take 28 times its size.
        index_tokens(tokens(), &origin)?;
        Self::build(tokens().map(String::from).collect(), &origin, lower_case)
    }

    /// Takes the tokens in order: the first has id 0.
    ///
    /// # Errors
    ///
    /// As [`from_vocab_file`](Self::from_vocab_file); messages count lines from 1.
    pub fn from_vocab(vocab: Vec<String>) -> Result<Self, InputError> {
        Self::build(vocab, "vocabulary", None)
    }

    /// The tokenizer of BERT base uncased, which every published recipe uses.
    ///
    /// # Errors
    ///
    /// Never, unless the file that is compiled in was damaged.
    pub fn bert_base_uncased() -> Result<Self, InputError> {
        let vocab = BERT_BASE_UNCASED.lines().map(String::from).collect();
        Self::build(vocab, "bert-base-uncased", Some(true))
    }

    /// Of the tokens in order; whether texts are lower-cased follows from them if it is not given.
    pub(super) fn build(
        vocab: Vec<String>,
        origin: &str,
        lower_case: Option<bool>,
    ) -> Result<Self, InputError> {
        let special = SpecialIds::find(
            &index_tokens(vocab.iter().map(String::as_str), origin)?,
            origin,
        )?;
        let lower_case = lower_case.unwrap_or_else(|| !is_cased(&vocab));
        let pipeline = pipeline(&vocab, lower_case).map_err(|source| InputError::WordPiece {
            origin: origin.to_owned(),
            source,
        })?;
        Ok(Self {
            pipeline,
            vocab,
            special,
            lower_case,
        })
    }

    /// Whether texts are lower-cased, and lose their accents with it.
    pub fn lower_case(&self) -> bool {
        self.lower_case
    }

    /// Words with capitals that no text can give, since texts are lower-cased.
    pub fn unreachable_words(&self) -> usize {
        match self.lower_case {
            true => words_with_capitals(&self.vocab),
            false => 0,
        }
    }

    /// The ids of `text`, without `[CLS]` and `[SEP]` around it.
    ///
    /// As officially, control characters vanish, case and accents are dropped unless the vocabulary is
    /// of cased text, and a special token
    /// spelled out in the text (`[MASK]`) is that token.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        // The only error a WordPiece pipeline knows is a vocabulary without [UNK], which `build`
        // refuses; so nothing is lost here, and an empty result is an error of the encoder anyway.
        let text = match self.lower_case {
            true => with_final_sigmas(text),
            false => Cow::Borrowed(text),
        };
        match self.pipeline.encode_fast(text, false) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            Err(_) => Vec::new(),
        }
    }

    /// The tokens of `text`: `["two", "s", "##p", ..]`.
    pub fn tokens(&self, text: &str) -> Vec<&str> {
        self.encode(text)
            .into_iter()
            .filter_map(|id| self.token(id))
            .collect()
    }

    /// The text of `ids`, special tokens dropped, word pieces joined, cleaned up as officially.
    ///
    /// Ids outside the vocabulary are dropped too: officially they become `[UNK]`.
    pub fn decode(&self, ids: &[u32]) -> String {
        let tokens: Vec<&str> = ids
            .iter()
            .filter(|&&id| !self.special.contains(id))
            .filter_map(|&id| self.token(id))
            .collect();
        let text = tokens.join(" ").replace(" ##", "").trim().to_owned();
        CLEAN_UP.iter().fold(text, |text, (from, to)| {
            if text.contains(from) {
                text.replace(from, to)
            } else {
                text
            }
        })
    }

    /// The token with this id.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.vocab.get(id as usize).map(String::as_str)
    }

    /// The id of this token, spelled as in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.pipeline.token_to_id(token)
    }

    /// Ids of the special tokens.
    pub fn special(&self) -> SpecialIds {
        self.special
    }

    /// Masks tokens of this vocabulary.
    pub(super) fn masker(&self) -> TokenMasker {
        TokenMasker {
            mask_id: self.special.mask,
            vocab_size: self.vocab.len() as u32,
        }
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// All tokens, by id.
    pub fn vocab(&self) -> &[String] {
        &self.vocab
    }

    /// Writes the vocabulary to the file `path`, which [`from_vocab_file`] reads, and beside it a
    /// `tokenizer_config.json` if the vocabulary is of cased text or does not say so by itself.
    ///
    /// [`from_vocab_file`]: Self::from_vocab_file
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), InputError> {
        let path = path.as_ref();
        let write = |path: &Path, content: String| {
            fs::write(path, content).map_err(|source| InputError::WriteVocab {
                path: path.to_owned(),
                source,
            })
        };
        write(path, lines(&self.vocab))?;
        if self.lower_case && !is_cased(&self.vocab) {
            return Ok(());
        }
        let settings = serde_json::json!({"do_lower_case": self.lower_case});
        write(&path.with_file_name(SETTINGS_FILE), format!("{settings}\n"))
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab.len())
            .finish_non_exhaustive()
    }
}

/// Lowers words with a capital sigma, as the pipeline's letter-by-letter lowering cannot: at the end
/// of a word it becomes `ς`, elsewhere `σ`. Words that may hold a special token stay as they are.
fn with_final_sigmas(text: &str) -> Cow<'_, str> {
    if !text.contains('Σ') {
        return Cow::Borrowed(text);
    }
    let words = text.split_inclusive(char::is_whitespace);
    words
        .map(|word| {
            if word.contains('[') {
                word.to_owned()
            } else {
                word.to_lowercase()
            }
        })
        .collect()
}

/// Maps each token to its id; refuses empty and repeated ones, at the first.
fn index_tokens<'a>(
    tokens: impl Iterator<Item = &'a str>,
    origin: &str,
) -> Result<HashMap<&'a str, u32>, InputError> {
    let mut ids = HashMap::new();
    for (index, token) in tokens.enumerate() {
        let line = index + 1;
        if token.trim().is_empty() {
            return Err(InputError::EmptyToken {
                origin: origin.to_owned(),
                line,
            });
        }
        if let Some(first) = ids.insert(token, index as u32) {
            return Err(InputError::DuplicateToken {
                origin: origin.to_owned(),
                token: token.to_owned(),
                first: first as usize + 1,
                line,
            });
        }
    }
    Ok(ids)
}

fn lines(vocab: &[String]) -> String {
    vocab
        .iter()
        .flat_map(|token| [token.as_str(), "\n"])
        .collect()
}

fn pipeline(vocab: &[String], lower_case: bool) -> WordPieceResult<Pipeline> {
    let model = WordPiece::builder()
        .vocab(WordPiece::read_bytes(lines(vocab).as_bytes())?)
        .unk_token("[UNK]".to_owned())
        .max_input_chars_per_word(MAX_CHARS_PER_WORD)
        .build()?;
    let mut pipeline: Pipeline = TokenizerBuilder::new()
        .with_model(model)
        .with_normalizer(Some(BertNormalizer::new(true, true, None, lower_case)))
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .build()?;
    pipeline.add_special_tokens(&SpecialIds::TOKENS.map(|token| AddedToken::from(token, true)));
    Ok(pipeline)
}
