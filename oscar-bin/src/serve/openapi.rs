//! The description of the endpoints in the format OpenAPI.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::form::QuestionForm;
use super::gallery;
use super::refusal::ErrorDocument;
use super::reply::{Answers, Embedded, SearchAnswer};
use super::request::QuestionDocument;
use super::routes;

/// Addresses by which requests are counted; others share one name.
const ENDPOINTS: [&str; 13] = [
    "/",
    "/health",
    "/metrics",
    "/openapi.json",
    "/v1/models",
    "/v1/images",
    "/v1/regions",
    "/v1/caption",
    "/v1/ask",
    "/v1/match",
    "/v1/find",
    "/v1/embed",
    "/v1/search",
];

/// The name under which a request is counted.
pub fn endpoint(path: &str) -> &'static str {
    let known = ENDPOINTS.into_iter().find(|known| *known == path);
    known.unwrap_or(match path.starts_with("/v1/images/") {
        true => "/v1/images/{key}/picture",
        false => "other",
    })
}

/// Declares an endpoint that takes a question.
macro_rules! question {
    ($name:ident, $path:literal, $answer:ident, $summary:literal) => {
        #[utoipa::path(
            post, path = $path, summary = $summary,
            request_body(content(
                (QuestionDocument = "application/json"),
                (QuestionForm = "multipart/form-data"),
            )),
            responses(
                (status = 200, description = "The answers", body = $answer),
                (status = 400, description = "The body is not a question", body = ErrorDocument),
                (status = 401, description = "The token is missing or wrong", body = ErrorDocument),
                (status = 403, description = "The name or origin is not allowed", body = ErrorDocument),
                (status = 404, description = "Unknown image or model", body = ErrorDocument),
                (status = 408, description = "The body is too slow", body = ErrorDocument),
                (status = 413, description = "The body is too large", body = ErrorDocument),
                (status = 415, description = "Neither JSON nor a form", body = ErrorDocument),
                (status = 422, description = "The picture or the text cannot be used", body = ErrorDocument),
                (status = 429, description = "Too many requests are waiting", body = ErrorDocument),
                (status = 500, description = "The model failed", body = ErrorDocument),
                (status = 501, description = "No weights are loaded that do this", body = ErrorDocument),
                (status = 503, description = "No answer in time, or the server is being stopped", body = ErrorDocument),
            ),
        )]
        #[expect(dead_code, reason = "it carries the description")]
        fn $name() {}
    };
}

question!(caption, "/v1/caption", Answers, "Describe images");
question!(ask, "/v1/ask", Answers, "Answer a question about images");
question!(
    matching,
    "/v1/match",
    Answers,
    "Tell how well a text matches images"
);
question!(
    find,
    "/v1/find",
    Answers,
    "Find the thing in images that a text means"
);
question!(
    regions,
    "/v1/regions",
    Answers,
    "Find regions and objects in images"
);
question!(
    embed,
    "/v1/embed",
    Embedded,
    "Make vectors of a text or of images"
);
question!(
    search,
    "/v1/search",
    SearchAnswer,
    "Find images that a text describes or that are like an image"
);

#[derive(OpenApi)]
#[openapi(
    info(title = "oscar-bin serve", description = "Vision-language models with object tags"),
    paths(
        routes::health, routes::metrics_text, routes::models, gallery::images, gallery::picture,
        caption, ask, matching, find, regions, embed, search,
    ),
    security(("token" = [])),
    modifiers(&Token),
)]
struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", bearer);
    }
}

static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| Description::openapi().to_json().unwrap_or_default());

/// The document.
pub async fn document() -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, DOCUMENT.as_str()).into_response()
}
