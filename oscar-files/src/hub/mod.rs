//! Weights on the HuggingFace hub: its cache folder, which Python's `huggingface_hub` shares, and with
//! the feature `hub` the client that fills it.
//!
//! ```text
//! HF_HOME/hub/models--OWNER--NAME/
//!   blobs/ETAG                 contents by their checksum; ETAG.incomplete while they arrive
//!   refs/main                  the commit that a branch or tag names
//!   snapshots/COMMIT/FILE      links to contents
//! ```
//!
//! A content gets its name when all of it has arrived and its checksum is the one that the hub gave,
//! so that nothing half-written is ever taken for whole.

mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod digest;
#[cfg(feature = "hub")]
mod download;
mod error;
mod reference;
mod settings;

pub use cache::HubCache;
#[cfg(feature = "hub")]
pub use download::{Event, Hub, Listing, RemoteFile};
pub use error::HubError;
pub use reference::HubReference;
pub use settings::HubSettings;
