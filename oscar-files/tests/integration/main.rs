//! PyTorch files, downloads, and files that are written whole or not at all.
//!
//! One executable, as every further one would compile models and backends again.

#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "hub")]
mod hub_server;
mod pytorch;
mod pytorch_errors;
#[path = "../pytorch_support/mod.rs"]
mod pytorch_support;
mod whole;
