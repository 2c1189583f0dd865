//! Several processes train one model. Needs `--features oscar-bin/mpi`, and `mpirun`.
#![cfg(target_os = "linux")]

use crate::support;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{SMALL, Workplace, stderr};

/// The run that all tests make, of two parts per step.
fn args<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    const PARTS: &[&str] = &["--set", "train.accumulation=2"];
    [SMALL, PARTS, &["--name", name], more].concat()
}

/// `mpirun -np 2 oscar-bin ARGS`; `None` where there is no `mpirun`.
fn two_processes(place: &Workplace, args: &[&str]) -> Option<Command> {
    let found = Command::new("mpirun").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped: mpirun is not installed");
        return None;
    }
    let program = place.program();
    let mut command = Command::new("mpirun");
    command
        .args(["--allow-run-as-root", "--oversubscribe", "-np", "2"])
        .args(["--mca", "odls_base_sigkill_timeout", "5"])
        .arg(program.get_program())
        .args(args)
        .current_dir(place.directory.path())
        .env("RAYON_NUM_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, _) in program.get_envs() {
        command.env_remove(name);
    }
    Some(command)
}

/// The losses of a run, by line of its log.
fn losses(place: &Workplace, name: &str) -> Vec<f64> {
    let log = place.path("runs").join(name).join("metrics.jsonl");
    let log = std::fs::read_to_string(log).expect("a log");
    log.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|line| line["Loss"].as_f64().expect("a loss"))
        .collect()
}

fn assert_same_losses(place: &Workplace, got: &str, expected: &str) {
    let (got, expected) = (losses(place, got), losses(place, expected));
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert!(
            (got - expected).abs() <= 1e-4 * expected,
            "{got} where {expected} was expected"
        );
    }
}

fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs --features oscar-bin/mpi")]
fn two_processes_are_one_with_accumulation() {
    let place = Workplace::small();
    let Some(mut two) = two_processes(&place, &args("two", &[])) else {
        return;
    };
    assert_done(&two.output().expect("mpirun starts"));
    assert_done(&place.run(&args("one", &[])));
    assert_same_losses(&place, "two", "one");
}

#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs --features oscar-bin/mpi")]
fn a_process_that_is_killed_ends_the_run_after_a_checkpoint() {
    let place = Workplace::small();
    let Some(mut two) = two_processes(&place, &args("two", &["--set", "train.save_every=1000"]))
    else {
        return;
    };
    let mpirun = two.spawn().expect("mpirun starts");
    let log = place.path("runs/two/metrics.jsonl");
    wait_until(|| std::fs::read_to_string(&log).is_ok_and(|log| log.lines().count() > 3));
    kill(second(&mpirun));
    let output = mpirun.wait_with_output().expect("it ends");
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("worker 1"), "{said}");

    // One process goes on from the last step that both made.
    let steps = std::fs::read_dir(place.path("runs/two/checkpoint")).expect("a directory");
    assert_eq!(steps.count(), 1);
    let resumed = place.run(&args(
        "two",
        &["--resume", "--set", "train.save_every=1000"],
    ));
    assert_done(&resumed);
    assert!(
        stderr(&resumed).contains("resuming after step"),
        "{}",
        stderr(&resumed)
    );
    assert_done(&place.run(&args("one", &[])));
    assert_same_losses(&place, "two", "one");
}

#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs --features oscar-bin/mpi")]
fn a_step_that_is_not_finite_stops_all_and_is_told_once() {
    let place = Workplace::small();
    let diverges = [
        "--set",
        "optimizer.learning_rate=1e30",
        "--set",
        "optimizer.warmup_steps=0",
    ];
    let Some(mut two) = two_processes(&place, &args("two", &diverges)) else {
        return;
    };
    let output = two.output().expect("mpirun starts");
    assert!(!output.status.success());
    let said = stderr(&output);
    let told = said.matches("is not a finite number at step").count();
    assert_eq!(told, 1, "{said}");
    assert!(said.contains("runs/two/non-finite.jsonl"), "{said}");
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(
            started.elapsed() < Duration::from_secs(300),
            "it takes for ever"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Process id of the second of the processes that `mpirun` started.
fn second(mpirun: &Child) -> String {
    let parent = format!("PPid:\t{}\n", mpirun.id());
    let is_child = |process: &Path| {
        let status = std::fs::read_to_string(process.join("status"));
        status.is_ok_and(|status| status.contains(&parent))
    };
    let has_rank_1 = |process: &Path| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == b"OMPI_COMM_WORLD_RANK=1")
    };
    let processes = std::fs::read_dir("/proc").expect("Linux");
    processes
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|process| is_child(process) && has_rank_1(process))
        .and_then(|process| Some(process.file_name()?.to_string_lossy().into_owned()))
        .expect("mpirun has started it")
}

fn kill(process: String) {
    let status = Command::new("kill").args(["-9", &process]).status();
    assert!(status.expect("kill is there").success());
}
