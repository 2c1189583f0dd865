//! The documents that the endpoints answer with.

use oscar_datasets::store::Tag;
use oscar_search::Found;
use oscar_task::Answer;
use oscar_task::explain::{Explanation, Inspected, Region};
use serde::Serialize;
use utoipa::ToSchema;

use super::models::ModelInfo;
use super::shelf::Image;
use super::worker::Answered;
use crate::commands::pictures::{Kind, of_match};
use crate::sight::TokenDocument;

/// Answers about the images of a request, in their order.
#[derive(Serialize, ToSchema)]
pub struct Answers {
    /// Name of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<&'static str>,
    /// The images.
    pub images: Vec<ImageAnswers>,
}

/// What was seen in an image, and the answers about it; which of them there are depends on the
/// endpoint.
#[derive(Serialize, ToSchema)]
pub struct ImageAnswers {
    /// Width in pixels; 0 if it is not known.
    width: u32,
    /// Height in pixels; 0 if it is not known.
    height: u32,
    /// Objects, as the detector names them.
    objects: Vec<Object>,
    /// x1/W, y1/H, x2/W, y2/H of the regions.
    regions: Vec<[f32; 4]>,
    /// Of `/v1/caption`: the captions, the best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    captions: Option<Vec<Text>>,
    /// Of `/v1/ask`: the answers, the best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Vec<Text>>,
    /// Of `/v1/match`: the probability that the text describes the image.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    matched: Option<f32>,
    /// Of `/v1/find`: where the thing is that the text means, the best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    boxes: Option<Vec<FoundBox>>,
    /// What the model attends to, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<ExplanationDocument>,
}

/// An object that was found in an image.
#[derive(Serialize, ToSchema)]
pub struct Object {
    /// Its class, one or more words.
    class: String,
    /// The detector's confidence, 0 to 1.
    score: f32,
    /// x1, y1, x2, y2 in pixels.
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    box_px: Option<[f32; 4]>,
    /// Attributes, the most certain first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<String>,
}

/// An answer with its probability.
#[derive(Serialize, ToSchema)]
pub struct Text {
    /// The caption or answer.
    text: String,
    /// Its probability.
    probability: f32,
}

/// Where a thing is, with the probability that it is the one that is meant.
#[derive(Serialize, ToSchema)]
pub struct FoundBox {
    /// x1/W, y1/H, x2/W, y2/H.
    #[serde(rename = "box")]
    relative: Option<[f32; 4]>,
    /// Its probability.
    probability: f32,
}

/// What a model attends to: the mean of all layers and heads.
#[derive(Serialize, ToSchema)]
pub struct ExplanationDocument {
    /// The tokens of text and object tags. Positions are the tokens, then the regions.
    tokens: Vec<TokenDocument>,
    /// x1/W, y1/H, x2/W, y2/H of the regions that the model reads.
    regions: Vec<Option<[f32; 4]>>,
    /// `attention[i][j]`: the share of its attention that position i gives to position j.
    attention: Vec<Vec<f32>>,
}

/// Vectors of a text or of images, of length 1: what belongs together has a large product.
#[derive(Serialize, ToSchema)]
pub struct Embedded {
    /// Name of the model.
    pub model: String,
    /// That of the text, or those of the images in their order.
    pub vectors: Vec<Vec<f32>>,
}

/// Images that a text describes, or that are like an image.
#[derive(Serialize, ToSchema)]
pub struct SearchAnswer {
    /// Name of the model.
    pub model: String,
    /// Name of the model that re-ranked, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reranker: Option<String>,
    /// The nearest first; of those that were re-ranked, which come before the others, the best match.
    pub found: Vec<FoundImage>,
}

/// An image of the index.
#[derive(Serialize, ToSchema)]
pub struct FoundImage {
    /// Its key.
    key: String,
    /// How near it is: a cosine, at most 1.
    similarity: f32,
    /// How well text and image match when they are read together, where it was re-ranked: log-odds, or the
    /// value of a regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    match_score: Option<f32>,
}

impl From<Found> for FoundImage {
    fn from(found: Found) -> Self {
        Self {
            key: found.key,
            similarity: found.similarity,
            match_score: found.match_score,
        }
    }
}

/// The models that are loaded.
#[derive(Serialize, ToSchema)]
pub struct ModelList {
    /// In the order in which the server was given them.
    pub models: Vec<ModelInfo>,
    /// Detectors that find regions in pictures.
    pub detectors: Vec<String>,
    /// Number of images that the server has.
    pub images: usize,
    /// What a request may take.
    pub limits: LimitList,
}

/// What a request may take.
#[derive(Serialize, ToSchema)]
pub struct LimitList {
    /// Bytes of a body.
    pub body: usize,
    /// Pixels of a picture.
    pub pixels: u64,
    /// Characters of a text.
    pub text: usize,
    /// Images of a request.
    pub images: usize,
}

/// Images that the server has.
#[derive(Serialize, ToSchema)]
pub struct ImageList {
    /// How many there are.
    pub total: usize,
    /// Whether they can be shown.
    pub pictures: bool,
    /// Some keys, from the offset of the request on.
    pub keys: Vec<String>,
}

/// Whether the server answers.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`, or `stopping`.
    pub status: &'static str,
    /// Requests that wait.
    pub waiting: usize,
}

impl ImageAnswers {
    /// What an endpoint answers about an image; `None` of them shows the regions alone.
    pub fn new(kind: Option<Kind>, answered: Answered) -> Self {
        let Answered {
            image,
            answers,
            explanation,
        } = answered;
        let Image {
            size,
            objects,
            regions,
            ..
        } = image;
        let explanation = explanation.and_then(|Explanation { sequences, .. }| {
            let first = sequences.into_iter().next()?;
            Some(ExplanationDocument::new(first))
        });
        let mut document = Self {
            width: size.0,
            height: size.1,
            objects: objects.into_iter().map(Object::from).collect(),
            regions,
            captions: None,
            answers: None,
            matched: None,
            boxes: None,
            explanation,
        };
        match kind {
            None => {}
            Some(Kind::Caption) => document.captions = Some(texts(answers)),
            Some(Kind::Question) => document.answers = Some(texts(answers)),
            Some(Kind::Match) => document.matched = Some(of_match(&answers)),
            Some(Kind::Find) => document.boxes = Some(boxes(answers)),
        }
        document
    }
}

fn texts(answers: Vec<Answer>) -> Vec<Text> {
    let text = |answer: Answer| Text {
        text: answer.text,
        probability: answer.score,
    };
    answers.into_iter().map(text).collect()
}

fn boxes(answers: Vec<Answer>) -> Vec<FoundBox> {
    let found = |answer: Answer| FoundBox {
        relative: answer.region.and_then(|region| region.relative),
        probability: answer.score,
    };
    answers.into_iter().map(found).collect()
}

impl From<Tag> for Object {
    fn from(tag: Tag) -> Self {
        Self {
            class: tag.class,
            score: tag.score,
            box_px: tag.box_px,
            attributes: tag.attributes,
        }
    }
}

impl ExplanationDocument {
    fn new(sequence: Inspected) -> Self {
        let positions = sequence.len();
        let layers = sequence.attention.len().max(1) as f32;
        let mean = |at: usize| {
            let sum: f32 = sequence.attention.iter().map(|layer| layer[at]).sum();
            // Four digits are more than a page can show.
            (sum / layers * 1e4).round() / 1e4
        };
        let attention = match sequence.attention.is_empty() {
            true => Vec::new(),
            false => (0..positions)
                .map(|row| (row * positions..(row + 1) * positions).map(mean).collect())
                .collect(),
        };
        Self {
            tokens: sequence.tokens.iter().map(TokenDocument::from).collect(),
            attention,
            regions: sequence
                .regions
                .iter()
                .map(|region: &Region| region.relative)
                .collect(),
        }
    }
}
