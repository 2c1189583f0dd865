//! Sets of ROSITA (MILVLG/rosita), read as sets of this project's models.
//!
//! Names, box values and the order of the matching head's classes differ; [`translate`] rewrites
//! configuration, inputs and expected tensors, so that the models are compared as Oscar's are. The
//! weights are not rewritten: reading them is part of what is compared.

mod masking;
mod names;
mod pretraining;
mod referring;
mod retrieval;
mod translate;
mod transport;

pub use masking::check as check_masking;
pub use pretraining::{check as check_pretraining, is_batch, loss};
pub use referring::check as check_referring;
pub use retrieval::check as check_retrieval;
pub use translate::{config, expected, inputs, meta};
pub use transport::check as check_transport;
