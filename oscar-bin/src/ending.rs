//! How the program ends.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It did its work.
    Done,
    /// It failed, and the error is printed.
    Failed,
    /// It was interrupted and can be resumed.
    Interrupted,
}
