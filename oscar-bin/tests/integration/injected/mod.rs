//! The n-th write, sync, creation or rename fails, or the machine loses power before it, for every n:
//! nothing that was complete is lost, and the same command then ends as if nothing had happened.
//!
//! The calls are those that the program really makes: `shim.rs` stands before the C library.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use rstest::rstest;

use super::support::{Workplace, copy_directory, stderr, toy};

/// What goes wrong; the words that the shim knows.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// One call fails.
    Once,
    /// A call and all later ones fail, as on a disk that is full.
    FromThenOn,
    /// The machine loses power, and with it everything that was not synced.
    Crash,
}

impl Fault {
    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Once => "once",
            Self::FromThenOn => "on",
            Self::Crash => "crash",
        }
    }
}

/// A command, and what it writes.
#[derive(Clone, Copy)]
struct Operation {
    args: &'static [&'static str],
    /// What is added to run it once more after a fault.
    again: &'static [&'static str],
    /// Where the result is, and which of its files must be the same.
    output: &'static str,
    files: &'static [&'static str],
}

const TRAIN: Operation = Operation {
    args: &[
        "train",
        "--config",
        "train.toml",
        "--steps",
        "4",
        "--name",
        "r",
    ],
    again: &["--resume"],
    output: "runs/r",
    files: &["last/model.safetensors", "last/config.json"],
};

const IMPORT: Operation = Operation {
    args: &[
        "model",
        "import",
        "made/model.safetensors",
        "--out",
        "imported",
    ],
    again: &["--overwrite"],
    output: "imported",
    files: &["model.safetensors", "config.json", "vocab.txt"],
};

const STORE: Operation = Operation {
    args: &[
        "data",
        "build",
        "regions",
        "pictures",
        "--detector",
        "drawing",
        "--out",
        "built",
    ],
    again: &["--overwrite"],
    output: "built",
    files: &[
        "regions-00000.safetensors",
        "index.safetensors",
        "tags.jsonl",
    ],
};

/// The library that is preloaded, compiled once.
fn shim(place: &Workplace) -> PathBuf {
    let library = place.path("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/injected/shim.rs");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compiler = std::process::Command::new(compiler);
    compiler.args([
        "--edition",
        "2024",
        "-O",
        "--crate-type",
        "cdylib",
        "-C",
        "panic=abort",
        "-o",
    ]);
    let output = compiler
        .arg(&library)
        .arg(source)
        .output()
        .expect("a compiler");
    assert!(output.status.success(), "{}", stderr(&output));
    library
}

/// What the operations read.
fn inputs() -> Workplace {
    let place = toy::workplace(|_| false);
    let made = place.run(&[
        "train",
        "--config",
        "train.toml",
        "--steps",
        "2",
        "--name",
        "made",
    ]);
    assert!(made.status.success(), "{}", stderr(&made));
    fs::rename(place.path("runs/made/last"), place.path("made")).expect("weights");
    fs::remove_dir_all(place.path("runs")).expect("a run");
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/sample/pictures");
    copy_directory(&pictures, &place.path("pictures"));
    place
}

/// Runs an operation in `place` with a fault at call `at`; its output and the calls that it made.
fn run(place: &Path, shim: &Path, args: &[&str], fault: Fault, at: usize) -> (Output, Vec<String>) {
    let log = place.with_extension("log");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_oscar-bin"))
        .args(args)
        .current_dir(place)
        .env("RAYON_NUM_THREADS", "1")
        .env("LD_PRELOAD", shim)
        .env("FAULT_BELOW", place)
        .env("FAULT_LOG", &log)
        .env("FAULT_MODE", fault.word())
        .env("FAULT_AT", at.to_string())
        .output()
        .expect("the program starts");
    let calls = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    (output, calls.lines().map(str::to_owned).collect())
}

/// Every name below `directory` that says of itself that it is not complete.
fn unfinished(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if [".oscar-tmp-", ".oscar-old", ".partial"]
            .iter()
            .any(|mark| name.contains(mark))
        {
            found.push(entry.path());
        }
        found.extend(unfinished(&entry.path()));
    }
    found
}

fn content(directory: &Path, operation: Operation) -> Vec<Option<Vec<u8>>> {
    let read = |file: &&str| fs::read(directory.join(operation.output).join(file)).ok();
    operation.files.iter().map(read).collect()
}

/// Injects `fault` at every `stride`-th call of `operation`.
fn survive(operation: Operation, fault: Fault, stride: usize) {
    let inputs = inputs();
    let shim = shim(&inputs);
    let fresh = |name: &str| {
        let place = inputs.path("places").join(name);
        for name in ["regions", "pictures", "made"] {
            copy_directory(&inputs.path(name), &place.join(name));
        }
        for file in ["train.jsonl", "dev.jsonl", "vocab.txt", "train.toml"] {
            fs::copy(inputs.path(file), place.join(file)).expect("an input");
        }
        place
    };
    // A store names the folder it was made from, so all are made in one of the same name.
    let whole = fresh("faulty");
    let (output, calls) = run(&whole, &shim, operation.args, Fault::None, 0);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(calls.len() > 20, "the shim saw {} calls", calls.len());
    let expected = content(&whole, operation);
    assert!(expected.iter().all(Option::is_some), "a file is missing");
    fs::remove_dir_all(&whole).expect("a directory");

    let mut ends = BTreeMap::<Option<i32>, usize>::new();
    for at in (1..=calls.len()).step_by(stride) {
        let place = fresh("faulty");
        let (output, seen) = run(&place, &shim, operation.args, fault, at);
        let call = seen.get(at - 1).map_or("no such call", String::as_str);
        let said = stderr(&output);
        *ends.entry(output.status.code()).or_default() += 1;
        match (fault, output.status.code()) {
            (Fault::Crash, Some(137)) => {}
            // A fault that costs nothing: a lock that another attempt takes, a log for another program.
            (Fault::Once, Some(0)) => {}
            (Fault::Once | Fault::FromThenOn, Some(1)) => {
                assert!(
                    said.contains("error: ") && said.contains("os error"),
                    "{call}: {said}"
                );
            }
            (_, code) => panic!("{call}: it ended with {code:?}: {said}"),
        }
        // What has its name is complete.
        for (found, expected) in content(&place, operation).iter().zip(&expected) {
            assert!(
                found.is_none() || found == expected,
                "{call}: a damaged file"
            );
        }
        let again = [operation.args, operation.again].concat();
        let (output, _) = run(&place, &shim, &again, Fault::None, 0);
        assert!(output.status.success(), "after {call}: {}", stderr(&output));
        assert!(
            content(&place, operation) == expected,
            "after {call}: another result"
        );
        assert_eq!(unfinished(&place), Vec::<PathBuf>::new(), "after {call}");
        fs::remove_dir_all(&place).expect("a directory");
    }
    let _ = writeln!(
        std::io::stderr(),
        "{} {:?}, {}: {} calls, ends {ends:?}, all survived",
        operation.args[0],
        operation.output,
        fault.word(),
        calls.len(),
    );
}

#[rstest]
fn a_call_that_fails_loses_nothing(
    #[values((TRAIN, 29), (IMPORT, 7), (STORE, 7))] operation: (Operation, usize),
    #[values(Fault::Once, Fault::FromThenOn, Fault::Crash)] fault: Fault,
) {
    survive(operation.0, fault, operation.1);
}

#[rstest]
#[ignore = "every call of each operation takes a minute; .ci/run runs it"]
fn any_call_that_fails_loses_nothing(
    #[values(TRAIN, IMPORT, STORE)] operation: Operation,
    #[values(Fault::Once, Fault::FromThenOn, Fault::Crash)] fault: Fault,
) {
    survive(operation, fault, 1);
}
