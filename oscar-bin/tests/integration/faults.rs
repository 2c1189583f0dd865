//! Disks that are full or cannot be written, and signals: the error is clear, nothing is lost, and the
//! run goes on once the cause is gone.
#![cfg(unix)]

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[cfg(feature = "hub")]
use crate::hub_server::{Hosted, Server, hub};
use support::{Workplace, assert_fails, stderr, toy};

const TRAIN: &[&str] = &["train", "--config", "train.toml", "--name"];

fn resume(place: &Workplace, name: &str) -> Output {
    place.run(&["train", "--name", name, "--resume"])
}

fn checkpoints(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("checkpoint")).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("last/model.safetensors")).expect("weights")
}

/// The program under `sh`, after `before`.
fn under(place: &Workplace, before: &str, args: &[&str]) -> Output {
    let program = place.program();
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{before}; exec \"$@\""))
        .arg("sh");
    shell.arg(program.get_program()).args(args);
    for (name, _) in program.get_envs() {
        shell.env_remove(name);
    }
    shell
        .current_dir(place.directory.path())
        .output()
        .expect("a shell")
}

/// A file system of its own at `path`, where this process may mount one.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path, args: &[&str]) -> Option<Self> {
        fs::create_dir_all(path).expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(args).arg(path).stderr(Stdio::null());
        match mount.status().is_ok_and(|status| status.success()) {
            true => Some(Self(path.into())),
            false => {
                use std::io::Write;
                let _ = writeln!(
                    std::io::stderr(),
                    "skipped: mount {args:?} is not allowed here"
                );
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", options]).arg(&self.0).status();
        assert!(status.expect("mount").success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A run to compare with.
fn whole(place: &Workplace) -> Vec<u8> {
    let output = place.run(&[TRAIN, &["whole"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    weights(&place.path("runs/whole"))
}

#[test]
fn a_file_that_may_not_grow_ends_the_run_and_keeps_what_is_there() {
    let place = toy::workplace(|_| false);
    let expected = whole(&place);
    // In blocks of 512 bytes: the weights do not fit, the log does.
    let limit = "trap '' XFSZ; ulimit -f 64";
    let output = under(&place, limit, &[TRAIN, &["r"]].concat());
    assert_fails(&output, &["cannot write", "model.safetensors", "large"]);
    let run = place.path("runs/r");
    assert!(!run.join("best").exists() && checkpoints(&run).is_empty());
    assert!(resume(&place, "r").status.success());
    assert_eq!(weights(&run), expected);

    // With checkpoints there already: both stay, the newest is gone on with.
    let said = interrupt(&place, "later", 7);
    let before = checkpoints(&place.path("runs/later"));
    let args = ["train", "--name", "later", "--resume"];
    let output = under(&place, limit, &args);
    assert_fails(&output, &["cannot write", "model.safetensors"]);
    assert_eq!(checkpoints(&place.path("runs/later")), before, "{said}");
    assert!(resume(&place, "later").status.success());
    assert_eq!(weights(&place.path("runs/later")), expected);
}

#[test]
fn an_export_that_does_not_fit_is_one_error() {
    let place = toy::workplace(|_| false);
    whole(&place);
    let export = ["model", "export", "runs/whole/best", "--out", "whole.bin"];
    let output = under(&place, "trap '' XFSZ; ulimit -f 8", &export);
    assert_fails(&output, &["cannot write whole.bin"]);
    assert_eq!(stderr(&output).matches("large").count(), 1, "{output:?}");
    assert!(!place.path("whole.bin").exists());
}

#[test]
fn a_full_disk_ends_the_run_and_keeps_what_is_there() {
    let place = toy::workplace(|_| false);
    let expected = whole(&place);
    let size = ["-t", "tmpfs", "-o", "size=2m", "tmpfs"];
    let Some(disk) = Mounted::new(&place.path("runs"), &size) else {
        return;
    };
    interrupt(&place, "r", 7);
    let run = place.path("runs/r");
    let before = checkpoints(&run);
    // Somebody else takes the rest.
    let full = fs::write(place.path("runs/other"), vec![1; 4 << 20]);
    assert!(full.is_err(), "the disk is larger");
    assert_fails(&resume(&place, "r"), &["runs/r", "No space left on device"]);
    assert_eq!(checkpoints(&run), before);
    disk.remount("remount,size=20m");
    let output = resume(&place, "r");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(weights(&run), expected);
}

#[test]
fn what_cannot_be_written_is_named() {
    let place = toy::workplace(|_| false);
    let expected = whole(&place);
    interrupt(&place, "r", 7);
    let run = place.path("runs/r");
    if let Some(disk) = Mounted::new(&run, &["--bind", run.to_str().expect("text")]) {
        disk.remount("remount,ro,bind");
        assert_fails(&resume(&place, "r"), &["runs/r", "Read-only file system"]);
    }
    // Files in the places of directories: root may write everywhere else.
    fs::rename(run.join("checkpoint"), run.join("kept")).expect("a directory");
    support::write(&run.join("checkpoint"), "");
    assert_fails(
        &resume(&place, "r"),
        &["runs/r/checkpoint", "Not a directory"],
    );
    fs::remove_file(run.join("checkpoint")).expect("a file");
    fs::rename(run.join("kept"), run.join("checkpoint")).expect("a directory");
    let output = resume(&place, "r");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(weights(&run), expected);
}

#[test]
fn a_log_that_cannot_be_written_ends_the_run_at_the_next_checkpoint() {
    let place = toy::workplace(|_| false);
    let expected = whole(&place);
    interrupt(&place, "r", 7);
    let log = place.path("runs/r/metrics.jsonl");
    let before = checkpoints(&place.path("runs/r"));
    // The log alone may not grow: it is longer than the files of a checkpoint by then.
    let lines = fs::read_to_string(&log).expect("a log");
    let note = format!(
        "{{\"step\":1,\"split\":\"note\",\"text\":\"{}\"}}\n",
        "x".repeat(600_000)
    );
    fs::write(&log, note + &lines).expect("a log");
    let args = ["train", "--name", "r", "--resume"];
    let output = under(&place, "trap '' XFSZ; ulimit -f 1173", &args);
    assert_fails(&output, &["cannot write runs/r/metrics.jsonl"]);
    assert_eq!(checkpoints(&place.path("runs/r")), before);
    fs::write(&log, lines).expect("a log");
    let output = resume(&place, "r");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(weights(&place.path("runs/r")), expected);
}

/// Starts a run, sends Ctrl-C after `step` steps, and gives back what it said.
fn interrupt(place: &Workplace, name: &str, step: usize) -> String {
    use std::io::{BufRead, BufReader, Read};
    let mut child = place
        .program()
        .args([TRAIN, &[name]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut messages = BufReader::new(child.stderr.take().expect("a pipe"));
    let (mut said, wanted) = (String::new(), format!("step {step}/"));
    while !said.lines().any(|line| line.starts_with(&wanted)) {
        assert!(messages.read_line(&mut said).expect("text") > 0, "{said}");
    }
    let id = child.id().to_string();
    let status = Command::new("kill").args(["-INT", &id]).status();
    assert!(status.expect("kill").success());
    messages.read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{said}");
    let hint = format!("oscar-bin train --name {name} --resume");
    assert!(said.contains(&hint), "{said}");
    said
}

/// What arrived of weights is kept when the disk is full, and is not taken for all of them.
#[cfg(feature = "hub")]
#[test]
fn a_download_to_a_full_disk_resumes_when_there_is_room() {
    let place = Workplace::new();
    let Some(disk) = Mounted::new(
        &place.path("huggingface"),
        &["-t", "tmpfs", "-o", "size=1m", "tmpfs"],
    ) else {
        return;
    };
    let weights: Vec<u8> = (0..3_000_000_u32).map(|at| (at * 7 / 3) as u8).collect();
    let files = [
        Hosted::large("config.json", "{}"),
        Hosted::large("model.safetensors", weights.clone()),
    ];
    let server = Server::start(move |request| hub("someone/weights", &files, request));
    let pull = || {
        let mut program = place.program();
        program
            .env_remove("HF_HUB_OFFLINE")
            .env("HF_ENDPOINT", &server.address);
        program.args(["model", "pull", "hub:someone/weights", "--json"]);
        program.output().expect("the program starts")
    };
    assert_fails(&pull(), &[".incomplete", "No space left on device"]);
    let offline = place.run(&["model", "inspect", "hub:someone/weights"]);
    assert_fails(&offline, &["hub:someone/weights", "HF_HUB_OFFLINE"]);
    disk.remount("remount,size=20m");
    let pulled = support::json(&pull());
    let directory = pulled["weights"][0]["directory"]
        .as_str()
        .expect("a directory");
    let found = fs::read(Path::new(directory).join("model.safetensors"));
    assert_eq!(found.expect("weights"), weights);
    let contents = server.contents();
    assert!(
        contents
            .last()
            .is_some_and(|request| request.start > Some(0)),
        "{contents:?}"
    );
}
