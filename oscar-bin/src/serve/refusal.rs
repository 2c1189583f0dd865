//! Why a request is not answered: a status code and a JSON document that says what to do.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A request that is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

/// The document that a refused request gets.
#[derive(Serialize, ToSchema)]
pub struct ErrorDocument {
    /// What is wrong.
    error: ErrorBody,
}

/// What is wrong with a request.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    /// The status code again.
    status: u16,
    /// What kind of error it is, for programs: `picture`, `queue_full`, `no_model`.
    kind: &'static str,
    /// What was found and what to do, for people.
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
        }
    }

    /// A body that is not what the endpoint takes.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// No token, or another one than the server's.
    pub fn unauthorized() -> Self {
        let message = "the server asks for its token; send `Authorization: Bearer TOKEN`";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// A page of another origin, or a name that is not the server's.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// No such address.
    pub fn no_address(path: &str) -> Self {
        let message = format!("there is no {path:?} here; /openapi.json lists the endpoints");
        Self::new(StatusCode::NOT_FOUND, "no_endpoint", message)
    }

    /// The address takes another method.
    pub fn method(found: &str) -> Self {
        let message =
            format!("this endpoint does not take {found}; the header Allow names what it takes");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", message)
    }

    /// An image or a model that is not here.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", message)
    }

    /// A client that sends its body too slowly.
    pub fn slow_client() -> Self {
        let message = "the body did not arrive in time; send it again";
        Self::new(StatusCode::REQUEST_TIMEOUT, "slow_client", message)
    }

    /// A body beyond the limit.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("the body has more than {limit} bytes; send a smaller picture");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// A content type that is not read.
    pub fn media_type(found: &str) -> Self {
        let message =
            format!("the content type is {found:?}; send application/json or multipart/form-data");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message)
    }

    /// A body that is compressed.
    pub fn coding(found: &str) -> Self {
        let message = format!("the body is encoded as {found:?}; send it as it is");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message)
    }

    /// A picture that cannot be read, or is too large.
    pub fn picture(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "picture", message)
    }

    /// A question that the model cannot be asked.
    pub fn question(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "question", message)
    }

    /// As many requests wait as may wait.
    pub fn queue_full(capacity: usize) -> Self {
        let message = format!("{capacity} requests are waiting already; try again later");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message)
    }

    /// Bodies of other requests take all memory that they may take.
    pub fn no_memory() -> Self {
        let message = "too many large requests at the same time; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    /// The answer took too long.
    pub fn slow(seconds: u64) -> Self {
        let message = format!("there was no answer within {seconds} s; try again later");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "slow", message)
    }

    /// The server ends.
    pub fn stopping() -> Self {
        let message = "the server is being stopped";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", message)
    }

    /// Nothing that is loaded does this.
    pub fn not_loaded(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "no_model", message)
    }

    /// A fault of the model or of its device.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// Whether the request could be repeated later.
    fn is_temporary(&self) -> bool {
        let later = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        later.contains(&self.status)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let temporary = self.is_temporary();
        let status = self.status;
        let document = ErrorDocument {
            error: ErrorBody {
                status: status.as_u16(),
                kind: self.kind,
                message: self.message,
            },
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        if temporary {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
