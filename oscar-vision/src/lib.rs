//! Pictures to what a model reads: region extractors of Oscar-rs.

pub mod drawings;
