//! The same suite for each backend with steps of its own, and the composed steps beside them.

#![allow(
    clippy::duplicate_mod,
    reason = "the suite is compiled once per backend"
)]

mod composed;
mod flex;
#[cfg(feature = "tch")]
mod libtorch;
#[cfg(feature = "wgpu")]
mod vulkan;
