//! The page: one file, with a policy under which it can load nothing from elsewhere.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64_simd::STANDARD;
use sha2::{Digest, Sha256};

use crate::sight;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const MARKUP: &str = include_str!("page/page.html");

/// The page with its policy.
pub struct Page {
    html: String,
    policy: HeaderValue,
}

impl Page {
    /// Puts the page together.
    pub fn new() -> Self {
        let style = [sight::STYLE, STYLE].concat();
        let script = [sight::SCRIPT, SCRIPT].concat();
        let html = MARKUP
            .replace("/*style*/", &style)
            .replace("/*script*/", &script);
        let hash = |text: &str| STANDARD.encode_to_string(Sha256::digest(text));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; \
             img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            hash(&script),
            hash(&style)
        );
        Self {
            html,
            // Base64 and the text above are ASCII.
            policy: HeaderValue::try_from(policy)
                .unwrap_or(HeaderValue::from_static("default-src 'none'")),
        }
    }

    /// The answer to a request for it.
    pub fn response(&self) -> Response {
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        let headers = [
            (header::CONTENT_TYPE, kind),
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
        ];
        (headers, self.html.clone()).into_response()
    }
}
