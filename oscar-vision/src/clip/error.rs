//! Why a CLIP cannot be opened, or a text cannot be compared.

use std::path::PathBuf;

use oscar_core::checkpoint::CheckpointError;
use oscar_files::FileError;

/// Why a CLIP cannot be opened, or a text cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// The file of weights cannot be read.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    /// A file beside the weights cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not one of a CLIP that is implemented.
    #[error("{}: {found}; {fix}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// There are no tokens for texts.
    #[error(
        "{}: it has neither merges.txt nor bpe_simple_vocab_16e6.txt.gz, by which a CLIP reads texts; put \
         HuggingFace's merges.txt of the same CLIP, or OpenAI's bpe_simple_vocab_16e6.txt.gz, beside the \
         weights",
        directory.display()
    )]
    NoTokens {
        /// The directory of the weights.
        directory: PathBuf,
    },
    /// A text has more tokens than the text tower has positions.
    #[error("the text {text:?} has {tokens} tokens, but this CLIP reads {most}; shorten it")]
    LongText {
        /// The text.
        text: String,
        /// Its tokens, its start and end among them.
        tokens: usize,
        /// Most tokens of a text.
        most: usize,
    },
}
