//! The files of a split, in any of the forms that they are published in.

mod captions;
mod description;

pub(crate) use captions::Captions;
pub(crate) use description::Description;
