//! Caption metrics as the COCO caption evaluation computes them, without Java.
//!
//! [`Captions`] joins [`Candidates`] with [`References`]; [`score`] tokenises them
//! ([`ptb`]) and computes BLEU-1 to BLEU-4, ROUGE-L and CIDEr, for the corpus and for each image.
//! [`Corpus`] keeps the references of a split for the captions of a model.
//! [`jars`] runs the official METEOR and SPICE where they are installed. [`CiderD`] is the reward of
//! self-critical training.

mod bleu;
mod cider;
mod corpus;
mod df;
mod error;
pub mod jars;
mod ngrams;
pub mod ptb;
mod read;
mod rouge;
mod score;

pub use bleu::BleuCounts;
pub use cider::{CiderD, WEIGHTLESS, scst_text};
pub use corpus::Corpus;
pub use df::DocumentFrequencies;
pub use error::{MetricsError, Result};
pub use ngrams::MAX_ORDER;
pub use read::{Candidates, References};
pub use rouge::rouge_l;
pub use score::{Captions, ImageScores, Scores, Unmatched, score};
