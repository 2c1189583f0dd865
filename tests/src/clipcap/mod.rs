//! Sets of ClipCap: its pictures, the towers of CLIP, its mapping networks, its GPT-2, its data.

mod data;
mod decode;
mod model;
mod pictures;
mod tokenizer;

pub use data::check as check_data;
pub use decode::check as check_decoding;
pub use model::{Learner, check as check_model};
pub use pictures::{check_preprocessing, check_towers};
pub use tokenizer::{check as check_tokenizer, check_clip as check_clip_tokenizer};
