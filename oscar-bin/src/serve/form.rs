//! A question as a form: fields, and files that are pictures.

use axum::extract::multipart::Field;
use axum::extract::{FromRequest, Multipart, Request};
use utoipa::ToSchema;

use super::refusal::Refusal;
use super::request::{Limits, Question, Source, too_many};

/// A form with the same fields; files are pictures.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape of a form, for its description")]
pub struct QuestionForm {
    /// Picture file; may be repeated.
    #[schema(value_type = String, format = Binary)]
    picture: Option<Vec<u8>>,
    /// Key of an image that the server has; may be repeated.
    key: Option<String>,
    /// The question, statement or phrase.
    text: Option<String>,
    /// Number of answers.
    top: Option<u16>,
    /// Number of the images found by a text that are re-ranked.
    rerank: Option<u16>,
    /// Name of the model.
    model: Option<String>,
    /// `true` for the attention of the model.
    explain: Option<bool>,
}

/// Reads a form whose body is here.
///
/// # Errors
/// If it is not a form, or has a field that is unknown, repeated or of another kind.
pub async fn read(request: Request, limits: &Limits) -> Result<Question, Refusal> {
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| wrong(&error))?;
    let mut question = Question::default();
    let (mut top, mut rerank, mut explain) = (None, None, None);
    while let Some(field) = form.next_field().await.map_err(|error| wrong(&error))? {
        let name = field.name().unwrap_or_default().to_string();
        match &*name {
            "picture" => {
                let bytes = field.bytes().await.map_err(|error| wrong(&error))?;
                question.sources.push(Source::File(bytes));
            }
            "key" => question.sources.push(Source::Key(text(field).await?)),
            "text" => once(&name, &mut question.text, text(field).await?)?,
            "model" => once(&name, &mut question.model, text(field).await?)?,
            "top" => once(&name, &mut top, text(field).await?)?,
            "rerank" => once(&name, &mut rerank, text(field).await?)?,
            "explain" => once(&name, &mut explain, text(field).await?)?,
            _ => {
                return Err(Refusal::malformed(format!(
                    "unknown field {name:?}; the fields are picture, key, text, top, rerank, \
                     model and explain"
                )));
            }
        }
        if question.sources.len() > limits.images {
            return Err(too_many(question.sources.len(), limits));
        }
    }
    if let Some(top) = top {
        question.top = Some(number("top", &top)?);
    }
    if let Some(rerank) = rerank {
        question.rerank = Some(number("rerank", &rerank)?);
    }
    if let Some(explain) = explain {
        question.explain = flag(&explain)?;
    }
    Ok(question)
}

fn wrong(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::malformed(format!("the body is not a form: {error}"))
}

/// The value of a field that is no file.
async fn text(field: Field<'_>) -> Result<String, Refusal> {
    let name = field.name().unwrap_or_default().to_string();
    let bytes = field.bytes().await.map_err(|error| wrong(&error))?;
    String::from_utf8(bytes.into())
        .map_err(|_| Refusal::malformed(format!("the field {name:?} is not UTF-8")))
}

/// Sets what may be given once, as in JSON.
fn once(name: &str, value: &mut Option<String>, found: String) -> Result<(), Refusal> {
    match value.replace(found) {
        None => Ok(()),
        Some(_) => Err(Refusal::malformed(format!(
            "the field {name:?} is repeated"
        ))),
    }
}

fn number(name: &str, text: &str) -> Result<usize, Refusal> {
    let wrong = |_| Refusal::malformed(format!("{name} is {text:?}; give a number"));
    text.parse::<u16>().map(usize::from).map_err(wrong)
}

fn flag(text: &str) -> Result<bool, Refusal> {
    text.parse()
        .map_err(|_| Refusal::malformed(format!("explain is {text:?}; give true or false")))
}
