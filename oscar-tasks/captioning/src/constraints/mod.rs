//! The words that a caption must contain: names of objects that a detector found in its image.
//!
//! | file | holds | official key |
//! |---|---|---|
//! | boxes | `image, [{"rect", "class", "conf"}]` | `cbs_box` |
//! | hierarchy | classes of Open Images, general ones above specific ones, as JSON | `cbs_hierarchy` |
//! | tokens | a word of a class name, and its word pieces, joined by commas | `cbs_constraint` |
//! | forms | a word piece, and the pieces that may replace it (plural, ..) | `cbs_tokenforms` |

mod boxes;
mod hierarchy;
mod select;
mod words;

use std::path::Path;

use oscar_core::input::{SourceError, Tokenizer};

use oscar_core::decode::Automaton;

pub use boxes::{ConstraintBoxes, DetectedBox};
pub use hierarchy::Hierarchy;
pub use select::{BoxFilter, MAX_CONSTRAINTS};
pub use words::ConstraintWords;

/// The constraints of the captions of a split.
#[derive(Clone, Debug)]
pub struct Constraints {
    boxes: ConstraintBoxes,
    filter: BoxFilter,
    words: ConstraintWords,
    official: bool,
}

/// The four files of constraints.
#[derive(Clone, Copy, Debug)]
pub struct ConstraintFiles<'a> {
    /// Detected objects.
    pub boxes: &'a Path,
    /// The class hierarchy.
    pub hierarchy: &'a Path,
    /// Words to word pieces.
    pub tokens: &'a Path,
    /// Word pieces to their forms.
    pub forms: &'a Path,
}

impl Constraints {
    /// Reads the files; with `official`, class names and automata are handled as the official code
    /// does where that differs.
    ///
    /// # Errors
    ///
    /// A file cannot be read or has another form.
    pub fn read(files: &ConstraintFiles<'_>, official: bool) -> Result<Self, SourceError> {
        Ok(Self {
            boxes: ConstraintBoxes::read(files.boxes)?,
            filter: BoxFilter::new(Hierarchy::read(files.hierarchy)?, official),
            words: ConstraintWords::read(files.tokens, files.forms)?,
            official,
        })
    }

    /// The class names that the caption of an image must contain.
    pub fn of_image(&self, image: &str) -> Vec<String> {
        self.filter.select(self.boxes.of_image(image))
    }

    /// The automaton of an image.
    ///
    /// # Errors
    ///
    /// A class has a word that is not in the files or the vocabulary; the error names it.
    pub fn automaton(&self, image: &str, tokenizer: &Tokenizer) -> Result<Automaton, SourceError> {
        let named = self.of_image(image).into_iter();
        let tokens: Vec<Vec<Vec<u32>>> = named
            .map(|class| {
                let tokens = self.words.tokens(&class, tokenizer);
                tokens.map_err(|error| format!("{error} (class `{class}`, image {image})").into())
            })
            .collect::<Result<_, SourceError>>()?;
        Ok(match self.official {
            true => Automaton::official(&tokens),
            false => Automaton::new(&tokens),
        })
    }
}
