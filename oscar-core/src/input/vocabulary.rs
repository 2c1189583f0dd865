//! A vocabulary of a corpus's own words, for models that are small because their world is.

use std::collections::BTreeMap;

use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{NormalizedString, Normalizer, PreTokenizedString, PreTokenizer};
use tokenizers::{OffsetReferential, OffsetType};

use super::error::InputError;
use super::example::ExampleSource;
use super::tokenizer::{SpecialIds, Tokenizer};

impl Tokenizer {
    /// A tokenizer that knows every word of both texts of `corpora`, and every letter of them, so
    /// that it can spell words it has not seen.
    ///
    /// The same corpora give the same ids: special tokens, then words by frequency (equally
    /// frequent ones by spelling), then letters.
    ///
    /// # Errors
    ///
    /// If a row cannot be read.
    pub fn from_corpora(corpora: &[&dyn ExampleSource]) -> Result<Self, InputError> {
        let mut texts = Vec::new();
        for corpus in corpora {
            for row in 0..corpus.len() {
                let example = corpus
                    .get(row)
                    .map_err(|source| InputError::Row { row, source })?;
                texts.extend([example.text_a, example.text_b]);
            }
        }
        Self::from_texts(&texts)
    }

    /// The same of any texts.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot be made.
    pub fn from_texts<T: AsRef<str>>(texts: &[T]) -> Result<Self, InputError> {
        let mut counts = BTreeMap::new();
        for text in texts {
            for word in words(text.as_ref()) {
                *counts.entry(word).or_insert(0_usize) += 1;
            }
        }
        let letters: std::collections::BTreeSet<char> =
            counts.keys().flat_map(|word| word.chars()).collect();
        let mut by_frequency: Vec<(String, usize)> = counts.into_iter().collect();
        by_frequency.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));

        let mut vocab: Vec<String> = SpecialIds::TOKENS.map(String::from).to_vec();
        vocab.extend(by_frequency.into_iter().map(|(word, _)| word));
        let known: std::collections::HashSet<String> = vocab.iter().cloned().collect();
        let spelled = letters
            .iter()
            .flat_map(|letter| [letter.to_string(), format!("##{letter}")]);
        vocab.extend(spelled.filter(|piece| !known.contains(piece)));
        Self::build(vocab, "vocabulary", Some(true))
    }
}

/// The words and punctuation marks that WordPiece would cut further.
fn words(text: &str) -> Vec<String> {
    let mut normalized = NormalizedString::from(text);
    let normalizer = BertNormalizer::new(true, true, Some(true), true);
    let cut = normalizer.normalize(&mut normalized).and_then(|()| {
        let mut pieces = PreTokenizedString::from(normalized);
        BertPreTokenizer.pre_tokenize(&mut pieces)?;
        Ok(pieces)
    });
    // Neither step fails on any text; if one did, the text would have no words.
    let Ok(pieces) = cut else { return Vec::new() };
    pieces
        .get_splits(OffsetReferential::Original, OffsetType::Byte)
        .into_iter()
        .map(|(word, ..)| word.to_string())
        .collect()
}
