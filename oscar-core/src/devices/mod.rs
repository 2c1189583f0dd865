//! Which devices the compiled-in backends find on this machine.
//!
//! A backend is asked here before it is used: what it needs at run time (a driver, a compiler of
//! kernels) is loaded on first use, and some of them panic if it is not there.

#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "tch")]
pub mod libtorch;
#[cfg(feature = "wgpu")]
pub mod vulkan;

/// A device of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<D> {
    /// What the backend calls it.
    pub device: D,
    /// Its name for people.
    pub name: String,
    /// Whether it multiplies matrices of bf16 and adds up in f32.
    pub bf16: bool,
}

/// Why a backend has no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {backend} backend finds no device: {reason}; {remedy}")]
pub struct NoDevice {
    /// Its name.
    pub backend: &'static str,
    /// What is missing.
    pub reason: String,
    /// What to do.
    pub remedy: &'static str,
}
