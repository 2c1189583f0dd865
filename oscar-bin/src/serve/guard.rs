//! Who may ask: the token, the name and the origin that a request carries, and headers that keep a
//! browser from doing with the answers what they are not for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::refusal::Refusal;
use super::routes::Server;

/// What anybody may read: the page asks for the token itself.
const OPEN: [&str; 2] = ["/", "/health"];

/// Who may ask.
pub struct Guard {
    /// Digest of the token that a request must carry; digests are of one length, whatever is sent.
    token: Option<[u8; 32]>,
    /// Names that the server is known by; none if any will do.
    hosts: Option<Vec<String>>,
    /// Origins of other pages that may ask.
    origins: Vec<String>,
}

impl Guard {
    /// The guard of a server that listens at `address`. On loopback it answers to the names of
    /// loopback and to `hosts` alone, so that no page elsewhere can reach it under a name of its own
    /// (DNS rebinding).
    pub fn new(
        address: SocketAddr,
        token: Option<&str>,
        hosts: &[String],
        origins: &[String],
    ) -> Self {
        let own = ["localhost", "127.0.0.1", "[::1]"].map(String::from);
        let listening = match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let names = own
            .into_iter()
            .chain([listening])
            .chain(hosts.iter().cloned());
        let restricted = address.ip().is_loopback() || !hosts.is_empty();
        Self {
            token: token.map(|token| Sha256::digest(token).into()),
            hosts: restricted.then(|| names.map(|name| name.to_ascii_lowercase()).collect()),
            origins: origins.to_vec(),
        }
    }

    /// Checks that the request names this server.
    fn check_host(&self, host: Option<&str>) -> Result<(), Refusal> {
        let Some(known) = &self.hosts else {
            return Ok(());
        };
        let named = host.map(|host| without_port(host).to_ascii_lowercase());
        match named.is_some_and(|host| known.contains(&host)) {
            true => Ok(()),
            false => Err(Refusal::forbidden(format!(
                "the server is not known as {:?}; use its address, or start it with --allow-host",
                host.unwrap_or("")
            ))),
        }
    }

    /// The origin to allow in the answer; an error if a page of another origin asks.
    fn check_origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(None);
        };
        let named = origin.to_str().unwrap_or("");
        if self.origins.iter().any(|allowed| allowed == named) {
            return Ok(Some(origin.clone()));
        }
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let own = named.split_once("://").map(|(_, authority)| authority);
        match own.is_some() && own == host {
            true => Ok(None),
            false => Err(Refusal::forbidden(format!(
                "pages of {named:?} may not ask this server; start it with --allow-origin to let them"
            ))),
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let sent = headers.get(header::AUTHORIZATION);
        let sent = sent.and_then(|sent| sent.as_bytes().strip_prefix(b"Bearer "));
        let digest: [u8; 32] = Sha256::digest(sent.unwrap_or_default()).into();
        match sent.is_some() && bool::from(digest.ct_eq(token)) {
            true => Ok(()),
            false => Err(Refusal::unauthorized()),
        }
    }

    /// Whether requests need a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }
}

/// A host without its port: `[::1]:80`, `localhost:80`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// Lets a request pass that may ask, and sets the headers of every answer.
pub async fn guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let guard = &server.guard;
    let headers = request.headers();
    // The target of a request may name the host itself.
    let named = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let target = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let host = guard.check_host(named).and_then(|()| match target {
        None => Ok(()),
        target => guard.check_host(target),
    });
    // Which of several another program between would have meant is not known.
    let host = match headers.get_all(header::HOST).iter().nth(1) {
        None => host,
        Some(_) => Err(Refusal::malformed("the request has several Host fields")),
    };
    let origin = host.and_then(|()| guard.check_origin(headers));
    let (origin, response) = match origin {
        Err(refusal) => (None, refusal.into_response()),
        Ok(Some(origin)) if request.method() == Method::OPTIONS => {
            (Some(origin), StatusCode::NO_CONTENT.into_response())
        }
        Ok(origin) => {
            let open = OPEN.contains(&request.uri().path());
            let allowed = match open {
                true => Ok(()),
                false => guard.check_token(headers),
            };
            let response = match allowed {
                Ok(()) => next.run(request).await,
                Err(refusal) => refusal.into_response(),
            };
            (origin, response)
        }
    };
    with_headers(response, origin)
}

fn with_headers(mut response: Response, origin: Option<HeaderValue>) -> Response {
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let cached = headers.entry(header::CACHE_CONTROL);
    cached.or_insert(HeaderValue::from_static("no-store"));
    // What is not the page loads nothing.
    let policy = headers.entry(header::CONTENT_SECURITY_POLICY);
    policy.or_insert(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'",
    ));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        let allowed = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "authorization, content-type",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, "600"),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "cross-origin",
            ),
        ];
        for (name, value) in allowed {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(address: &str, hosts: &[&str], origins: &[&str]) -> Guard {
        let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).into()).collect() };
        Guard::new(
            address.parse().unwrap(),
            Some("secret"),
            &owned(hosts),
            &owned(origins),
        )
    }

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().cloned();
        pairs
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn on_loopback_a_server_answers_to_its_own_names_alone() {
        let local = guard("127.0.0.1:80", &[], &[]);
        for host in [
            "localhost",
            "LOCALHOST:8017",
            "127.0.0.1:1",
            "[::1]:8017",
            "[::1]",
        ] {
            assert!(local.check_host(Some(host)).is_ok(), "{host}");
        }
        for host in [
            Some("evil.example"),
            Some("127.0.0.1.evil.example:80"),
            Some(""),
            None,
        ] {
            assert!(local.check_host(host).is_err(), "{host:?}");
        }
        assert!(
            guard("127.0.0.1:80", &["box.lan"], &[])
                .check_host(Some("box.lan:80"))
                .is_ok()
        );
        assert!(
            guard("0.0.0.0:80", &[], &[])
                .check_host(Some("any.example"))
                .is_ok()
        );
        assert!(
            guard("0.0.0.0:80", &["a.example"], &[])
                .check_host(Some("b.example"))
                .is_err()
        );
    }

    #[test]
    fn pages_of_other_origins_ask_only_if_they_may() {
        let guard = guard("127.0.0.1:80", &[], &["https://app.example"]);
        let of = |origin| {
            let pairs = [(header::HOST, "localhost:80"), (header::ORIGIN, origin)];
            guard.check_origin(&headers(&pairs))
        };
        assert_eq!(of("http://localhost:80"), Ok(None));
        assert!(of("https://app.example").is_ok_and(|allowed| allowed.is_some()));
        for origin in ["http://localhost:81", "http://evil.example", "null", ""] {
            assert!(of(origin).is_err(), "{origin}");
        }
        assert_eq!(guard.check_origin(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn the_token_must_be_whole_and_right() {
        let guard = guard("127.0.0.1:80", &[], &[]);
        let with = |value| guard.check_token(&headers(&[(header::AUTHORIZATION, value)]));
        assert!(with("Bearer secret").is_ok());
        for value in [
            "Bearer secre",
            "Bearer secrets",
            "Bearer ",
            "secret",
            "Basic secret",
        ] {
            assert!(with(value).is_err(), "{value}");
        }
        assert!(guard.check_token(&HeaderMap::new()).is_err());
    }
}
