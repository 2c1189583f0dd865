//! A program that only asks links neither the training loop nor its dashboard.

use std::process::Command;

/// Names of the crates that `package` links without its default features.
fn linked(package: &str, features: &[&str]) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}", "--package", package])
        .args(features)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.map(String::from).collect()
}

#[test]
fn asking_does_not_link_the_training_loop() {
    let training = ["burn-train", "oscar-train"];
    for task in [
        "vqa",
        "gqa",
        "nlvr2",
        "matching",
        "retrieval",
        "search",
        "refer",
        "captioning",
        "clipcap",
    ] {
        let package = format!("oscar-{task}");
        let asking = linked(&package, &["--no-default-features"]);
        assert!(
            asking.contains(&"oscar-task".into()),
            "{package}: {asking:?}"
        );
        for name in training {
            assert!(!asking.contains(&name.into()), "{package} links {name}");
        }
        // The same question of the whole crate, so that the answer above means something.
        let training_too = linked(&package, &[]);
        assert!(training_too.contains(&"oscar-train".into()), "{package}");
    }
}
