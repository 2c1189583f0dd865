//! `data build regions` as a user runs it: imports that are killed go on and end the same, and
//! what cannot be imported is named.

use crate::support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use support::{Workplace, assert_fails, stderr, stdout, write};

/// Values per region of these features.
const DIM: usize = 64;

/// Base64, as Python writes it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 4);
    for three in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..three.len()].copy_from_slice(three);
        let [a, b, c] = group.map(u32::from);
        let bits = a << 16 | b << 8 | c;
        for digit in 0..4 {
            match digit <= three.len() {
                true => text.push(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] as char),
                false => text.push('='),
            }
        }
    }
    text
}

/// Writes `features.tsv` and `predictions.tsv` with `images` images of `regions` regions.
fn write_official(dir: &Path, images: usize, regions: usize) {
    fs::create_dir_all(dir).expect("a folder");
    let (mut features, mut labels) = (String::new(), String::new());
    for image in 0..images {
        let mut bytes = Vec::new();
        for region in 0..regions {
            let value = |v: usize| ((image * 31 + region * 7 + v * 3) % 1009) as f32 / 16.0;
            let values = (0..DIM).map(value).chain([0.0, 0.0, 0.5, 0.25, 0.5, 0.25]);
            bytes.extend(values.flat_map(f32::to_le_bytes));
        }
        writeln!(features, "img{image}\t{regions}\t{}", base64(&bytes)).expect("a row");
        writeln!(
            labels,
            "img{image}\t[{{\"class\": \"thing {}\"}}]",
            image % 9
        )
        .expect("a row");
    }
    write(&dir.join("features.tsv"), &features);
    write(&dir.join("predictions.tsv"), &labels);
}

fn args<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = [
        "data",
        "build",
        "regions",
        "vg",
        "--out",
        out,
        "--feature-dim",
        "64",
    ];
    [&args[..], more].concat()
}

fn import(place: &Workplace, out: &str, more: &[&str]) -> Output {
    place.run(&args(out, more))
}

/// The files of a directory, by name.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(&path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

/// Starts an import and waits until it has put more than `shards` shards on record; `None` if it
/// ends before.
fn started(place: &Workplace, out: &str, more: &[&str], shards: usize) -> Option<Child> {
    start(place, out, &args(out, more), shards)
}

fn start(place: &Workplace, out: &str, args: &[&str], shards: usize) -> Option<Child> {
    let mut child = place
        .program()
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let record = place.path(&format!("{out}.partial/shard-{shards:05}.json"));
    let deadline = Instant::now() + Duration::from_secs(120);
    while !record.exists() {
        if child.try_wait().expect("a child").is_some() {
            return None;
        }
        assert!(Instant::now() < deadline, "no shard is ever complete");
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(child)
}

#[test]
fn killed_imports_go_on_and_end_the_same() {
    let place = Workplace::new();
    // Each shard takes a MiB: some sixty of them.
    write_official(&place.path("vg"), 2500, 100);
    let small = ["--shard-size", "1", "--dtype", "f32", "--threads", "1"];
    let whole = import(&place, "whole", &small);
    assert!(whole.status.success(), "{}", stderr(&whole));

    let shards = |out: &str| {
        let dir = place.path(&format!("{out}.partial"));
        (0..)
            .take_while(|n| dir.join(format!("shard-{n:05}.json")).exists())
            .count()
    };
    let mut kills = 0;
    for _ in 0..6 {
        let before = shards("killed");
        let Some(mut child) = started(&place, "killed", &small, before + kills) else {
            break;
        };
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        kills += 1;
        assert!(
            !place.path("killed").exists(),
            "a part is taken for the whole"
        );
        assert!(
            !place
                .path("killed.partial/store/index.safetensors")
                .exists()
        );
        assert!(shards("killed") > before, "nothing was won");
    }
    assert!(kills > 0, "the import was never killed");
    let rest = import(
        &place,
        "killed",
        &[&small[..], &["--json", "--verify"]].concat(),
    );
    assert!(rest.status.success(), "{}", stderr(&rest));
    let summary: serde_json::Value = serde_json::from_str(&stdout(&rest)).expect("JSON");
    assert_eq!(summary["images"], 2500);
    assert!(summary["resumed_from"].as_u64() > Some(0), "{summary}");
    assert_eq!(summary["verified"]["values"], 2500 * 100 * (DIM as u64 + 6));
    assert!(
        files(&place.path("whole")) == files(&place.path("killed")),
        "other bytes"
    );
    assert!(!place.path("killed.partial").exists());

    // It is there now.
    assert_fails(&import(&place, "killed", &small), &["killed"]);
}

#[test]
fn killed_extractions_resume_and_end_the_same() {
    let place = Workplace::new();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/sample");
    let pictures = sample.join("train_images.zip");
    let pictures = pictures.to_str().expect("a path");
    let args = |out: &'static str| {
        [
            "data",
            "build",
            "regions",
            pictures,
            "--detector",
            "drawings",
            "--out",
            out,
            "--dtype",
            "f32",
            "--shard-size",
            "1",
            "--threads",
            "1",
        ]
    };
    let whole = place.run(&args("whole"));
    assert!(whole.status.success(), "{}", stderr(&whole));
    let mut kills = 0;
    for _ in 0..4 {
        let dir = place.path("killed.partial");
        let shard = |n: &usize| dir.join(format!("shard-{n:05}.json")).exists();
        let before = (0..).take_while(shard).count();
        let Some(mut child) = start(&place, "killed", &args("killed"), before) else {
            break;
        };
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        kills += 1;
        assert!((0..).take_while(shard).count() > before, "no progress");
    }
    assert!(kills > 0, "the extraction was never killed");
    if !place.path("killed").exists() {
        let rest = place.run(&[&args("killed")[..], &["--json"]].concat());
        assert!(rest.status.success(), "{}", stderr(&rest));
        let summary: serde_json::Value = serde_json::from_str(&stdout(&rest)).expect("JSON");
        assert_eq!(
            (&summary["images"], &summary["format"]),
            (&3601.into(), &"drawings".into())
        );
        assert!(summary["resumed_from"].as_u64() > Some(0), "{summary}");
    }
    assert!(
        files(&place.path("whole")) == files(&place.path("killed")),
        "other bytes"
    );
    let features = place.run(&[&args("mixed")[..], &["--labels", "x.tsv"]].concat());
    assert_eq!(features.status.code(), Some(2), "{}", stderr(&features));
}

#[test]
fn only_the_same_import_goes_on() {
    let place = Workplace::new();
    write_official(&place.path("vg"), 1500, 100);
    let small = ["--shard-size", "1", "--threads", "1"];
    let mut child = started(&place, "out", &small, 1).expect("a running import");
    // Two at once.
    #[cfg(unix)]
    {
        let signal = |name: &str| {
            let status = std::process::Command::new("kill")
                .args([name, &child.id().to_string()])
                .status();
            assert!(status.expect("kill").success());
        };
        signal("-STOP");
        assert_fails(&import(&place, "out", &small), &["out"]);
        signal("-CONT");
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");

    let other = ["--shard-size", "1", "--threads", "1", "--dtype", "f32"];
    assert_fails(
        &import(&place, "out", &other),
        &["out.partial", "F16", "F32"],
    );
    let features = place.path("vg/features.tsv");
    let rows = fs::read_to_string(&features).expect("rows");
    write(&features, &rows.replacen("img0", "img00", 1));
    assert_fails(
        &import(&place, "out", &small),
        &[
            "bytes of the source was",
            "last change of the source was",
            "`restart`",
        ],
    );
    let restarted = import(
        &place,
        "out",
        &[&other[..], &["--restart", "--json"]].concat(),
    );
    assert!(restarted.status.success(), "{}", stderr(&restarted));
    let summary: serde_json::Value = serde_json::from_str(&stdout(&restarted)).expect("JSON");
    assert_eq!(
        (&summary["resumed_from"], &summary["dtype"]),
        (&0.into(), &"F32".into())
    );

    // A directory that only looks like one of ours is not touched.
    fs::create_dir(place.path("mine.partial")).expect("a directory");
    write(&place.path("mine.partial/thesis.txt"), "years of work");
    assert_fails(
        &import(&place, "mine", &[&small[..], &["--restart"]].concat()),
        &["mine.partial"],
    );
    assert!(place.path("mine.partial/thesis.txt").exists());
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_named_and_the_import_goes_on_later() {
    let place = Workplace::new();
    write_official(&place.path("vg"), 500, 100);
    let small = args("out", &["--shard-size", "2", "--threads", "1"]);
    // No file may grow beyond 3 MB: the tags and the first shards fit, the index does not matter.
    let program = place.program();
    let limited = |kib: u32| {
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(place.directory.path());
        shell
            .arg("-c")
            .arg(format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\""))
            .arg("sh");
        shell.arg(program.get_program()).args(&small);
        shell.output().expect("a shell")
    };
    // In blocks of 512 bytes.
    let output = limited(1000);
    assert_fails(
        &output,
        &["cannot write", "out.partial/store/features-00000.part"],
    );
    assert!(!place.path("out").exists() && !place.path("out.partial").exists());
    let output = import(&place, "out", &["--shard-size", "2", "--threads", "1"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn what_cannot_be_written_is_named() {
    let place = Workplace::new();
    write_official(&place.path("vg"), 3, 2);
    write(&place.path("file"), "");
    assert_fails(&import(&place, "file/out", &[]), &["vg", "file/out"]);
    assert_fails(&import(&place, "..", &[]), &[".."]);
    assert_fails(
        &place.run(&["data", "build", "regions", "nowhere", "--out", "out"]),
        &["nowhere", "out"],
    );
    assert!(!place.path("out").exists() && !place.path("out.partial").exists());
}

#[test]
fn a_bad_row_stops_or_is_skipped() {
    let place = Workplace::new();
    write_official(&place.path("vg"), 12, 3);
    let features = place.path("vg/features.tsv");
    let rows = fs::read_to_string(&features).expect("rows");
    let bad: Vec<String> = rows
        .lines()
        .map(|row| match row.starts_with("img7\t") {
            true => row[..row.len() - 2].to_string(),
            false => row.to_string(),
        })
        .collect();
    write(&features, &(bad.join("\n") + "\n"));
    let wanted = "vg/features.tsv:8: image `img7`: ";
    assert_fails(&import(&place, "out", &[]), &["vg", "out", wanted]);
    assert!(
        !place.path("out.partial").exists(),
        "there is nothing to resume"
    );

    let output = import(&place, "out", &["--on-bad", "skip"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
    let text = stdout(&output);
    for wanted in [
        "11 images with 33 regions of 64 + 6 values (F16)",
        "1 images skipped",
        wanted,
    ] {
        assert!(text.contains(wanted), "{text}");
    }
    assert!(
        text.contains("note: tags from vg/predictions.tsv"),
        "{text}"
    );
}

#[test]
fn training_reads_the_files_as_it_reads_the_store() {
    let place = Workplace::new();
    write_official(&place.path("vg"), 16, 3);
    // The same values without an import need the published dimension: 2048 and the box.
    let mut features = String::new();
    for image in 0..16 {
        let mut bytes = Vec::new();
        for region in 0..3 {
            let value = |v: usize| ((image * 31 + region * 7 + v * 3) % 1009) as f32 / 512.0;
            let values = (0..2048).map(value).chain([0.0, 0.0, 0.5, 0.25, 0.5, 0.25]);
            bytes.extend(values.flat_map(f32::to_le_bytes));
        }
        writeln!(features, "img{image}\t3\t{}", base64(&bytes)).expect("a row");
    }
    write(&place.path("vg/features.tsv"), &features);
    let rows = (0..16).map(|image| support::row(&format!("img{image}"), "a thing or two"));
    write(&place.path("c.jsonl"), &rows.collect::<String>());
    let imported = place.run(&[
        "data", "build", "regions", "vg", "--out", "store", "--dtype", "f32", "--verify",
    ]);
    assert!(imported.status.success(), "{}", stderr(&imported));

    let losses = |regions: &str| -> Vec<String> {
        let data = format!("{{corpus='c.jsonl',regions='{regions}'}}");
        let output = place.run(&[
            "train",
            "--config",
            "shapes",
            "--name",
            regions,
            "--quiet",
            "--set",
            &format!("data.train={data}"),
            "--set",
            &format!("data.validation={data}"),
            "--set",
            "train.steps=3",
            "--set",
            "train.batch_size=8",
            "--set",
            "train.log_every=1",
            "--set",
            "optimizer.warmup_steps=1",
            "--set",
            "model.num_hidden_layers=1",
            "--set",
            "grounding.words=[]",
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
        let log = fs::read_to_string(place.path("runs").join(regions).join("metrics.jsonl"));
        let row = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
            row["Loss"].to_string()
        };
        log.expect("a log").lines().map(row).collect()
    };
    let (files, store) = (losses("vg"), losses("store"));
    assert!(files.len() >= 3 && files[0] != "null", "{files:?}");
    assert_eq!(files, store);
}
