//! What can go wrong between a text and a batch.

use std::path::PathBuf;

use oscar_files::FileError;
use thiserror::Error;

use super::example::SourceError;
use crate::config::ConfigError;

/// Errors of the tokenizer, the encoder and the batcher.
///
/// Every message names the file, configuration key or corpus row at fault; a lower-level cause, if
/// there is one, is the error's [`source`](std::error::Error::source).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InputError {
    /// The vocabulary file is missing, unreadable or not UTF-8.
    #[error("cannot read the vocabulary {}", .path.display())]
    ReadVocab {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FileError,
    },

    /// A file of the tokenizer leads elsewhere, or is damaged.
    #[error("cannot read the tokenizer of the weights: {0}")]
    Assets(FileError),

    /// The weights have another tokenizer than WordPiece.
    #[error(
        "{}: the tokenizer of the weights is {kind}; models here read WordPiece, as BERT and Oscar do",
        .path.display()
    )]
    OtherTokenizer {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: String,
    },

    /// The vocabulary cannot be written.
    #[error("cannot write the vocabulary {}", .path.display())]
    WriteVocab {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A line of the vocabulary has no token.
    #[error("{origin}:{line}: empty line; a vocabulary has one token per line")]
    EmptyToken {
        /// The vocabulary.
        origin: String,
        /// Line, from 1.
        line: usize,
    },

    /// A token appears twice in the vocabulary.
    #[error(
        "{origin}:{line}: token `{token}` already appears on line {first}; remove one of the two"
    )]
    DuplicateToken {
        /// The vocabulary.
        origin: String,
        /// The token.
        token: String,
        /// Its first line, from 1.
        first: usize,
        /// Its second line, from 1.
        line: usize,
    },

    /// The vocabulary lacks a special token.
    #[error(
        "{origin}: the token {token} is missing; an uncased BERT vocabulary has [PAD] [UNK] [CLS] [SEP] [MASK]"
    )]
    MissingSpecialToken {
        /// The vocabulary.
        origin: String,
        /// The missing token.
        token: &'static str,
    },

    /// The WordPiece model rejects the vocabulary.
    #[error("{origin}: not a WordPiece vocabulary")]
    WordPiece {
        /// The vocabulary.
        origin: String,
        /// Why.
        source: SourceError,
    },

    /// A configuration value is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// The corpus has no row.
    #[error("the corpus is empty")]
    EmptyCorpus,

    /// Negatives are to be answers, but no row of the corpus has one.
    #[error(
        "`contrast.textb_sample_mode` is `answer`, but no row of the corpus is a question with an \
         answer; use `text_b` or `text_a_or_b`, or add question-answer rows"
    )]
    NoAnswerRows,

    /// The reader failed on a row.
    #[error("cannot read row {row} of the corpus")]
    Row {
        /// The row, from 0.
        row: usize,
        /// Why; it names the file and line.
        source: SourceError,
    },

    /// A caption or question without a token.
    #[error("{origin}: text {text:?} produces no tokens")]
    EmptyText {
        /// The row.
        origin: String,
        /// The text.
        text: String,
    },

    /// The regions of the row's image cannot be read.
    #[error("{origin}: cannot read the regions of its image")]
    Regions {
        /// The row.
        origin: String,
        /// Why; it names the file.
        source: SourceError,
    },

    /// The scene graph of a row does not fit its text or its image.
    #[error("{origin}: {source}")]
    Graph {
        /// The row.
        origin: String,
        /// What is wrong.
        source: super::scene_graph::SceneGraphError,
    },

    /// A row without a scene graph, whose regions have no classes to make one of.
    #[error(
        "{origin}: structural masking needs a scene graph, or classes of the image's regions to make \
         one of, and there are neither; give the corpus scene graphs, build the region store with \
         classes, or set encoder.masking.text and encoder.masking.regions to \"random\""
    )]
    NoGraph {
        /// The row.
        origin: String,
    },

    /// Priors or word vectors that cannot be used.
    #[error("{}: {reason}", .path.display())]
    Knowledge {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The rows of a batch come from stores with regions of different sizes.
    #[error("{origin}: regions have {found} values, but those of {other} have {expected}")]
    RegionDim {
        /// The row.
        origin: String,
        /// Its region size.
        found: usize,
        /// The batch's first row.
        other: String,
        /// The first row's region size.
        expected: usize,
    },

    /// No image of a batch has a region, where regions are asked for.
    #[error("{origin}: its image has no region to choose from")]
    NoRegion {
        /// The batch's first row.
        origin: String,
    },

    /// A batch of no rows.
    #[error("a batch needs at least one row")]
    EmptyBatch,
}
