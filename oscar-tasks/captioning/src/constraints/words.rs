//! The word pieces of class names, and their forms.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oscar_core::input::{SourceError, Tokenizer};
use oscar_datasets::tsv::TsvFile;

/// Most word pieces of a name; longer names are cut.
const MAX_PIECES: usize = 4;

/// Words to word pieces, and these to their forms.
#[derive(Clone, Debug)]
pub struct ConstraintWords {
    pieces: HashMap<String, Vec<String>>,
    forms: HashMap<String, Vec<String>>,
    pieces_path: PathBuf,
    forms_path: PathBuf,
}

impl ConstraintWords {
    /// Reads the two tables.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or has a row of another form.
    pub fn read(pieces: &Path, forms: &Path) -> Result<Self, SourceError> {
        Ok(Self {
            pieces: table(pieces)?,
            forms: table(forms)?,
            pieces_path: pieces.to_path_buf(),
            forms_path: forms.to_path_buf(),
        })
    }

    /// Ids of the forms of each word piece of the class name.
    ///
    /// # Errors
    ///
    /// A word is not in the table, or a form is not in the vocabulary.
    pub fn tokens(&self, class: &str, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, SourceError> {
        let mut pieces: Vec<&str> = Vec::new();
        for word in class.split_whitespace() {
            let found = self.pieces.get(word).ok_or_else(|| {
                format!(
                    "{}: no row for the constraint word `{word}`; add one with its word pieces",
                    self.pieces_path.display()
                )
            })?;
            pieces.extend(found.iter().map(String::as_str));
        }
        pieces.truncate(MAX_PIECES);
        let ids = |piece: &&str| {
            let own = [piece.to_string()];
            let listed = self.forms.get(*piece);
            let forms: &[String] = listed.map_or(&own, Vec::as_slice);
            let id = |form: &String| {
                tokenizer.id(form).ok_or_else(|| {
                    let path = match listed {
                        Some(_) => &self.forms_path,
                        None => &self.pieces_path,
                    };
                    let place = path.display();
                    format!(
                        "{place}: the constraint word `{form}` is not in the vocabulary; \
                         give word pieces of the model's vocabulary"
                    )
                    .into()
                })
            };
            forms
                .iter()
                .map(id)
                .collect::<Result<Vec<u32>, SourceError>>()
        };
        pieces.iter().map(ids).collect()
    }
}

/// `word, one,two,..` per row.
fn table(path: &Path) -> Result<HashMap<String, Vec<String>>, SourceError> {
    let file = TsvFile::open(path)?;
    let mut rows = HashMap::with_capacity(file.len());
    for row in 0..file.len() {
        let [word, list] = file.fields(row)?;
        let list: Vec<String> = list
            .split(',')
            .map(|item| item.trim().to_string())
            .filter(|item| !item.is_empty())
            .collect();
        if list.is_empty() {
            let fix = "a row is a word and a list of word pieces, joined by commas";
            return Err(file
                .wrong(row, format!("`{word}` has no word piece"), fix)
                .into());
        }
        rows.insert(word.trim().to_string(), list);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_pieces_and_forms() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pieces = write(
            "pieces.tsv",
            "fire\tfire\nhydrant\thy,##dra,##nt\nyak\tyak\nox\tox\n",
        );
        let forms = write("forms.tsv", "fire\tfire,fires\nox\tox,oxx\n");
        let words = ConstraintWords::read(&pieces, &forms).unwrap();
        let vocab = "[PAD] [UNK] [CLS] [SEP] [MASK] fire fires hy ##dra ##nt ox";
        let vocab = vocab.split(' ').map(String::from).collect();
        let tokenizer = Tokenizer::from_vocab(vocab).unwrap();
        let tokens = words.tokens("fire hydrant", &tokenizer).unwrap();
        assert_eq!(tokens, [vec![5, 6], vec![7], vec![8], vec![9]]);
        // No more than four.
        assert_eq!(
            words.tokens("hydrant hydrant", &tokenizer).unwrap().len(),
            4
        );
        for (class, wanted) in [
            (
                "yak",
                "pieces.tsv: the constraint word `yak` is not in the vocabulary",
            ),
            (
                "ox",
                "forms.tsv: the constraint word `oxx` is not in the vocabulary",
            ),
            ("emu", "pieces.tsv: no row for the constraint word `emu`"),
        ] {
            let found = words.tokens(class, &tokenizer).unwrap_err().to_string();
            assert!(found.contains(wanted), "{found}");
        }
        let empty = write("empty.tsv", "fire\t,\n");
        let found = ConstraintWords::read(&empty, &forms)
            .unwrap_err()
            .to_string();
        assert!(
            found.contains("empty.tsv:1: `fire` has no word piece"),
            "{found}"
        );
    }
}
