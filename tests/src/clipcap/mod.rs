//! Sets of ClipCap: its pictures, its image tower, its mapping networks, its GPT-2, its data.

mod data;
mod decode;
mod model;
mod pictures;
mod tokenizer;

pub use data::check as check_data;
pub use decode::check as check_decoding;
pub use model::{Learner, check as check_model};
pub use pictures::{check_preprocessing, check_tower};
pub use tokenizer::check as check_tokenizer;
