//! What a request asks: JSON, or a form with files, both within limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use base64_simd::STANDARD;
use serde::Deserialize;
use utoipa::ToSchema;

use super::form;
use super::refusal::Refusal;

/// Most answers to one image.
const MAX_TOP: usize = 100;

/// Most findings that are re-ranked, a forward pass each.
const MAX_RERANKED: usize = 100;

/// Longest name of a model or key of an image, in bytes.
const MAX_NAME: usize = 512;

/// What a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a body.
    pub body: usize,
    /// Characters of a text.
    pub text: usize,
    /// Images of a request.
    pub images: usize,
    /// Time in which a body must arrive.
    pub receive: Duration,
}

/// The JSON document of a question.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuestionDocument {
    /// A picture file (JPEG, PNG, WebP, GIF, BMP, TIFF) in base64; a `data:` URL is accepted.
    #[serde(default)]
    picture: Option<String>,
    /// Key of an image that the server has, in the place of a picture.
    #[serde(default)]
    key: Option<String>,
    /// Several images, each answered by itself, in the place of `picture` and `key`.
    #[serde(default)]
    images: Vec<ImageDocument>,
    /// The question, statement or phrase; a caption takes none.
    #[serde(default)]
    text: Option<String>,
    /// Number of answers to each image, the best first; 1 by default, 20 for a search.
    #[serde(default)]
    top: Option<u16>,
    /// Number of the images found by a text that a model of matching or retrieval reads together with it
    /// and orders anew; none by default.
    #[serde(default)]
    rerank: Option<u16>,
    /// Name of the model; the first one that does this by default.
    #[serde(default)]
    model: Option<String>,
    /// Whether the attention of the model is returned.
    #[serde(default)]
    explain: bool,
}

/// An image of a question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageDocument {
    /// A picture file in base64.
    Picture(String),
    /// Key of an image that the server has.
    Key(String),
}

/// A question about images.
#[derive(Debug, Default, PartialEq)]
pub struct Question {
    /// The images.
    pub sources: Vec<Source>,
    /// The text.
    pub text: Option<String>,
    /// Number of answers, if it is given.
    pub top: Option<usize>,
    /// Number of findings to re-rank, if any are to be.
    pub rerank: Option<usize>,
    /// Name of the model.
    pub model: Option<String>,
    /// Whether the attention is wanted.
    pub explain: bool,
}

impl Question {
    /// What it counts as in a batch: its images, or the pairs that are re-ranked; a text counts as an image
    /// does.
    pub fn weight(&self) -> usize {
        self.sources.len().max(self.rerank.unwrap_or(1))
    }
}

/// Where an image comes from.
#[derive(Debug, PartialEq)]
pub enum Source {
    /// A picture file.
    File(Bytes),
    /// Key of an image that the server has.
    Key(String),
}

/// The memory that bodies take together.
pub struct Memory {
    free: AtomicUsize,
}

/// A part of the memory, given back when it is dropped.
pub struct Reserved {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    /// So many bytes for all bodies.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            free: AtomicUsize::new(bytes),
        })
    }

    fn none(self: &Arc<Self>) -> Reserved {
        Reserved {
            memory: self.clone(),
            bytes: 0,
        }
    }
}

impl Reserved {
    fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let less = |free: usize| free.checked_sub(bytes);
        let taken = self
            .memory
            .free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        taken.map_err(|_| Refusal::no_memory())?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.memory.free.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

/// Reads a question. The second value is the memory that it takes, to be kept as long as the question.
///
/// # Errors
/// If the body is too large or too slow, is neither JSON nor a form, or is not a question.
pub async fn read(
    request: Request,
    limits: Limits,
    memory: &Arc<Memory>,
) -> Result<(Question, Reserved), Refusal> {
    let (mut parts, body) = request.into_parts();
    let found = parts.headers.get(header::CONTENT_TYPE);
    let found = found.and_then(|found| found.to_str().ok()).unwrap_or("");
    let kind = found
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let is_form = match &*kind {
        "application/json" => false,
        "multipart/form-data" => true,
        _ => return Err(Refusal::media_type(found)),
    };
    if let Some(coding) = parts.headers.get(header::CONTENT_ENCODING)
        && coding != "identity"
    {
        return Err(Refusal::coding(coding.to_str().unwrap_or("")));
    }
    let announced = parts.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.body as u64) {
        return Err(Refusal::too_large(limits.body));
    }
    let mut reserved = memory.none();
    let received = receive(body, limits.body, &mut reserved);
    let bytes = tokio::time::timeout(limits.receive, received)
        .await
        .map_err(|_| Refusal::slow_client())??;
    let question = match is_form {
        false => of_json(&bytes, &limits)?,
        true => {
            // The body is here; what is left of the headers does not describe it any more.
            parts.headers.remove(header::CONTENT_LENGTH);
            form::read(Request::from_parts(parts, Body::from(bytes)), &limits).await?
        }
    };
    check(&question, &limits)?;
    Ok((question, reserved))
}

/// The whole body.
async fn receive(mut body: Body, limit: usize, reserved: &mut Reserved) -> Result<Bytes, Refusal> {
    let mut received = Vec::new();
    while let Some(frame) = next_frame(&mut body).await {
        let frame =
            frame.map_err(|error| Refusal::malformed(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if received.len() + data.len() > limit {
            return Err(Refusal::too_large(limit));
        }
        // What is decoded from it is kept beside it for a while.
        reserved.grow(2 * data.len())?;
        received.extend_from_slice(&data);
    }
    Ok(received.into())
}

async fn next_frame(body: &mut Body) -> Option<Result<hyper::body::Frame<Bytes>, axum::Error>> {
    std::future::poll_fn(|context| {
        hyper::body::Body::poll_frame(std::pin::Pin::new(&mut *body), context)
    })
    .await
}

fn of_json(bytes: &[u8], limits: &Limits) -> Result<Question, Refusal> {
    // A list is read as the fields in their order, and what is expected has a name of Rust's.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        let found = "the body is not a question: a JSON object with the fields of one is expected";
        return Err(Refusal::malformed(found));
    }
    // The parser refuses what is nested deeper than 128 levels, and every unknown key.
    let document: QuestionDocument = serde_json::from_slice(bytes)
        .map_err(|error| Refusal::malformed(format!("the body is not a question: {error}")))?;
    let single = document.picture.map(ImageDocument::Picture);
    let single = single
        .into_iter()
        .chain(document.key.map(ImageDocument::Key));
    let images: Vec<ImageDocument> = single.chain(document.images).collect();
    if images.len() > limits.images {
        return Err(too_many(images.len(), limits));
    }
    let sources = images.into_iter().map(|image| match image {
        ImageDocument::Key(key) => Ok(Source::Key(key)),
        ImageDocument::Picture(text) => decode(&text).map(Source::File),
    });
    Ok(Question {
        sources: sources.collect::<Result<_, _>>()?,
        text: document.text,
        top: document.top.map(usize::from),
        rerank: document.rerank.map(usize::from),
        model: document.model,
        explain: document.explain,
    })
}

/// A picture file in base64, by itself or in a `data:` URL.
fn decode(text: &str) -> Result<Bytes, Refusal> {
    let encoded = match text.strip_prefix("data:") {
        None => text,
        Some(url) => match url.split_once(";base64,") {
            Some((_, encoded)) => encoded,
            None => {
                return Err(Refusal::malformed(
                    "the data: URL of a picture is not in base64",
                ));
            }
        },
    };
    let decoded = STANDARD.decode_to_vec(encoded);
    let decoded = decoded
        .map_err(|error| Refusal::malformed(format!("the picture is not in base64: {error}")))?;
    Ok(decoded.into())
}

/// More images than are answered at once.
pub(super) fn too_many(found: usize, limits: &Limits) -> Refusal {
    Refusal::question(format!(
        "the request has {found} images, and at most {} are answered at once; send several requests",
        limits.images
    ))
}

/// What holds of a question in either form.
fn check(question: &Question, limits: &Limits) -> Result<(), Refusal> {
    let numbers = [
        ("top", question.top, MAX_TOP),
        ("rerank", question.rerank, MAX_RERANKED),
    ];
    for (name, found, most) in numbers {
        if let Some(found) = found.filter(|found| !(1..=most).contains(found)) {
            let message = format!("{name} is {found}; give 1 to {most}");
            return Err(Refusal::question(message));
        }
    }
    let keys = question.sources.iter().filter_map(|source| match source {
        Source::Key(key) => Some(key),
        Source::File(_) => None,
    });
    let mut names = keys.chain(&question.model);
    if names.any(|name| name.len() > MAX_NAME) {
        let message = format!("a key or name has more than {MAX_NAME} bytes");
        return Err(Refusal::question(message));
    }
    if let Some(text) = &question.text {
        let length = text.chars().count();
        if length > limits.text {
            return Err(Refusal::question(format!(
                "the text has {length} characters, and at most {} are read",
                limits.text
            )));
        }
    }
    Ok(())
}
