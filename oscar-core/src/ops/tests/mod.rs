//! The same suite for each backend with steps of its own, and the composed steps beside them.

mod composed;
mod flex;
#[cfg(feature = "tch")]
mod libtorch;
#[cfg(feature = "wgpu")]
mod vulkan;
