//! The suite itself: what it finds, what it counts, and that it reports all that is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use oscar_tests::{Outcome, Summary, run};
use safetensors::SafeTensors;
use tempfile::TempDir;

#[test]
fn a_folder_without_sets_does_not_pass() {
    let folder = TempDir::new().unwrap();
    let reason = run_in(folder.path()).verdict().unwrap_err();
    assert_eq!(reason, "the folder has no set");
}

#[test]
fn a_missing_folder_is_an_error() {
    let folder = TempDir::new().unwrap();
    let error = run::<Autodiff<Flex>>(&folder.path().join("none"), &FlexDevice).unwrap_err();
    assert!(error.contains("none"), "{error}");
}

#[test]
fn skipped_sets_are_named_and_do_not_count_as_passed() {
    let folder = TempDir::new().unwrap();
    for (name, class) in [("no-class", ""), ("other", "SomethingElse")] {
        let set = folder.path().join(name);
        fs::create_dir(&set).unwrap();
        fs::write(
            set.join("meta.json"),
            format!(r#"{{"cls": "{class}", "optim": null}}"#),
        )
        .unwrap();
    }
    let summary = run_in(folder.path());
    assert_eq!(summary.counts(), (0, 0, 2));
    assert!(summary.verdict().is_err());
    let text = summary.to_string();
    assert!(text.contains(" is not implemented"), "{text}");
    assert!(text.contains("SomethingElse is not implemented"), "{text}");
    assert!(text.contains("0 passed, 0 failed, 2 skipped"), "{text}");
}

#[test]
fn every_wrong_tensor_is_listed() {
    let folder = TempDir::new().unwrap();
    let set = copy("seqcls_bce_linear", folder.path());
    add(&set.join("expected.safetensors"), "logits", 1e-3);
    add(
        &set.join("expected.safetensors"),
        "grad.bert.pooler.dense.weight",
        1e-3,
    );
    let summary = run_in(folder.path());
    assert_eq!(summary.counts(), (0, 1, 0));
    let Outcome::Compared(report) = &summary.sets[0].1 else {
        panic!("not compared")
    };
    let mut names: Vec<_> = report
        .failures()
        .iter()
        .map(|check| check.name.clone())
        .collect();
    names.sort();
    assert_eq!(names, ["grad.bert.pooler.dense.weight", "logits"]);
    let text = summary.to_string();
    assert!(text.contains("  logits: [0] expected "), "{text}");
    assert!(text.contains("difference 1.00e-3, tolerance "), "{text}");
}

#[test]
fn a_changed_weight_fails() {
    let folder = TempDir::new().unwrap();
    let set = copy("pretrain_noln_3way", folder.path());
    add(
        &set.join("model.safetensors"),
        "bert.encoder.layer.1.intermediate.dense.weight",
        1e-3,
    );
    assert_eq!(run_in(folder.path()).counts(), (0, 1, 0));
}

#[test]
fn a_broken_set_fails_and_the_others_are_still_compared() {
    let folder = TempDir::new().unwrap();
    let broken = copy("seqcls_bce_linear", folder.path());
    fs::write(broken.join("model.safetensors"), "not weights").unwrap();
    copy("nlvr2_ce_linear", folder.path());
    let summary = run_in(folder.path());
    assert_eq!(summary.counts(), (1, 1, 0), "{summary}");
}

#[test]
fn a_wrong_token_fails() {
    let folder = TempDir::new().unwrap();
    let set = copy("tokenizer", folder.path());
    let path = set.join("expected.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"wall\"", "\"walls\"", 1)).unwrap();
    let summary = run_in(folder.path());
    assert_eq!(summary.counts(), (0, 1, 0), "{summary}");
}

#[test]
fn every_tensor_of_the_fixtures_is_compared() {
    for (set, outcome) in run_in(&fixtures()).sets {
        match outcome {
            Outcome::Compared(report) => assert_eq!(report.unchecked, [""; 0], "{}", set.name),
            other => panic!("{}: {other:?}", set.name),
        }
    }
}

fn run_in(folder: &Path) -> Summary {
    run::<Autodiff<Flex>>(folder, &FlexDevice).unwrap()
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn copy(set: &str, folder: &Path) -> PathBuf {
    let target = folder.join(set);
    fs::create_dir(&target).unwrap();
    for entry in fs::read_dir(fixtures().join(set)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
    }
    target
}

/// Adds `change` to the first value of a tensor.
fn add(file: &Path, tensor: &str, change: f32) {
    let mut bytes = fs::read(file).unwrap();
    let at = {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        tensors.tensor(tensor).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize
    };
    let value = f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) + change;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    fs::write(file, bytes).unwrap();
}
