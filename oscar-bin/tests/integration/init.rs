//! Where the weights of a run start.

use crate::support;

use std::collections::HashMap;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use support::{Workplace, assert_fails, stderr, write};

const FEW_STEPS: &[&str] = &[
    "--set",
    "train.steps=2",
    "--set",
    "optimizer.warmup_steps=1",
];

fn with_few_steps<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [FEW_STEPS, more].concat()
}

/// Copies the weights of a run without the tensors whose names start with `without`.
fn copy_without(place: &Workplace, run: &str, without: &str, to: &str) {
    let bytes = std::fs::read(place.path("runs").join(run).join("last/model.safetensors"));
    let bytes = bytes.expect("weights");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let kept: HashMap<String, TensorView<'_>> = file
        .tensors()
        .into_iter()
        .filter(|(name, _)| !name.starts_with(without))
        .collect();
    assert!(kept.len() < file.len(), "{without} is not in the file");
    assert!(kept.values().all(|tensor| tensor.dtype() == Dtype::F32));
    let bytes = safetensors::serialize(&kept, None).expect("safetensors");
    std::fs::write(place.path(to), bytes).expect("a file");
}

#[test]
fn a_run_starts_from_the_weights_of_another() {
    let place = Workplace::small();
    let first = place.train("first", FEW_STEPS);
    assert!(first.status.success(), "{}", stderr(&first));

    // All of them: nothing is skipped, nothing random.
    let second = place.train("second", &with_few_steps(&["--init", "runs/first/last"]));
    assert!(second.status.success(), "{}", stderr(&second));
    let said = stderr(&second);
    assert!(
        said.contains("parameters loaded, 0 tensors skipped"),
        "{said}"
    );
    assert!(!said.contains("random"), "{said}");

    // Of another size: refused, with the tensor and both shapes.
    let wide = ["--init", "runs/first/last", "--set", "model.hidden_size=64"];
    let other = place.train("other", &with_few_steps(&wide));
    assert_fails(
        &other,
        &["runs/first/last/model.safetensors", "128", "64", "bert."],
    );

    // In part: refused unless the part is named.
    copy_without(&place, "first", "cls.seq_relationship", "part.safetensors");
    let part = ["--init", "part.safetensors"];
    let refused = place.train("part", &with_few_steps(&part));
    assert_fails(&refused, &["part.safetensors", "cls.seq_relationship"]);
    let allowed = [&part[..], &["--init-random", "cls.seq_relationship"]].concat();
    let allowed = place.train("part", &with_few_steps(&allowed));
    assert!(allowed.status.success(), "{}", stderr(&allowed));
    assert!(
        stderr(&allowed).contains("randomly initialised, as allowed"),
        "{}",
        stderr(&allowed)
    );

    // No checkpoint at all.
    write(&place.path("text.safetensors"), "not a checkpoint");
    let text = place.train("text", &with_few_steps(&["--init", "text.safetensors"]));
    assert_fails(&text, &["text.safetensors"]);
}
