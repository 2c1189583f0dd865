//! Recipes are built in: a new file under `config/` is a reason to build again.
#![allow(
    clippy::print_stdout,
    reason = "cargo reads what a build script prints"
)]

fn main() {
    println!("cargo::rerun-if-changed=../config");
}
