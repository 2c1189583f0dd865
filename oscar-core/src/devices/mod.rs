//! The devices that the compiled-in backends find on this machine.
//!
//! Check here before a backend is used: it loads what it needs at run time (a driver, a kernel
//! compiler) on first use, and some backends panic if that is missing.

#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "tch")]
pub mod libtorch;
#[cfg(feature = "wgpu")]
pub mod vulkan;

/// A device of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<D> {
    /// The backend's handle of it.
    pub device: D,
    /// Its human-readable name.
    pub name: String,
    /// Whether it multiplies bf16 matrices and accumulates in f32.
    pub bf16: bool,
}

/// Why a backend has no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {backend} backend found no device: {reason}; {remedy}")]
pub struct NoDevice {
    /// The backend's name.
    pub backend: &'static str,
    /// What is missing.
    pub reason: String,
    /// What to do.
    pub remedy: &'static str,
}
