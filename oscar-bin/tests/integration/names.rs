//! A run is found by its name and by its path, from wherever it is looked for; and its configuration
//! stays what it was started with.

use crate::support;

use std::fs;

use support::{Workplace, assert_fails, copy_directory, json, stderr, toy, write};

const MATCHING: &[&str] = &[
    "finetune",
    "--task",
    "matching",
    "--config",
    "matching.toml",
];

#[test]
fn a_run_is_found_by_name_and_by_path() {
    let place = toy::workplace(|_| false);
    let run = [MATCHING, &["--name", "runs/one", "--steps", "2"]].concat();
    let output = place.run(&run);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        place.path("runs/one/last").is_dir(),
        "a path in the runs is a name"
    );

    for given in [
        "one",
        "runs/one",
        "runs/one/",
        "./runs/one",
        "runs/one/best",
    ] {
        let args = ["report", given, "--examples", "0", "--out", "page.html"];
        fs::write(place.path("page.html"), "mine").expect("a page");
        assert_fails(&place.run(&args), &["page.html", "--overwrite"]);
        assert_eq!(fs::read(place.path("page.html")).expect("a page"), b"mine");
        let output = place.run(&[&args[..], &["--overwrite"]].concat());
        assert!(output.status.success(), "{given}: {}", stderr(&output));
        fs::remove_file(place.path("page.html")).expect("a page");
    }
    for given in ["one", "runs/one"] {
        let output = place.run(&["runs", given]);
        assert!(output.status.success(), "{given}: {}", stderr(&output));
    }
    for (number, given) in ["one", "runs/one", "one/last", "runs/one/last"]
        .iter()
        .enumerate()
    {
        let name = format!("from-{number}");
        let more = ["--name", &name, "--steps", "1", "--init", given];
        let output = place.run(&[MATCHING, &more].concat());
        assert!(output.status.success(), "{given}: {}", stderr(&output));
        assert!(
            stderr(&output).contains("parameters loaded"),
            "{}",
            stderr(&output)
        );
    }
    for given in ["one", "runs/one/last"] {
        for args in [
            ["model", "export", given, "--out", "weights.safetensors"],
            ["model", "import", given, "--out", "imported"],
        ] {
            let output = place.run(&args);
            assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        }
        fs::remove_file(place.path("weights.safetensors")).expect("weights");
        fs::remove_dir_all(place.path("imported")).expect("a directory");
    }
    assert_fails(&place.run(&["report", "nowhere"]), &["nowhere"]);
    assert_fails(
        &place.run(&[MATCHING, &["--name", "a/b"]].concat()),
        &["a/b", "--runs-dir"],
    );
}

#[test]
fn a_run_is_resumed_and_reported_on_from_another_directory() {
    let place = toy::workplace(|_| false);
    let output = place.run(&[
        "train",
        "--config",
        "train.toml",
        "--name",
        "far",
        "--steps",
        "4",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    // As a kill between the two checkpoints leaves it.
    let run = place.path("runs/far");
    fs::remove_dir_all(run.join("checkpoint/step-00000004")).expect("a checkpoint");
    let config = fs::read_to_string(run.join("config.toml")).expect("a configuration");
    let elsewhere = place.path("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    let from_there = |args: &[&str]| {
        let mut program = place.program();
        program.current_dir(&elsewhere).args(args);
        program.output().expect("the program starts")
    };
    let output = from_there(&[
        "train",
        "--name",
        "far",
        "--runs-dir",
        "../runs",
        "--resume",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let after = fs::read_to_string(run.join("config.toml")).expect("a configuration");
    assert_eq!(config, after, "its paths stay as they were written");
    let output = from_there(&["report", "../runs/far", "--examples", "2", "--mapped", "0"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = from_there(&["probe", "../runs/far"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_run_that_is_given_as_this_directory_gets_no_sample_of_its_own() {
    let place = Workplace::small();
    let output = place.train("r", &["--steps", "2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut program = place.program();
    program.current_dir(place.path("runs/r"));
    let output = program.args(["probe", "."]).output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!place.path("runs/r/.sample").exists());
}

#[test]
fn a_resume_that_changes_something_leaves_the_configuration_of_the_steps_before() {
    let place = toy::workplace(|_| false);
    let output = place.run(&[
        "train",
        "--config",
        "train.toml",
        "--name",
        "r",
        "--steps",
        "8",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let run = place.path("runs/r");
    let started = fs::read_to_string(run.join("config.toml")).expect("a configuration");
    let back_to = |step: &str| {
        for entry in fs::read_dir(run.join("checkpoint")).expect("checkpoints") {
            let path = entry.expect("an entry").path();
            if !path.ends_with(step) {
                fs::remove_dir_all(path).expect("a checkpoint");
            }
        }
    };
    back_to("step-00000006");
    let resume = ["train", "--name", "r", "--resume"];
    let decay = ["--set", "optimizer.weight_decay=0.25"];
    let output = place.run(&[&resume[..], &decay].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("optimizer.weight_decay"),
        "{}",
        stderr(&output)
    );
    let text = |name: &str| fs::read_to_string(run.join(name)).expect("a configuration");
    assert_eq!(text("config.toml"), started);
    assert!(text("config-after-step-00000006.toml").contains("weight_decay = 0.25"));
    // A second resume keeps what the first one changed, and changes nothing itself.
    let output = place.run(&resume);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        !stderr(&output).contains("optimizer.weight_decay"),
        "{}",
        stderr(&output)
    );
    assert_eq!(text("config.toml"), started);
    // More than one thing that must not change is refused at once, by name.
    let other = ["--set", "train.steps=9", "--seed", "7"];
    let refused = place.run(&[&resume[..], &other].concat());
    assert_fails(
        &refused,
        &["train.steps = 9", "train.seed = 7", "--init runs/r/last"],
    );
}

#[test]
fn recipes_that_start_from_weights_do_not_start_at_random_without_a_word() {
    let place = Workplace::new();
    write(&place.path("own.toml"), "extends = 'vqa-base'\n");
    for (command, recipe) in [
        ("finetune", "vqa-base"),
        ("finetune", "own.toml"),
        ("finetune", "captioning-mini-scst"),
        ("finetune", "nocaps-large-scst"),
        ("train", "oscar-base"),
        ("train", "oscarplus-large"),
    ] {
        let args = [command, "--config", recipe, "--name", "r"];
        assert_fails(&place.run(&args), &["init.checkpoint", "--init-random all"]);
        assert!(!place.path("runs/r").exists());
        if recipe == "captioning-mini-scst" {
            // It has data, and would train for long.
            continue;
        }
        // The next thing that is missing is the data.
        let allowed = place.run(&[&args[..], &["--init-random", "all"]].concat());
        let said = stderr(&allowed);
        assert!(!said.contains("--init-random"), "{recipe}: {said}");
    }
}

#[test]
fn changed_data_are_named_on_resume() {
    let place = toy::workplace(|_| false);
    let output = place.run(&[
        "train",
        "--config",
        "train.toml",
        "--name",
        "r",
        "--steps",
        "4",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let last = place.path("runs/r/checkpoint/step-00000004");
    let resume = || {
        fs::remove_dir_all(&last).expect("a checkpoint");
        let output = place.run(&["train", "--name", "r", "--resume"]);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let said = resume();
    assert!(!said.contains("another content"), "{said}");
    let text = fs::read_to_string(place.path("train.jsonl")).expect("a corpus");
    write(&place.path("train.jsonl"), &text.replacen("dog", "cat", 1));
    let said = resume();
    let told = said.lines().find(|line| line.contains("another content"));
    let told = told.expect("a warning");
    assert!(
        told.contains("of train.jsonl") && !told.contains("dev.jsonl"),
        "{told}"
    );
}

#[test]
fn runs_are_compared_on_one_page() {
    let place = toy::workplace(|_| false);
    for (name, seed) in [("one", "1"), ("two", "2")] {
        let output =
            place.run(&[MATCHING, &["--name", name, "--steps", "4", "--seed", seed]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let document = json(&place.run(&["report", "one", "runs/two", "--json"]));
    assert_eq!(document["report"], "runs/comparison.html");
    let page = fs::read_to_string(place.path("runs/comparison.html")).expect("a page");
    assert!(page.contains("train.seed") && !page.contains("train.batch_size"));
    // Two runs with a line of training and one of validations, with dots.
    let drawing = page
        .split("<figcaption>Loss</figcaption>")
        .nth(1)
        .expect("a drawing");
    let drawing = drawing.split("</figure>").next().expect("its end");
    assert_eq!(
        drawing.matches("<polyline").count() - axes(drawing),
        4,
        "{drawing}"
    );
    assert_fails(&place.run(&["report", "one", "nowhere"]), &["nowhere"]);
    assert_fails(
        &place.run(&["report", "one", "runs/one"]),
        &["one", "twice"],
    );
}

/// Lines of a drawing that are black or grey: its axes and ticks.
fn axes(drawing: &str) -> usize {
    let lines = drawing.split("<polyline").skip(1);
    let of_axes = |line: &&str| {
        line.split("/>")
            .next()
            .is_some_and(|line| line.contains("#000000"))
    };
    lines.filter(of_axes).count()
}

#[cfg(unix)]
#[test]
fn a_folder_whose_name_is_not_utf_8_is_used_and_shown() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let place = toy::workplace(|_| false);
    let odd = place.directory.path().join(OsStr::from_bytes(b"od\xffd"));
    copy_directory(&place.path("regions"), &odd.join("regions"));
    fs::copy(place.path("dev.jsonl"), odd.join("dev.jsonl")).expect("a file");
    // `@` stands for the folder.
    let run = |command: &str| {
        let words = command
            .split(' ')
            .map(|word| match word.strip_prefix("@/") {
                Some(inside) => odd.join(inside).into_os_string(),
                None => word.into(),
            });
        let output = place.program().args(words).output();
        output.expect("the program starts")
    };
    let train = "finetune --task matching --config matching.toml --steps 2 --runs-dir @/runs";
    let output = run(&format!("{train} --name a"));
    assert!(output.status.success(), "{}", stderr(&output));
    for command in [
        &format!("{train} --name b --json")[..],
        "runs --runs-dir @/runs --json",
        "report @/runs/a --examples 0 --json",
        "model inspect @/runs/a/best --json",
        "model export @/runs/a/best --out @/a.safetensors --json",
        "model import @/runs/a/best --out @/imported --json",
        "evaluate --checkpoint @/runs/a/best --data @/dev.jsonl --regions @/regions --out @/out --json",
        "data check @/dev.jsonl --regions @/regions --json",
        "data inspect @/regions image-0 --out @/drawn.png --json",
    ] {
        let output = run(command);
        json(&output);
        assert!(!stderr(&output).contains("panicked"), "{command}");
    }
    // A recipe has no form for such a path.
    let refused = run(&format!("{train} --name c --init @/runs/a/best"));
    assert_fails(&refused, &["--init", "not UTF-8"]);
}

#[test]
fn weights_of_an_unknown_task_are_named() {
    let place = toy::workplace(|_| false);
    let output = place.run(&[MATCHING, &["--name", "a", "--steps", "2"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let evaluate = |checkpoint: &str| {
        let data = ["--data", "dev.jsonl", "--regions", "regions"];
        place.run(&[&["evaluate", "--checkpoint", checkpoint][..], &data].concat())
    };
    let described = place.path("runs/a/best/task.json");
    let text = fs::read_to_string(&described).expect("a file");
    write(&described, &text.replace("matching", "matchino"));
    assert_fails(&evaluate("a"), &["a/best/task.json", "matchino"]);
    write(&described, &text.replace("\"matching\"", "\"pretraining\""));
    assert_fails(&evaluate("a"), &["a/best", "pre-training"]);
}
