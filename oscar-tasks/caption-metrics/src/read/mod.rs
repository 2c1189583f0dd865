//! Reading candidates and references.

mod captions;
mod json;
mod tsv;

pub use captions::{Candidates, References};
pub(crate) use captions::{excerpt, some_of};
