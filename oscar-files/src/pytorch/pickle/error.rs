//! Errors in a pickle.

use std::fmt;

use crate::OverBudget;

/// A pickle that cannot be read or is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickleError {
    /// Offset in the file at which it was detected, if known.
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

/// The kind of error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It ends too early.
    #[error("the pickle is cut short: {wanted} bytes are declared, {left} are left")]
    Truncated {
        /// Bytes declared.
        wanted: u64,
        /// Bytes there are.
        left: usize,
    },
    /// A byte is not an opcode.
    #[error("{byte:#04x} is not a pickle opcode; the file is not a pickle or is corrupt")]
    Opcode {
        /// The byte.
        byte: u8,
    },
    /// It names a class or function outside the closed list.
    #[error(
        "the pickle asks Python to call {class}, which weights and data do not need; it was not \
         executed. Do not load this file with Python unless you trust its author"
    )]
    Refused {
        /// Module and name.
        class: String,
    },
    /// A valid opcode or value that is not supported.
    #[error("not supported: {what}")]
    Unsupported {
        /// What was met.
        what: String,
    },
    /// Opcodes that contradict each other.
    #[error("the pickle is damaged: {what}")]
    Malformed {
        /// What was met.
        what: String,
    },
    /// A value contains itself.
    #[error("a value of the pickle contains itself, which is not supported")]
    Recursive,
    /// A bound is exceeded.
    #[error("the pickle builds {what}, more than {limit}: it is damaged or made to exhaust memory")]
    Limit {
        /// What exceeds its bound.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// It would take more memory than its size allows.
    #[error("the pickle builds too much: {0}")]
    Memory(#[from] OverBudget),
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
