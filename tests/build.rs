//! Tests that compute with LibTorch find it where it was when they were built.
#![allow(
    clippy::print_stdout,
    reason = "cargo reads what a build script prints"
)]

fn main() {
    if let Ok(library) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{library}");
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo::rustc-link-arg=-ltorch");
    }
}
