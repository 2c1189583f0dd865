//! Runs the program as a user would, in a directory of its own.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

pub mod official;
pub mod shapes;
pub mod toy;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A directory to work in.
pub struct Workplace {
    pub directory: TempDir,
}

impl Workplace {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// An empty one in memory, where there is such a place: for tests that write much.
    pub fn in_memory() -> Self {
        let directory = match Path::new("/dev/shm").is_dir() {
            true => tempfile::tempdir_in("/dev/shm"),
            false => tempfile::tempdir(),
        };
        Self {
            directory: directory.expect("a temporary directory"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program, with its runs in this directory and no configuration from the environment.
    pub fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oscar-bin"));
        for (variable, _) in std::env::vars() {
            if variable.starts_with("OSCAR_") || variable == "RUST_LOG" {
                command.env_remove(variable);
            }
        }
        // No test downloads anything by accident, or finds what the user has downloaded.
        command.env("HF_HUB_OFFLINE", "1");
        command.env("HF_HOME", self.path("huggingface"));
        for variable in [
            "HF_HUB_CACHE",
            "HUGGINGFACE_HUB_CACHE",
            "HF_ENDPOINT",
            "HF_TOKEN",
        ] {
            command.env_remove(variable);
        }
        command.current_dir(self.directory.path());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.program()
            .args(args)
            .output()
            .expect("the program starts")
    }
}

/// A run on described shapes that is small in everything but its training data.
pub const SMALL: &[&str] = &[
    "train",
    "--config",
    "shapes",
    "--set",
    "train.steps=60",
    "--set",
    "train.batch_size=8",
    "--set",
    "train.validate_every=25",
    "--set",
    "train.save_every=10",
    "--set",
    "train.log_every=1",
    "--set",
    "optimizer.warmup_steps=2",
    "--set",
    "grounding.examples=16",
    "--set",
    "model.num_hidden_layers=1",
    "--set",
    "data.validation.corpus=few.jsonl",
];

/// A small recipe over an official corpus and the same rows as JSON lines, shuffled in windows.
pub const MIXED: &str = r#"
[model]
preset = "tiny"
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 1

[data]
vocab = "corpus"

[[data.mix]]
corpus = "texts/corpus.yaml"
regions = "data"
weight = 3.0

[[data.mix]]
corpus = "same.jsonl"
regions = "same"
weight = 1.0

[data.validation]
corpus = "same.jsonl"
regions = "same"

[encoder]
contrast = { texta_false_prob = 0.25, textb_sample_mode = "answer" }

[train]
steps = 60
batch_size = 16
accumulation = 2
validate_every = 30
save_every = 10
log_every = 1
shuffle_window = 24

[grounding]
examples = 8
"#;

impl Workplace {
    /// One with the corpus that [`SMALL`] validates on: the first held-out boxes of the sample.
    pub fn small() -> Self {
        let place = Self::new();
        let rows: String = FEW.iter().map(|(image, text)| row(image, text)).collect();
        write(&place.path("few.jsonl"), &rows);
        place
    }

    /// [`SMALL`], by the name `name` and with `more` flags.
    pub fn train(&self, name: &str, more: &[&str]) -> Output {
        self.run(&[SMALL, &["--name", name], more].concat())
    }
}

/// Held-out boxes of the sample, with captions of them.
const FEW: &[(&str, &str)] = &[
    ("dev-1572-0.b0", "two blue triangles and one yellow circle"),
    ("dev-1572-0.b1", "one yellow square and one yellow triangle"),
    (
        "dev-1572-0.b2",
        "one yellow triangle and one yellow circle and one yellow triangle and one yellow square and one black square",
    ),
    (
        "dev-1514-3.b0",
        "one yellow square and two black circles and two blue triangles",
    ),
    (
        "dev-1514-3.b1",
        "one yellow square and one blue circle and one yellow circle and one yellow square and one black square",
    ),
    (
        "dev-1514-3.b2",
        "one yellow circle and one yellow triangle and one yellow circle and one blue circle and one yellow triangle",
    ),
    (
        "dev-481-1.b0",
        "one yellow square and one blue triangle and one yellow circle and one black triangle and one yellow triangle and two blue circles",
    ),
    (
        "dev-481-1.b1",
        "one yellow circle and one blue square and one black circle and one blue square and one yellow square and one yellow circle",
    ),
    ("dev-481-1.b2", "three yellow triangles"),
    ("dev-405-0.b0", "one black circle and one black square"),
    (
        "dev-405-0.b1",
        "one blue circle and one black square and one blue circle and one black square and one yellow circle and one blue circle",
    ),
    (
        "dev-405-0.b2",
        "one black triangle and three yellow circles and one blue square and one blue circle and one black circle",
    ),
    (
        "dev-1494-3.b0",
        "one yellow circle and one yellow triangle and one blue circle and one black circle",
    ),
    (
        "dev-1494-3.b1",
        "one blue circle and one black square and one black circle and one blue triangle",
    ),
    (
        "dev-1494-3.b2",
        "one blue circle and one blue square and one black triangle and one yellow triangle and one blue square",
    ),
    ("dev-372-3.b0", "two black circles"),
];

/// A line of a corpus.
pub fn row(image: &str, text: &str) -> String {
    format!("{{\"image\": {image:?}, \"text\": {text:?}}}\n")
}

/// The JSON document that a successful run prints.
pub fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).expect("one JSON document on standard output")
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asserts that the program failed with a message that holds all `parts`, and did not panic.
pub fn assert_fails(output: &Output, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(
        output.status.code(),
        Some(1),
        "expected exit code 1, got {output:?}"
    );
    assert!(!text.contains("panicked"), "a panic: {text}");
    for part in parts {
        assert!(
            text.contains(part),
            "{part:?} is not in the message:\n{text}"
        );
    }
}

/// Writes a text file.
pub fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file in a temporary directory");
}

/// Copies a directory with everything in it.
pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("its type").is_dir() {
            true => copy_directory(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("a copy")),
        }
    }
}

/// Arguments of a browser that shows no window and asks nobody for anything.
pub const HEADLESS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];
