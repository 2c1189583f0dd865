//! How the hub is reached, as the variables of Python's `huggingface_hub` say.

use std::fmt;
use std::path::PathBuf;

use super::{HubCache, HubError};

/// The public hub.
const PUBLIC: &str = "https://huggingface.co";

/// How the hub is reached.
#[derive(Clone)]
pub struct HubSettings {
    /// Address of the hub or of a mirror, without a slash at its end.
    pub endpoint: String,
    /// Token that is sent to the endpoint, and to no other host.
    pub token: Option<String>,
    /// Never uses the network.
    pub offline: bool,
    /// Where downloaded files are.
    pub cache: HubCache,
}

impl HubSettings {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN` (else the file `HF_TOKEN_PATH` or `HF_HOME/token`),
    /// `HF_HUB_OFFLINE`, and the place of the cache: `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`.
    ///
    /// # Errors
    ///
    /// If no variable says where the cache is, or the endpoint is not an address.
    pub fn from_environment() -> Result<Self, HubError> {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// As [`from_environment`](Self::from_environment), with the variables that `variable` has.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let path = |name: &str| variable(name).map(PathBuf::from);
        let user = || path("HOME").or_else(|| path("USERPROFILE"));
        let caches = || path("XDG_CACHE_HOME").or_else(|| Some(user()?.join(".cache")));
        let home = path("HF_HOME").or_else(|| Some(caches()?.join("huggingface")));
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(home.as_ref()?.join("hub")))
            .ok_or(HubError::NoCache)?;
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| PUBLIC.into());
        let endpoint = endpoint.trim_end_matches('/').to_string();
        if !["https://", "http://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme))
        {
            return Err(HubError::Endpoint { given: endpoint });
        }
        let is_on = |name: &str| {
            variable(name).is_some_and(|value| {
                ["1", "on", "yes", "true"].contains(&&*value.to_ascii_lowercase())
            })
        };
        let in_file = || {
            if is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
                return None;
            }
            let file = path("HF_TOKEN_PATH").or_else(|| Some(home.as_ref()?.join("token")))?;
            std::fs::read_to_string(file).ok()
        };
        let token = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
        let token = token.or_else(in_file).map(|token| token.trim().to_string());
        Ok(Self {
            endpoint,
            // A line break would end the header.
            token: token.filter(|token| {
                !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
            }),
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            cache: HubCache::new(cache),
        })
    }
}

impl fmt::Debug for HubSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "...");
        formatter
            .debug_struct("HubSettings")
            .field("endpoint", &self.endpoint)
            .field("token", &token)
            .field("offline", &self.offline)
            .field("cache", &self.cache)
            .finish()
    }
}
