//! Help and messages of wrong usage, word for word. After a change read the new text, then accept it:
//! `INSTA_UPDATE=always cargo test --release --workspace --test integration help::`.

// Other backends add their names.
#![cfg(not(any(feature = "cuda", feature = "tch", feature = "wgpu")))]

use crate::support;

use std::process::Output;

use rstest::rstest;
use support::{Workplace, stderr, stdout};

/// The output of the program, as wide as where the width is not known.
fn said(args: &[&str]) -> Output {
    let place = Workplace::new();
    let output = place.program().args(args).env("COLUMNS", "100").output();
    output.expect("the program starts")
}

/// Sections of options that several commands have: each has one snapshot, which all must match.
const SHARED: [&str; 2] = ["Device options", "Global options"];

/// The help without the shared sections, which are compared with their snapshots.
fn own_sections(help: &str) -> String {
    let mut own = String::new();
    let mut shared: Option<(&str, String)> = None;
    for line in help.lines() {
        let heading = line.strip_suffix(':').filter(|_| !line.starts_with(' '));
        if let Some(heading) = heading {
            compare(shared.take());
            let known = SHARED.into_iter().find(|name| *name == heading);
            shared = known.map(|name| (name, String::new()));
        }
        let text = match &mut shared {
            Some((_, text)) => text,
            None => &mut own,
        };
        text.push_str(line);
        text.push('\n');
    }
    compare(shared);
    own
}

fn compare(section: Option<(&str, String)>) {
    if let Some((name, text)) = section {
        insta::assert_snapshot!(name.to_lowercase().replace(' ', "_"), text.trim_end());
    }
}

#[rstest]
#[case::main("")]
#[case::train("train")]
#[case::probe("probe")]
#[case::finetune("finetune")]
#[case::evaluate("evaluate")]
#[case::predict("predict")]
#[case::caption("caption")]
#[case::ask("ask")]
#[case::matching("match")]
#[case::find("find")]
#[case::search("search")]
#[case::score("score captions")]
#[case::build_regions("data build regions")]
#[case::build_nlvr1("data build nlvr1")]
#[case::build_index("data build index")]
#[case::build_answers("data build answers")]
#[case::dev_tasks("dev tasks")]
#[case::check("data check")]
#[case::inspect("data inspect")]
#[case::import("model import")]
#[case::export("model export")]
#[case::look("model inspect")]
#[case::devices("devices")]
#[case::bench("bench")]
#[case::recipes("recipes")]
#[case::report("report")]
#[case::runs("runs")]
#[case::completions("completions")]
#[case::manual("manual")]
fn help_reads_well(#[case] command: &str) {
    let mut args: Vec<&str> = command.split_whitespace().collect();
    args.push("--help");
    let output = said(&args);
    assert!(output.status.success(), "{}", stderr(&output));
    let help = stdout(&output);
    let wide = help.lines().find(|line| line.chars().count() > 100);
    assert_eq!(wide, None, "no line is wider than 100 columns");
    let name = match command {
        "" => "help".into(),
        command => format!("help {command}").replace(' ', "_"),
    };
    insta::assert_snapshot!(name, own_sections(&help));
}

/// Wrong usage and the answer: exit code, then the message.
#[rstest]
#[case::nothing("nothing", &[])]
#[case::command("unknown_command", &["trian"])]
#[case::flag("unknown_flag", &["train", "--step", "3"])]
#[case::key("unknown_key", &["train", "--set", "trian.steps=3"])]
#[case::value("wrong_value", &["train", "--set", "train.steps=many"])]
#[case::task("unknown_task", &["finetune", "--task", "vqq"])]
#[case::recipe("unknown_recipe", &["train", "--config", "oscar-bse"])]
#[case::run("no_run", &["report", "runs/none"])]
#[case::resume("nothing_to_resume", &["train", "--resume"])]
#[case::file("no_file", &["model", "inspect", "none.safetensors"])]
fn wrong_usage_is_explained(#[case] name: &str, #[case] args: &[&str]) {
    let output = said(args);
    assert_eq!(stdout(&output), "", "results alone go to standard output");
    let code = output.status.code().expect("it ends by itself");
    insta::assert_snapshot!(name, format!("exit {code}\n{}", stderr(&output)));
}

#[test]
fn without_colours_where_nobody_sees_them_or_wants_them() {
    let place = Workplace::new();
    let mut plain = place.program();
    plain
        .args(["train", "--set", "train.steps=0"])
        .env("NO_COLOR", "1");
    let output = plain.output().expect("the program starts");
    assert!(!output.status.success());
    assert!(!stderr(&output).contains('\u{1b}'), "{}", stderr(&output));
}
