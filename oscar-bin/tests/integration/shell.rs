//! Completions and manual pages know every command.

use crate::support;

use std::collections::BTreeSet;
use std::fs;

use rstest::rstest;
use support::{Workplace, stderr, stdout, write};

/// The commands that the help of `command` lists.
fn commands(place: &Workplace, command: &[&str]) -> Vec<String> {
    let help = stdout(&place.run(&[command, &["--help"]].concat()));
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<String> = lines
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(String::from)
        .collect();
    assert!(!names.is_empty(), "{help}");
    names
}

#[rstest]
#[case::bash("bash")]
#[case::zsh("zsh")]
#[case::fish("fish")]
fn completions_name_every_command(#[case] shell: &str) {
    let place = Workplace::new();
    let output = place.run(&["completions", shell]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let words: BTreeSet<&str> = text
        .split(|part: char| !part.is_alphanumeric() && part != '-' && part != '_')
        .collect();
    for name in [commands(&place, &[]), commands(&place, &["data"])].concat() {
        assert!(words.contains(name.as_str()), "{name} is missing");
    }
    assert!(text.contains("runs-dir"));
}

#[test]
fn an_unknown_shell_is_wrong_usage() {
    let output = Workplace::new().run(&["completions", "command.com"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn every_command_has_its_page() {
    let place = Workplace::new();
    let main = stdout(&place.run(&["manual"]));
    assert!(main.contains(".TH oscar-bin 1"), "{main}");

    let output = place.run(&["manual", "share/man1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut expected = BTreeSet::from(["oscar-bin.1".to_string()]);
    for first in commands(&place, &[]) {
        expected.insert(format!("oscar-bin-{first}.1"));
        if ["data", "model", "score"].contains(&first.as_str()) {
            for second in commands(&place, &[&first]) {
                expected.insert(format!("oscar-bin-{first}-{second}.1"));
                if second == "build" {
                    for third in commands(&place, &[&first, &second]) {
                        expected.insert(format!("oscar-bin-{first}-{second}-{third}.1"));
                    }
                }
            }
        }
    }
    let directory = fs::read_dir(place.path("share/man1")).expect("a directory");
    let written: BTreeSet<String> = directory
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    assert_eq!(written, expected);
    let page = fs::read_to_string(place.path("share/man1/oscar-bin-runs.1")).expect("a page");
    assert!(
        page.contains("oscar\\-bin runs longer") || page.contains("quickstart longer"),
        "{page}"
    );

    write(&place.path("file"), "no directory");
    let refused = place.run(&["manual", "file"]);
    support::assert_fails(&refused, &["cannot create file"]);
}
