//! What a run reads from images, measured after the fact.

use crate::support;

use serde_json::Value;
use support::{Workplace, stderr, stdout};

#[test]
fn a_run_and_its_checkpoints_are_measured() {
    let place = Workplace::small();
    let trained = place.train("p", &["--set", "train.keep_checkpoints=10", "--json"]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    let trained: Value = serde_json::from_slice(&trained.stdout).expect("one document");

    let probe = |more: &[&str]| -> Value {
        let output = place.run(&[&["probe", "runs/p", "--json"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("one document")
    };
    let last = probe(&[]);
    let last = &last["checkpoints"][0];
    assert_eq!(last["step"], 60);
    // The same words of the same captions as the run itself measured at its end.
    for key in ["own_image", "other_image"] {
        assert_eq!(last[key]["share"], trained["grounding"][key], "{key}");
    }
    assert_eq!(last["own_image"]["of"], trained["grounding"]["words"]);
    let number = |value: &Value| value.as_f64().expect("a number");
    for key in [
        "own_image",
        "other_image",
        "without_tags",
        "other_regions",
        "other_tags",
        "relation",
    ] {
        let share = &last[key];
        let (low, high) = (number(&share["interval"][0]), number(&share["interval"][1]));
        let value = number(&share["share"]);
        assert!(
            0.0 <= low && low <= value && value <= high && high <= 1.0,
            "{share}"
        );
    }

    let every = probe(&["--every"]);
    let every = every["checkpoints"].as_array().expect("a list");
    let steps: Vec<_> = every.iter().map(|probed| number(&probed["step"])).collect();
    assert_eq!(steps, [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    assert_eq!(&every[5], last);

    // Without tags, swapping them changes nothing.
    let without = probe(&[
        "--set",
        "data.validation.regions=sample:dev/regions?tags=none",
    ]);
    let without = &without["checkpoints"][0];
    assert_eq!(without["own_image"], without["other_tags"]);
    assert_eq!(without["other_image"], without["other_regions"]);

    let table = stdout(&place.run(&["probe", "runs/p"]));
    assert!(
        table.contains("own regions, tags of another image"),
        "{table}"
    );
}

#[test]
fn what_is_no_run_is_refused() {
    let place = Workplace::new();
    let output = place.run(&["probe", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("nowhere") && stderr(&output).contains("config.toml"),
        "{}",
        stderr(&output)
    );
    std::fs::create_dir(place.path("runs")).expect("a directory");
    std::fs::create_dir(place.path("runs/half")).expect("a directory");
    std::fs::write(place.path("runs/half/config.toml"), "[train]\nsteps = 5\n").expect("it writes");
    let output = place.run(&["probe", "runs/half"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("last/config.json"),
        "{}",
        stderr(&output)
    );
}
