//! Pictures with regions and tags, words, and what they attend to: the part of a page that the report
//! and the server share. Its script draws what a page has as JSON.

use oscar_task::explain::{Segment, Token};
use serde::Serialize;
use utoipa::ToSchema;

/// Its style; a page sets `--mark`, `--ink`, `--soft` and `--line`.
pub const STYLE: &str = include_str!("sight.css");

/// Its script, which declares `Sight`.
pub const SCRIPT: &str = include_str!("sight.js");

/// A token of a text.
#[derive(Serialize, ToSchema)]
pub struct TokenDocument {
    /// As the vocabulary has it; a piece that continues a word begins with `##`.
    text: String,
    /// `special`, `text` or `tags`.
    segment: &'static str,
    /// What was masked here, and what the model predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    masked: Option<MaskedDocument>,
}

/// A token that was masked.
#[derive(Serialize, ToSchema)]
pub struct MaskedDocument {
    /// The token.
    truth: String,
    /// Predictions, the best first.
    guesses: Vec<GuessDocument>,
}

/// A prediction of a masked token.
#[derive(Serialize, ToSchema)]
pub struct GuessDocument {
    /// The token.
    text: String,
    /// Its probability.
    probability: f32,
}

impl From<&Token> for TokenDocument {
    fn from(token: &Token) -> Self {
        let masked = token.masked.as_ref().map(|(truth, guesses)| {
            let guess = |(text, probability): &(String, f32)| GuessDocument {
                text: text.clone(),
                probability: *probability,
            };
            MaskedDocument {
                truth: truth.clone(),
                guesses: guesses.iter().map(guess).collect(),
            }
        });
        Self {
            text: token.text.clone(),
            segment: match token.segment {
                Segment::Special => "special",
                Segment::Text => "text",
                Segment::Tags => "tags",
            },
            masked,
        }
    }
}
