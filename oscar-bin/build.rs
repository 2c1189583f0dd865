//! Recipes are built in: a new file under `config/` is a reason to build again. And a program that
//! computes with LibTorch finds it where it was when the program was built.
#![allow(
    clippy::print_stdout,
    reason = "cargo reads what a build script prints"
)]

fn main() {
    println!("cargo::rerun-if-changed=../config");
    if let Ok(library) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{library}");
        // Kernels register themselves, so the linker sees no use of their library.
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo::rustc-link-arg=-ltorch");
    }
}
