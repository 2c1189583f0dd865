//! Names from files are shown, and never obeyed: by no command, on neither stream, whatever their
//! length.

use crate::support;

use std::fs;
use std::process::Output;

use oscar_datasets::{Boxes, ImageRegions, StoreDtype, StoreOptions, StoreWriter, Tag};
use serde_json::json;
use support::{Workplace, row, stderr, stdout, toy, write};

/// Sets a title, rings, clears the screen, returns to the start of the line, and turns all that
/// follows around; then a C1 control.
const EVIL: &str = "\u{1b}]0;title\u{7}\u{1b}[2J\rforged\u{202e}\u{9b}31m\u{7f}";

/// Asserts that nothing in the output is obeyed by a terminal.
fn assert_plain(args: &[&str], output: &Output) {
    for (stream, text) in [("output", stdout(output)), ("error", stderr(output))] {
        let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t') || c == '\u{202e}';
        assert!(
            !text.contains(obeyed),
            "{args:?} on standard {stream}: {text:?}"
        );
        assert!(!text.contains("panicked"), "{args:?}: {text}");
    }
}

/// A place whose files have that name in them wherever a file has names.
fn place() -> Workplace {
    let place = toy::workplace(|_| false);
    let options = StoreOptions {
        dtype: StoreDtype::F32,
        ..StoreOptions::new(toy::DIM)
    };
    let mut writer = StoreWriter::create(&place.path("evil"), options).expect("a store");
    let tags = [Tag {
        class: EVIL.into(),
        score: 1.0,
        box_px: None,
        attributes: vec![EVIL.into()],
    }];
    let image = ImageRegions {
        key: "image-0",
        width: 100,
        height: 100,
        features: &[0.1; toy::DIM],
        boxes: Boxes::Pixels(&[[0.0, 0.0, 50.0, 50.0]]),
        tags: &tags,
    };
    writer.push(image).expect("an image");
    writer.finish().expect("a store");
    write(
        &place.path("evil.jsonl"),
        &format!("{}\n", json!({"image": EVIL, "text": "a dog"})),
    );
    write(
        &place.path("pairs.jsonl"),
        &format!("{}\n", json!({"image": EVIL, "text": "a", "label": true})),
    );
    write(
        &place.path("captions.json"),
        &json!([{"image_id": EVIL, "caption": "a"}]).to_string(),
    );
    write(
        &place.path("references.json"),
        &json!({"images": [], "annotations": [{"image_id": "1", "caption": "a"}]}).to_string(),
    );
    write(&place.path("evil.toml"), "[train]\n\"\\u001b[31m\" = 1\n");
    write(
        &place.path("evil.yaml"),
        "feature: \"\\e]0;title\\a\\e[31m\"\n",
    );
    let header = json!({EVIL: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).to_string();
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend(header.bytes().chain([0; 8]));
    fs::write(place.path("evil.safetensors"), weights).expect("a file");
    let pickle = [b"\x80\x02cos", EVIL.as_bytes(), b"\nsystem\n)R."].concat();
    fs::write(place.path("evil.p"), pickle).expect("a file");
    fs::create_dir_all(place.path("runs/evil")).expect("a directory");
    let config = format!(
        "# Recipe: {EVIL}\n[train]\nsteps = 9\n[grounding]\nwords = [{}]\n",
        json!(EVIL)
    );
    write(
        &place.path("runs/evil/config.toml"),
        &config.replace('\r', "").replace(
            "# Recipe: \u{1b}]0;title\u{7}\u{1b}[2J",
            "# Recipe: \u{1b}[2J",
        ),
    );
    write(
        &place.path("runs/evil/metrics.jsonl"),
        &format!(
            "{}\n",
            json!({"step": 1, "split": "train", "Loss": 1.0, EVIL: 2.0})
        ),
    );
    fs::create_dir_all(place.path(&format!("runs/{}", EVIL.replace('/', ""))))
        .expect("a directory");
    place
}

/// Commands that meet the name, word by word; `EVIL` stands for it and `ESC` for an escape character.
const COMMANDS: &str = "\
data check evil.jsonl --regions regions
data check evil.jsonl --regions regions --json
data check evil
data inspect evil image-0
data inspect evil image-0 --json
data inspect evil EVIL
data build regions evil.yaml --out out
data build answers --data evil.jsonl --out out.json
train --config train.toml --name a --steps 1 --set data.train.corpus=evil.jsonl
train --config evil.toml
train --set train.EVIL=3
train --set data.vocab=ESC[31m.txt --log-format json
train --config ESC[31m.toml
train --ESC[31m
ESC[31m
finetune --config matching.toml --name b --set data.train.pairs=pairs.jsonl
model inspect evil.safetensors
model inspect evil.safetensors --json
model inspect evil.safetensors --for oscar-base
model import evil.safetensors --out imported
model export evil.safetensors --out exported.bin
train --config train.toml --name c --init evil.safetensors
score captions --candidates captions.json --references references.json
score captions --candidates references.json --references references.json --cider-df evil.p
runs
runs --json
runs evil EVIL
report runs/evil
report runs/evil --json
probe runs/evil
recipes EVIL
manual EVIL";

#[test]
fn nothing_that_a_file_names_is_obeyed_by_the_terminal() {
    let place = place();
    for command in COMMANDS.lines() {
        let words = command.split(' ');
        let words: Vec<String> = words
            .map(|word| word.replace("EVIL", EVIL).replace("ESC", "\u{1b}"))
            .collect();
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_plain(&args, &place.run(&args));
    }
}

#[test]
fn answers_of_a_model_and_hints_are_plain_too() {
    let place = place();
    let strange = "it's a\u{1b}[31m b";
    let train = [
        "finetune",
        "--task",
        "matching",
        "--config",
        "matching.toml",
        "--steps",
        "2",
        "--name",
        strange,
    ];
    let output = place.run(&train);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_plain(&train, &output);
    // A shell reads the hint as the command that it is.
    let said = stdout(&output);
    let (_, hint) = said.rsplit_once("oscar-bin report ").expect("a hint");
    let shell = std::process::Command::new("bash")
        .arg("-c")
        .arg(format!("printf %s {}", hint.trim()))
        .output()
        .expect("bash");
    assert_eq!(stdout(&shell), format!("runs/{strange}"));
    let checkpoint = format!("runs/{strange}/best");
    let ask = [
        "--regions",
        "evil",
        "--image",
        "image-0",
        "--text",
        "there is a dog",
    ];
    let predict = [
        &["predict", "--task", "matching", "--checkpoint", &checkpoint][..],
        &ask,
    ]
    .concat();
    assert_plain(&predict, &place.run(&predict));
    let evaluate = [
        "evaluate",
        "--task",
        "matching",
        "--checkpoint",
        &checkpoint,
        "--data",
        "pairs.jsonl",
        "--regions",
        "evil",
    ];
    assert_plain(&evaluate, &place.run(&evaluate));
}

#[test]
fn names_of_any_length_are_cut_and_not_a_panic() {
    let place = toy::workplace(|_| false);
    let long = "a".repeat(70_000);
    let header = json!({&long: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).to_string();
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend(header.bytes().chain([0; 8]));
    fs::write(place.path("long.safetensors"), weights).expect("a file");
    write(&place.path("long.jsonl"), &row(&long, &long));
    for name in ["one", "two"] {
        let run = place.path("runs").join(name);
        fs::create_dir_all(&run).expect("a directory");
        write(
            &run.join("config.toml"),
            &format!("[grounding]\nwords = [\"{name}{long}\"]\n"),
        );
        let line = json!({"step": 1, "split": "train", "Loss": f64::MAX, &long: f64::MIN_POSITIVE});
        write(&run.join("metrics.jsonl"), &format!("{line}\n"));
    }
    for args in [
        &["model", "inspect", "long.safetensors"][..],
        &["runs", "one", "two"],
        &["report", "one"],
    ] {
        let output = place.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        let longest = stdout(&output).lines().map(str::len).max().unwrap_or(0);
        assert!(longest < 2000, "{args:?}: {longest}");
    }
    let long_key = format!("train.{long}=3");
    for args in [
        &["data", "check", "long.jsonl", "--regions", "regions"][..],
        &["train", "--set", &long_key],
        &["recipes", &long],
        &["train", "--config", &long],
    ] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(!stderr(&output).contains("panicked"), "{args:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_run_whose_files_never_end_does_not_stop_the_others() {
    use std::os::unix::fs::symlink;

    let place = Workplace::new();
    let make = |name: &str| {
        let run = place.path("runs").join(name);
        fs::create_dir_all(&run).expect("a directory");
        write(&run.join("config.toml"), "[train]\nsteps = 9\n");
        run
    };
    make("sound");
    for file in ["metrics.jsonl", "config.toml", ".lock"] {
        let run = make(&format!("pipe-of-{}", file.trim_start_matches('.')));
        let _ = fs::remove_file(run.join(file));
        let made = std::process::Command::new("mkfifo")
            .arg(run.join(file))
            .status();
        assert!(made.expect("mkfifo").success());
        let run = make(&format!("zeros-of-{}", file.trim_start_matches('.')));
        let _ = fs::remove_file(run.join(file));
        symlink("/dev/zero", run.join(file)).expect("a link");
    }
    let run = make("long-line");
    let line = " ".repeat(2 << 20);
    write(&run.join("metrics.jsonl"), &line);
    let output = place.run(&["runs"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let list = stdout(&output);
    assert!(list.contains("sound"), "{list}");
    for broken in [
        "pipe-of-metrics.jsonl: ",
        "zeros-of-config.toml: ",
        "long-line: ",
    ] {
        assert!(list.contains(broken), "{broken} is not in {list}");
    }
}

/// Whatever is printed goes through the one function that escapes it.
#[test]
fn no_command_writes_to_the_terminal_by_another_way() {
    // What writes, what is generated from the command line alone, and the test of the documents.
    let exempt = [
        "output/plain.rs",
        "logging.rs",
        "commands/completions.rs",
        "commands/manual.rs",
    ];
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source.clone()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path
                .strip_prefix(&source)
                .expect("it is in it")
                .to_string_lossy()
                .into_owned();
            if exempt.contains(&&*name) || !name.ends_with(".rs") {
                continue;
            }
            seen += 1;
            for line in fs::read_to_string(&path).expect("a source").lines() {
                let writes = line.contains("io::stdout()") || line.contains("io::stderr()");
                assert!(!writes || line.contains(".is_terminal()"), "{name}: {line}");
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_name_with_a_line_end_forges_no_message() {
    let place = toy::workplace(|_| false);
    let forging = "a\nerror: forged";
    write(&place.path("rows.jsonl"), &row(forging, "a dog"));
    for args in [
        &["data", "check", "rows.jsonl", "--regions", "regions"][..],
        &["data", "inspect", "regions", forging],
        &["model", "inspect", forging],
        &["train", "--config", forging],
        &["caption", forging],
    ] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = stdout(&output) + &stderr(&output);
        assert!(said.contains("forged"), "{args:?}: {said}");
        let forged = said.lines().any(|line| line.starts_with("error: forged"));
        assert!(!forged, "{args:?}: {said}");
    }
}
