//! Requests to the hub and to the hosts it redirects to.

use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::reference::is_commit;
use super::{HubError, HubSettings};

/// Redirections that are followed: the hub's longest chains have three.
const MAX_HOPS: usize = 6;

/// How long a connection may take, and a connected host may be silent.
const CONNECT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);

/// Talks to one hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// What the hub says of a file; a redirection to another host is not followed.
    About,
    /// The content from this byte on.
    From(u64),
}

/// What the hub itself, and not a host it redirects to, says of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub commit: Option<String>,
    pub etag: Option<String>,
    pub size: Option<u64>,
    /// Whether the tag is that of a content elsewhere.
    is_linked: bool,
}

/// An answer that is no redirection, with what the hub said on the way.
pub(super) struct Answer {
    pub response: Response<Body>,
    pub said: Said,
    /// The last address, without what signs it.
    pub url: String,
}

impl Client {
    pub(super) fn new(settings: &HubSettings) -> Result<Self, HubError> {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() && settings.endpoint.starts_with("https:") {
            let reason = found.errors.first().map(ToString::to_string);
            return Err(HubError::NoCertificates {
                reason: reason.unwrap_or_default(),
            });
        }
        let certificates: Vec<Certificate<'static>> = found
            .certs
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(RootCerts::from(certificates))
            .build();
        let version = env!("CARGO_PKG_VERSION");
        // A mirror on this machine is not reached through a proxy.
        let proxy = match is_loopback(&settings.endpoint) {
            true => None,
            false => ureq::Proxy::try_from_env(),
        };
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy)
            .http_status_as_error(false)
            // Redirections are followed here: a token must not leave the endpoint.
            .max_redirects(0)
            .accept_encoding("identity")
            .user_agent(format!("oscar-rs/{version}"))
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build();
        Ok(Self {
            agent: config.into(),
            endpoint: settings.endpoint.clone(),
            token: settings.token.clone(),
        })
    }

    /// Asks for a path of the hub and follows where it leads.
    pub(super) fn ask(&self, path: &str, ask: Ask) -> Result<Answer, HubError> {
        let mut url = format!("{}/{path}", self.endpoint);
        let mut said = Said::default();
        for _ in 0..MAX_HOPS {
            let at_home = is_same_origin(&url, &self.endpoint);
            let response = self.send(&url, ask, at_home)?;
            if at_home {
                said.listen(response.headers(), !is_redirection(response.status()));
            }
            let target = match is_redirection(response.status()) {
                true => text(response.headers(), "location"),
                false => None,
            };
            let shown = without_signature(&url).to_string();
            let Some(target) = target else {
                self.check(&response, &shown, at_home)?;
                return Ok(Answer {
                    response,
                    said,
                    url: shown,
                });
            };
            let target = resolve(&url, target).ok_or_else(|| HubError::Redirect {
                url: shown.clone(),
                target: without_signature(target).into(),
                reason: "it is not an address",
            })?;
            if is_secure(&url) && !is_secure(&target) {
                return Err(HubError::Redirect {
                    url: shown,
                    target: without_signature(&target).into(),
                    reason: "it is not encrypted",
                });
            }
            if ask == Ask::About && !is_same_origin(&target, &self.endpoint) {
                return Ok(Answer {
                    response,
                    said,
                    url: shown,
                });
            }
            url = target;
        }
        Err(HubError::Redirect {
            url: format!("{}/{path}", self.endpoint),
            target: without_signature(&url).into(),
            reason: "there are too many redirections",
        })
    }

    fn send(&self, url: &str, ask: Ask, at_home: bool) -> Result<Response<Body>, HubError> {
        let mut request = match ask {
            Ask::About => self.agent.head(url),
            Ask::From(_) => self.agent.get(url),
        };
        if let Ask::From(start @ 1..) = ask {
            request = request.header("Range", format!("bytes={start}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| at_home) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| HubError::Unreachable {
            url: without_signature(url).into(),
            reason: error.to_string(),
        })
    }

    /// The error that a status stands for.
    fn check(&self, response: &Response<Body>, url: &str, at_home: bool) -> Result<(), HubError> {
        let (status, url) = (response.status(), url.to_string());
        let code = text(response.headers(), "x-error-code");
        match (status.as_u16(), code) {
            (200..=299 | 416, _) => Ok(()),
            (404, Some("RevisionNotFound")) => Err(HubError::NotFound {
                url,
                what: "revision",
            }),
            (404, Some("EntryNotFound")) => Err(HubError::NotFound { url, what: "file" }),
            (404, _) => Err(HubError::NotFound {
                url,
                what: "repository",
            }),
            (status @ (401 | 403), _) if at_home => Err(HubError::Refused {
                url,
                status,
                with_token: self.token.is_some(),
            }),
            (status, _) => Err(HubError::Status { url, status }),
        }
    }
}

impl Said {
    /// Takes in the headers of one of the hub's answers; `last` if it is no redirection within it.
    fn listen(&mut self, headers: &HeaderMap, last: bool) {
        let commit = text(headers, "x-repo-commit").filter(|commit| is_commit(commit));
        if let Some(commit) = commit {
            self.commit = Some(commit.into());
        }
        let linked = text(headers, "x-linked-etag");
        // What is linked has its own tag; that of the link is no checksum.
        let plain = text(headers, "etag").filter(|_| !self.is_linked);
        self.is_linked |= linked.is_some();
        if let Some(etag) = linked.or(plain) {
            let etag = etag.trim_start_matches("W/").trim_matches('"');
            self.etag = Some(etag.into());
        }
        let number = |name: &str| text(headers, name)?.parse().ok();
        if let Some(size) = number("x-linked-size") {
            self.size = Some(size);
        } else if last && self.size.is_none() {
            self.size = number("content-length");
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn is_redirection(status: StatusCode) -> bool {
    [301, 302, 303, 307, 308].contains(&status.as_u16())
}

fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    uri.is_some_and(|uri| matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]")))
}

fn is_secure(url: &str) -> bool {
    url.starts_with("https://")
}

/// The address without its query, which may hold a signature.
fn without_signature(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Whether two addresses have the same scheme, host and port.
fn is_same_origin(first: &str, second: &str) -> bool {
    let origin = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        let port = match uri.scheme_str()? {
            "https" => 443,
            _ => 80,
        };
        let host = uri.host()?.to_ascii_lowercase();
        Some((
            uri.scheme_str()?.to_string(),
            host,
            uri.port_u16().unwrap_or(port),
        ))
    };
    origin(first).is_some_and(|found| Some(found) == origin(second))
}

/// Where a redirection of `url` leads.
fn resolve(url: &str, target: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?;
    let resolved = match target {
        _ if target.starts_with("https://") || target.starts_with("http://") => target.to_string(),
        _ if target.starts_with("//") => format!("{scheme}:{target}"),
        _ if target.starts_with('/') => format!("{scheme}://{}{target}", uri.authority()?),
        _ => return None,
    };
    resolved.parse::<Uri>().ok()?.host()?;
    Some(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let hub = "https://hub.example/prefix";
        assert!(is_same_origin("https://HUB.example:443/a?b", hub));
        for other in [
            "http://hub.example/a",
            "https://hub.example:444/a",
            "https://hub.example.evil/a",
            "https://hub.example@evil/a",
            "https://cdn.hub.example/a",
        ] {
            assert!(!is_same_origin(other, hub), "{other}");
        }
    }

    #[test]
    fn relative_redirections_stay_on_their_host() {
        let url = "https://hub.example:8443/a/b?c";
        let resolved = |target| resolve(url, target);
        assert_eq!(resolved("/d").unwrap(), "https://hub.example:8443/d");
        assert_eq!(resolved("//cdn/d").unwrap(), "https://cdn/d");
        assert_eq!(resolved("http://cdn/d").unwrap(), "http://cdn/d");
        assert_eq!(resolved("file:///etc/passwd"), None);
        assert_eq!(resolved("d"), None);
    }
}
