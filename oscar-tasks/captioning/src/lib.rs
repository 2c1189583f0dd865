//! Captioning: what does an image show?

pub mod decode;
