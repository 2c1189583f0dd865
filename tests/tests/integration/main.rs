//! Models against each other, decoding against an exhaustive search, and the suite itself.
//!
//! One executable, as every further one would compile models and backends again.

mod agreement;
mod answers;
mod choices;
mod decoding;
mod pytorch;
mod sensitivity;
mod suite;
