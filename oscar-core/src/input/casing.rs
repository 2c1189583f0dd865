//! Whether a vocabulary is of cased or of lower-cased text.
//!
//! HuggingFace keeps `do_lower_case` in a `tokenizer_config.json` beside the vocabulary. Where there is
//! none, as with all official Oscar checkpoints, the vocabulary itself says: one of lower-cased text
//! has no word with a capital.

use std::path::{Path, PathBuf};

use oscar_files::{FileError, SMALL_FILE, inside, read_text};
use serde_json::Value;

use super::error::InputError;

/// Name of the settings beside a vocabulary.
pub(super) const SETTINGS_FILE: &str = "tokenizer_config.json";

/// A vocabulary is cased if one in this many of its words has a capital. Published ones of cased text
/// have one in three, those of lower-cased text a stray symbol at most.
const ONE_IN: usize = 50;

/// `do_lower_case` of the `tokenizer_config.json` in `directory`, if there is one that says it.
///
/// # Errors
///
/// If the file is there and cannot be read.
pub fn do_lower_case(directory: &Path) -> Result<Option<bool>, InputError> {
    let read = |path: PathBuf| {
        let text = read_text(&path, SMALL_FILE)?;
        let settings = serde_json::from_str::<Value>(&text).map_err(|error| {
            let fix = "correct the file, or remove it";
            FileError::malformed(&path, format!("it is not JSON: {error}"), fix)
        })?;
        match settings.get("do_lower_case") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(lower_case)) => Ok(Some(*lower_case)),
            Some(other) => {
                let found = format!("do_lower_case is {other}");
                let fix = "write true or false";
                Err(FileError::malformed(&path, found, fix))
            }
        }
    };
    let path = inside(directory, SETTINGS_FILE).map_err(InputError::Assets)?;
    path.map_or(Ok(None), |path| read(path).map_err(InputError::Assets))
}

/// How many words of a vocabulary lower-cased text can never give.
pub(super) fn words_with_capitals(vocab: &[String]) -> usize {
    let is_special = |token: &str| {
        token.starts_with('[') && token.ends_with(']')
            || token.starts_with('<') && token.ends_with('>')
    };
    let capital = |c: char| c.is_uppercase() && !c.to_lowercase().eq([c]);
    vocab
        .iter()
        .filter(|token| !is_special(token) && token.contains(capital))
        .count()
}

/// Whether a vocabulary without settings is of cased text.
pub fn is_cased(vocab: &[String]) -> bool {
    words_with_capitals(vocab) * ONE_IN > vocab.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_says_whether_it_is_cased() {
        let vocab = |words: &str| words.split(' ').map(String::from).collect::<Vec<_>>();
        assert!(is_cased(&vocab("[PAD] [UNK] the The dog")));
        assert!(!is_cased(&vocab("[PAD] [UNK] <S> the dog ℝ 東")));
        // A stray one.
        let mut words = vec!["a".to_string(); 100];
        words.push("TV".into());
        assert!(!is_cased(&words));
        assert_eq!(words_with_capitals(&words), 1);
    }
}
