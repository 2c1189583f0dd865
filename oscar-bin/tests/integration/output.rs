//! What goes where: results on standard output, messages on standard error, and exit codes.

use crate::support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use support::{Workplace, assert_fails, stderr, stdout, write};

const FEW_STEPS: &[&str] = &[
    "--set",
    "train.steps=3",
    "--set",
    "optimizer.warmup_steps=1",
];

#[test]
fn json_is_one_document_and_quiet_says_nothing() {
    let place = Workplace::small();
    let flags = ["--json", "--quiet", "--init-random", "all"];
    let output = place.train("r", &[FEW_STEPS, &flags].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("one document");
    assert_eq!(report["steps"], 3);
    for key in [
        "loss",
        "mlm_loss",
        "contrastive_loss",
        "masked_token_accuracy",
    ] {
        assert!(
            report["validation"][key].is_f64(),
            "{key} is missing in {report:#}"
        );
    }
    assert!(report["samples_per_second"].as_f64().expect("a number") > 0.0);
}

#[test]
fn messages_as_json_are_json_to_the_last_line() {
    let place = Workplace::small();
    let json = ["--log-format", "json"];
    let output = place.train("r", &[FEW_STEPS, &json].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let failed = place.train("r", &[FEW_STEPS, &json].concat());
    assert_eq!(failed.status.code(), Some(1));
    let said = stderr(&output) + &stderr(&failed);
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let has = |level: &str, part: &str| {
        lines.iter().any(|line| {
            let message = line["fields"]["message"].as_str();
            line["level"] == level && message.is_some_and(|message| message.contains(part))
        })
    };
    assert!(has("INFO", "step 3/3"), "{said}");
    assert!(has("ERROR", "runs/r exists"), "{said}");
}

#[test]
fn progress_is_a_readable_line_a_period() {
    let place = Workplace::small();
    let output = place.train("r", FEW_STEPS);
    let said = stderr(&output);
    let line = said
        .lines()
        .find(|line| line.starts_with("step 2/3  Loss "))
        .expect("a line");
    for part in [
        "MLM loss",
        "Contrastive loss",
        "Masked-token accuracy",
        "Contrastive accuracy",
        "Learning rate",
        "Samples/s",
        "Tokens/s",
        "peak",
        "ETA",
    ] {
        assert!(line.contains(part), "{part} is missing: {line}");
    }
    assert!(stdout(&output).contains("runs/r"), "{}", stdout(&output));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = Workplace::new();
    let mut child = place
        .program()
        .args(["recipes", "quickstart"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // Closed before anything is read: every write fails.
    drop(child.stdout.take());
    let mut said = String::new();
    let mut messages = BufReader::new(child.stderr.take().expect("a pipe"));
    messages.read_line(&mut said).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{said}");
    assert_eq!(said, "");
}

#[test]
fn a_file_in_the_place_of_the_runs_is_named() {
    let place = Workplace::small();
    write(&place.path("taken"), "");
    for more in [
        &["--runs-dir", "taken"][..],
        &["--runs-dir", "taken", "--resume"],
    ] {
        assert_fails(&place.train("r", more), &["taken"]);
    }
    let output = place.run(&["train", "--runs-dir", "taken"]);
    assert_fails(&output, &["taken", "--runs-dir"]);
}

#[test]
fn a_run_that_cannot_start_leaves_its_name_free() {
    let place = Workplace::small();
    assert_fails(
        &place.train("r", &["--set", "data.vocab=nowhere.txt"]),
        &["nowhere.txt"],
    );
    assert!(!place.path("runs/r").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_output_is_named() {
    let place = Workplace::new();
    let full = std::fs::File::options().write(true).open("/dev/full");
    let output = place
        .program()
        .arg("recipes")
        .stdout(full.expect("a device"))
        .output()
        .expect("the program starts");
    assert_fails(&output, &["standard output"]);
}
