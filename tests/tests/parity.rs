//! Every set of a folder against the official outputs: by default the fixtures of this crate, or
//! those in the folder that `OSCAR_GOLDENS` names.

use std::io::Write;
use std::path::PathBuf;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};

#[test]
fn parity() {
    let fixtures = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let folder = std::env::var_os("OSCAR_GOLDENS").map_or_else(fixtures, PathBuf::from);
    let summary = oscar_tests::run::<Autodiff<Flex>>(&folder, &FlexDevice)
        .unwrap_or_else(|error| panic!("{error}"));

    // Past the capture of the test harness, which hides what passing tests print.
    let text = format!(
        "\nParity with the official classes: {}\n{summary}\n",
        folder.display()
    );
    std::io::stderr()
        .write_all(text.as_bytes())
        .expect("standard error is open");
    if let Err(reason) = summary.verdict() {
        panic!("{reason}");
    }
}
