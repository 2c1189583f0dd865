//! GPT-2's tokens: byte-level byte-pair encoding, by the `tokenizers` crate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oscar_files::{FileError, SMALL_FILE, read_file, write_file};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// Files of a tokenizer: tokens with their numbers, and the merges in their order.
pub const ASSETS: &[&str] = &["vocab.json", "merges.txt"];

/// The one special token; it is never added by itself.
const END_OF_TEXT: &str = "<|endoftext|>";

/// What HuggingFace's `GPT2Tokenizer.decode` replaces, in this order.
const CLEAN_UP: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// A tokenizer that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file has another form.
    #[error(
        "{}: {found}; give GPT-2's vocab.json (an object of token to number) and merges.txt, or the \
         directory that holds them",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
}

/// Encodes and decodes texts as HuggingFace's `GPT2Tokenizer` does: nothing is lower-cased, no token
/// is added, and decoding cleans up the spaces before punctuation.
#[derive(Debug)]
pub struct Gpt2Tokenizer {
    tokenizer: Tokenizer,
    /// The files, as they are.
    files: [Vec<u8>; 2],
    size: usize,
}

impl Gpt2Tokenizer {
    /// Opens `vocab.json` and `merges.txt` in the directory `path`, or beside the file `path`.
    ///
    /// # Errors
    ///
    /// If a file is missing or has another form, or a merge makes a token that the vocabulary lacks.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let directory = match path.is_dir() {
            true => path,
            false => path.parent().unwrap_or(path),
        };
        let paths = [0, 1].map(|at| directory.join(ASSETS[at]));
        let read = |path: &PathBuf| read_file(path, SMALL_FILE);
        let files = [read(&paths[0])?, read(&paths[1])?];
        Self::of_files(files, &paths)
    }

    fn of_files(files: [Vec<u8>; 2], paths: &[PathBuf; 2]) -> Result<Self, TokenizerError> {
        let wrong = |file: usize, found: String| TokenizerError::Malformed {
            path: paths[file].clone(),
            found,
        };
        let vocabulary: BTreeMap<String, u32> =
            serde_json::from_slice(&files[0]).map_err(|error| wrong(0, error.to_string()))?;
        let size = check_vocabulary(&vocabulary).map_err(|found| wrong(0, found))?;
        let text = std::str::from_utf8(&files[1]).map_err(|error| wrong(1, error.to_string()))?;
        let merges = read_merges(text).map_err(|found| wrong(1, found))?;
        let model = BPE::builder()
            .vocab_and_merges(vocabulary.into_iter().collect::<Vocab>(), merges)
            .build()
            .map_err(|error| wrong(1, error.to_string()))?;
        let mut tokenizer = Tokenizer::new(model);
        let bytes = ByteLevel::new(false, true, true);
        tokenizer
            .with_pre_tokenizer(Some(bytes))
            .with_decoder(Some(bytes));
        tokenizer.add_special_tokens(&[AddedToken::from(END_OF_TEXT, true).normalized(false)]);
        Ok(Self {
            tokenizer,
            files,
            size,
        })
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The tokens of a text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        // Every byte is a token, so that every text has tokens.
        let encoded = self.tokenizer.encode(text, false);
        encoded.map_or_else(|_| Vec::new(), |encoded| encoded.get_ids().to_vec())
    }

    /// The text of tokens, as captions are written: without spaces before punctuation. Bytes that are
    /// not a whole character become U+FFFD; ids outside the vocabulary are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        clean_up(&self.decode_exactly(ids))
    }

    /// The text of tokens, as they are.
    pub fn decode_exactly(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, false).unwrap_or_default()
    }

    /// A token as the vocabulary has it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// Writes the [files](ASSETS) into `directory`.
    ///
    /// # Errors
    ///
    /// If one cannot be written.
    pub fn save(&self, directory: &Path) -> Result<(), FileError> {
        let mut files = ASSETS.iter().zip(&self.files);
        files.try_for_each(|(name, content)| write_file(&directory.join(name), content))
    }
}

/// Removes the spaces before punctuation and contractions, as HuggingFace's tokenizers do when they
/// decode.
pub fn clean_up(text: &str) -> String {
    let rules = CLEAN_UP.iter();
    rules.fold(text.to_string(), |text, (from, to)| text.replace(from, to))
}

/// The number of tokens, which are numbered from 0; every byte is among them.
fn check_vocabulary(vocabulary: &BTreeMap<String, u32>) -> Result<usize, String> {
    let size = vocabulary.len();
    let mut seen = vec![false; size];
    for (token, id) in vocabulary {
        match seen.get_mut(*id as usize) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => return Err(format!("number {id} is that of two tokens")),
            None => {
                return Err(format!(
                    "token {token:?} has number {id}, but there are only {size} tokens"
                ));
            }
        }
    }
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let lacking = |byte: &&char| !vocabulary.contains_key(&byte.to_string());
    match bytes.iter().find(lacking) {
        None => Ok(size),
        Some(byte) => Err(format!(
            "the byte that is written {byte:?} is not a token: this is not a byte-level vocabulary"
        )),
    }
}

/// Pairs of tokens, one a line; a line of the version is skipped.
fn read_merges(text: &str) -> Result<Vec<(String, String)>, String> {
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.starts_with("#version") && !line.is_empty());
    let pair = |(number, line): (usize, &str)| match line.split_once(' ') {
        Some((first, second))
            if !first.is_empty() && !second.is_empty() && !second.contains(' ') =>
        {
            Ok((first.to_string(), second.to_string()))
        }
        _ => Err(format!("line {number} is not two tokens: {line:?}")),
    };
    lines.map(pair).collect()
}
