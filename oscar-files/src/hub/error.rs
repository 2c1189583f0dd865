//! What can go wrong with the hub.

use std::path::PathBuf;

use crate::FileError;

/// A repository that cannot be used, or a file that cannot be downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The name of a repository or revision is not one.
    #[error("{given}: {found}; write hub:OWNER/NAME, or hub:OWNER/NAME@REVISION")]
    Reference {
        /// What was given.
        given: String,
        /// What is wrong with it.
        found: String,
    },
    /// The address of the hub is not one.
    #[error(
        "HF_ENDPOINT is {given:?}, which is not an address; it begins with https:// or http://"
    )]
    Endpoint {
        /// What was given.
        given: String,
    },
    /// Nothing says where the cache is.
    #[error("no place for downloaded files is known; set HF_HOME to a directory")]
    NoCache,
    /// The network must not be used.
    #[error("HF_HUB_OFFLINE is set, so nothing is downloaded")]
    Offline,
    /// The hub cannot be reached, or the connection broke off again and again.
    #[error("{url}: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        reason: String,
    },
    /// There is no such repository, revision or file.
    #[error("{url}: there is no such {what}; check its name and revision")]
    NotFound {
        /// The address.
        url: String,
        /// `repository`, `revision` or `file`.
        what: &'static str,
    },
    /// The hub does not give it to this user.
    #[error(
        "{url}: the hub refuses it ({status}): there is no such repository, or it is private or asks \
         for its terms to be accepted; {}", token_hint(*.with_token)
    )]
    Refused {
        /// The address.
        url: String,
        /// The status, 401 or 403.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// Another answer than a file.
    #[error("{url}: the hub answered {status}")]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// An answer that does not follow the hub's protocol.
    #[error("{url}: {found}; check HF_ENDPOINT, or try again later")]
    Answer {
        /// The address.
        url: String,
        /// What was found.
        found: String,
    },
    /// What arrived is not what the hub says it has.
    #[error(
        "{file}: its checksum is {found} instead of {expected}, so what arrived was deleted; \
         try again, and without a proxy or mirror if it happens again"
    )]
    Checksum {
        /// The file of the repository.
        file: String,
        /// The checksum that the hub gave.
        expected: String,
        /// That of what arrived.
        found: String,
    },
    /// The connection broke off before the end, again and again.
    #[error(
        "{file}: only {received} of {expected} bytes arrived ({reason}); they are kept, and the \
         download resumes when it is started again"
    )]
    Truncated {
        /// The file of the repository.
        file: String,
        /// Bytes that arrived.
        received: u64,
        /// Bytes of the file.
        expected: u64,
        /// The last reason.
        reason: String,
    },
    /// A redirection that is not followed.
    #[error("{url} redirects to {target:?}, which is not followed: {reason}")]
    Redirect {
        /// The address.
        url: String,
        /// Where it leads.
        target: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// No certificates to know the hub by.
    #[error(
        "this system has no certificates of authorities, so that the hub cannot be recognised; \
         install them (the package ca-certificates), or set SSL_CERT_FILE{}", detail(.reason)
    )]
    NoCertificates {
        /// What the system said, or nothing.
        reason: String,
    },
    /// Something else is in the place of a file of the cache.
    #[error("{} is not a file of the cache; move it away", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file of the cache cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

fn token_hint(with_token: bool) -> &'static str {
    match with_token {
        true => "check the name, and what the token may read",
        false => "check the name, and set HF_TOKEN if it needs one",
    }
}

fn detail(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(" ({reason})"),
    }
}
