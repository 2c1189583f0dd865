//! Makes the sample that ships with the repository from the whole of NLVR v1:
//!
//! `cargo run --release -p oscar-datasets --example make_sample -- TRAIN_IMAGES TRAIN_ANNOTATIONS
//! DEV_IMAGES DEV_ANNOTATIONS OUT`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use oscar_datasets::sample::{SampleSources, write_sample};

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (text, code) = match arguments.as_slice() {
        [
            train_images,
            train_annotations,
            dev_images,
            dev_annotations,
            out,
        ] => {
            let sources = SampleSources {
                train_images,
                train_annotations,
                dev_images,
                dev_annotations,
            };
            match write_sample(&sources, out, true) {
                Ok(counts) => (format!("{}: {counts:?}", out.display()), 0),
                Err(error) => (format!("error: {error}"), 1),
            }
        }
        _ => {
            let usage = "usage: make_sample TRAIN_IMAGES TRAIN_ANNOTATIONS DEV_IMAGES \
                         DEV_ANNOTATIONS OUT";
            (usage.to_string(), 2)
        }
    };
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}
