//! kill -9 at random moments: a run that is resumed each time ends as if nothing had happened.
//!
//! Half of the kills come after a random time, the other half at the first sight of something being
//! written: a directory or file that does not have its name yet.

use crate::support;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::Value;
use support::{Workplace, stderr, toy};

const PRETRAINING: &[&str] = &["train", "--config", "train.toml"];
const FINETUNING: &[&str] = &[
    "finetune",
    "--task",
    "matching",
    "--config",
    "matching.toml",
];

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// A line of the log without its times: step, split, loss.
type Line = (u64, String, String);

/// What a finished run has to show: files that must be the same, and the log.
fn result(run: &Path) -> (Vec<Vec<u8>>, Vec<Line>) {
    let mut files = vec!["best/model.safetensors", "last/model.safetensors"];
    files.push("last/task.json");
    if run.join("predictions").exists() {
        files.push("predictions/validation.jsonl");
    }
    let read =
        |file: &&str| fs::read(run.join(file)).unwrap_or_else(|_| panic!("{file} is missing"));
    let log = fs::read_to_string(run.join("metrics.jsonl")).expect("a log");
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a whole line");
        let step = line["step"].as_u64().expect("a step");
        (step, line["split"].to_string(), line["Loss"].to_string())
    };
    (
        files.iter().map(read).collect(),
        log.lines().map(line).collect(),
    )
}

/// Names in a run of what is not complete: of a checkpoint, of weights, of a file.
fn unfinished(run: &Path) -> Option<String> {
    let places = [
        run.join("checkpoint"),
        run.join("predictions"),
        run.to_path_buf(),
    ];
    let names = places
        .iter()
        .flat_map(|place| fs::read_dir(place).into_iter().flatten());
    names
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.contains(".oscar-tmp-") || name.ends_with(".oscar-old"))
}

/// Waits for a time, or for something unfinished; `None` if the program ends before.
fn wait(child: &mut Child, run: &Path, time: Option<Duration>) -> Option<()> {
    let started = Instant::now();
    loop {
        if child.try_wait().expect("a child").is_some() {
            return None;
        }
        match time {
            Some(time) if started.elapsed() >= time => return Some(()),
            None if unfinished(run).is_some() => return Some(()),
            _ => std::thread::sleep(Duration::from_micros(100)),
        }
    }
}

/// The program on one thread: several would wait for each other longer than they compute.
fn program(place: &Workplace) -> Command {
    let mut program = place.program();
    program.env("RAYON_NUM_THREADS", "1");
    program
}

/// Starts runs, kills them so often, resumes them to their ends, and compares these with an
/// uninterrupted run.
fn survive(command: &[&str], kills: usize, seed: u64) {
    let place = toy::workplace(|_| false);
    let started = Instant::now();
    let run = |args: &[&str]| program(&place).args(args).output().expect("it starts");
    let whole = run(&[command, &["--name", "whole"]].concat());
    let longest = started.elapsed();
    assert!(whole.status.success(), "{}", stderr(&whole));
    let expected = result(&place.path("runs/whole"));

    let mut random = Random(seed);
    let (mut killed, mut writing, mut runs) = (0, 0, 0);
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    while killed < kills {
        runs += 1;
        let name = format!("killed-{runs}");
        let directory = place.path("runs").join(&name);
        let mut kills_of_run = 0;
        while killed < kills {
            let mut child = start(&place, command, &name, &directory);
            let time = match random.below(2) {
                0 => None,
                _ => Some(longest.mul_f64(random.below(1000) as f64 / 1000.0)),
            };
            // Not always the first thing that is written.
            let skipped = Duration::from_micros(random.below(longest.as_micros() as u64 / 2));
            let waited = match time {
                None => wait(&mut child, &directory, Some(skipped))
                    .and_then(|()| wait(&mut child, &directory, None)),
                time => wait(&mut child, &directory, time),
            };
            if waited.is_none() {
                break;
            }
            child.kill().expect("SIGKILL");
            child.wait().expect("its end");
            (killed, kills_of_run) = (killed + 1, kills_of_run + 1);
            if let Some(name) = unfinished(&directory) {
                writing += 1;
                let kind = name.trim_start_matches('.').split(['-', '.']).next();
                *seen.entry(kind.unwrap_or_default().into()).or_default() += 1;
            }
        }
        let rest = start(&place, command, &name, &directory).wait();
        assert!(rest.expect("its end").success(), "after {killed} kills");
        assert_eq!(unfinished(&directory), None, "{name}");
        let (files, log) = result(&directory);
        assert_eq!(log, expected.1, "{name}, after {kills_of_run} kills");
        assert!(
            files == expected.0,
            "{name} has other weights, after {kills_of_run} kills"
        );
    }
    let _ = writeln!(
        std::io::stderr(),
        "{}: {killed} kills in {runs} runs, {writing} of them while writing {seen:?}, \
         every run ended the same; {:.0?} in all",
        command[0],
        started.elapsed()
    );
    assert!(writing > 0, "no kill met a file that was being written");
}

/// Starts the run, or goes on with it once it has a configuration.
fn start(place: &Workplace, command: &[&str], name: &str, directory: &Path) -> Child {
    let mut program = program(place);
    match directory.join("config.toml").exists() {
        false => program.args(command),
        true => program.args(&command[..command.len() - 2]).arg("--resume"),
    };
    program
        .args(["--name", name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

#[rstest]
fn killed_runs_end_as_if_they_had_not_been(#[values(PRETRAINING, FINETUNING)] command: &[&str]) {
    survive(command, 8, 1);
}

#[rstest]
#[ignore = "fifty kills of each command take a minute or two; .ci/run runs them"]
fn killed_fifty_times(#[values(PRETRAINING, FINETUNING)] command: &[&str]) {
    survive(command, 50, 2);
}

#[rstest]
#[ignore = "a thousand kills of each command take many minutes; run by hand"]
fn killed_a_thousand_times(#[values(PRETRAINING, FINETUNING)] command: &[&str]) {
    survive(command, 1000, 3);
}
