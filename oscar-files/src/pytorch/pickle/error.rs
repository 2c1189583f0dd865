//! What can be wrong with a pickle.

use std::fmt;

/// A pickle that cannot be read, or will not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickleError {
    /// Byte of the file at which it was noticed, if it was at one.
    pub offset: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for PickleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{} (at byte {offset} of the pickle)", self.problem),
            None => self.problem.fmt(f),
        }
    }
}

impl std::error::Error for PickleError {}

/// What is wrong with a pickle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It ends too early, or declares more bytes than follow.
    #[error("the pickle is cut short: {wanted} bytes are declared, {left} are left")]
    Truncated {
        /// Bytes declared.
        wanted: u64,
        /// Bytes there are.
        left: usize,
    },
    /// No pickle begins like this, or a byte is no instruction.
    #[error("{byte:#04x} is no pickle instruction: this is no pickle, or a damaged one")]
    Instruction {
        /// The byte.
        byte: u8,
    },
    /// It asks for a class or function outside the closed list.
    #[error(
        "the pickle asks Python to call {class}, which is not among the classes of weights and \
         data; it was not executed. Do not load this file with Python unless you trust its author"
    )]
    Refused {
        /// Module and name.
        class: String,
    },
    /// An instruction or a value that is allowed, in a way that is not supported.
    #[error("{what}")]
    Unsupported {
        /// What was met.
        what: String,
    },
    /// Instructions that do not fit together.
    #[error("the pickle is damaged: {what}")]
    Malformed {
        /// What was met.
        what: String,
    },
    /// A value holds itself.
    #[error("a value of the pickle contains itself; such data cannot be read")]
    Recursive,
    /// A bound is exceeded.
    #[error("the pickle builds {what}, more than {limit}: it is damaged or made to exhaust memory")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// Its bound.
        limit: u64,
    },
    /// A tensor or array does not fit its storage.
    #[error("tensor {name}: {reason}")]
    Tensor {
        /// Where in the value it is, `bert.pooler.dense.weight`.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl Problem {
    pub(super) fn at(self, offset: usize) -> PickleError {
        PickleError {
            offset: Some(offset),
            problem: self,
        }
    }

    pub(super) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed { what: what.into() }
    }

    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }
}

/// Text of a file for a message: no control characters, at most 80 characters.
pub fn printable(text: &str) -> String {
    let mut output: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        output.push('…');
    }
    output
}
