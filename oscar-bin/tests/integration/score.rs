//! `oscar-bin score`, from files to numbers and errors.

use crate::support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Workplace, assert_fails, stderr, stdout};

const FILES: [&str; 6] = [
    "score",
    "captions",
    "--candidates",
    "results.json",
    "--references",
    "annotations.json",
];

fn fixture(name: &str) -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/captions");
    folder.join(name)
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

/// The captions of the parity suite's fixture, as COCO's files.
fn place() -> Workplace {
    let place = Workplace::new();
    let (mut results, mut images, mut annotations) = (Vec::new(), Vec::new(), Vec::new());
    for image in read(&fixture("captions.json"))["images"]
        .as_array()
        .expect("a list")
    {
        let id = &image["id"];
        results.push(json!({"image_id": id.to_string(), "caption": image["cand"]}));
        images.push(json!({"id": id}));
        for text in image["refs"].as_array().expect("a list") {
            annotations.push(json!({"image_id": id, "caption": text}));
        }
    }
    let write = |name: &str, content: Value| {
        std::fs::write(place.path(name), content.to_string()).expect("a file");
    };
    write("results.json", json!(results));
    write("few.json", json!(results[..3]));
    write(
        "annotations.json",
        json!({"images": images, "annotations": annotations}),
    );
    place
}

/// What a model is trained on are references, too: rows of an image with its captions, in the place of COCO's
/// annotations.
#[test]
fn references_may_be_rows_to_train_on() {
    let place = place();
    let scored = |references: &str| -> Value {
        let args = [&FILES[..5], &[references, "--json"]].concat();
        serde_json::from_str(&stdout(&place.run(&args))).expect("scores")
    };
    let images = read(&fixture("captions.json"));
    let images = images["images"].as_array().expect("a list");
    let row = |image: &Value| {
        let row = json!({"image": image["id"].to_string(), "captions": image["refs"]});
        format!("{row}\n")
    };
    let rows: String = images.iter().map(row).collect();
    std::fs::write(place.path("rows.jsonl"), rows).expect("a file");
    assert_eq!(scored("rows.jsonl"), scored("annotations.json"));
    // LAVIS' rows name the files of the images.
    let row = |image: &Value| {
        let id = image["id"].as_u64().expect("a number");
        let file = format!("val2014/COCO_val2014_{id:012}.jpg");
        json!({"image": file, "caption": image["refs"]})
    };
    let rows: Vec<Value> = images.iter().map(row).collect();
    std::fs::write(place.path("lavis.json"), json!(rows).to_string()).expect("a file");
    assert_eq!(scored("lavis.json"), scored("annotations.json"));
}

/// Both files name their images alike, if by files in folders.
#[test]
fn names_that_agree_are_kept() {
    let place = place();
    let name = |id: u32| format!("val2014/{id}.jpg");
    let rows = |ids: [u32; 2]| -> Value {
        let row = |id| json!({"image_id": name(id), "caption": "a dog on a beach"});
        json!(ids.map(row))
    };
    std::fs::write(place.path("results.json"), rows([1, 2]).to_string()).expect("a file");
    std::fs::write(place.path("annotations.json"), rows([1, 2]).to_string()).expect("a file");
    let output = place.run(&[&FILES[..], &["--per-image", "images.jsonl"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        !stderr(&output).contains("other spellings"),
        "{}",
        stderr(&output)
    );
    let lines = std::fs::read_to_string(place.path("images.jsonl")).expect("a file");
    for (line, id) in lines.lines().zip([1, 2]) {
        let image: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(image["image_id"], name(id));
    }
}

#[test]
fn captions_score_what_the_evaluation_says() {
    let place = place();
    let df = fixture("df-toy.p");
    let more = [
        "--json",
        "--per-image",
        "images.jsonl",
        "--cider-df",
        df.to_str().expect("UTF-8"),
    ];
    let output = place.run(&[&FILES[..], &more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let expected = read(&fixture("scores.json"));
    for (ours, theirs) in [
        ("BLEU-4", "Bleu_4"),
        ("ROUGE-L", "ROUGE_L"),
        ("CIDEr", "CIDEr"),
    ] {
        let number = |value: &Value| value.as_f64().expect("a number");
        let difference = number(&document[ours]) - number(&expected["corpus"][theirs]);
        assert!(difference.abs() < 1e-12, "{ours}");
    }
    assert!(document["CIDEr-D"].is_f64());
    assert!(document["METEOR"].is_null() && document["SPICE"].is_null());
    assert_eq!(document["images"], 250);

    let lines = std::fs::read_to_string(place.path("images.jsonl")).expect("a file");
    assert_eq!(lines.lines().count(), 250);
    let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    let wanted =
        expected["per_image"][first["image_id"].as_str().expect("an id")]["Bleu_1"].as_f64();
    assert!(
        (first["BLEU-1"].as_f64().expect("a number") - wanted.expect("a number")).abs() < 1e-12
    );
}

#[test]
fn what_was_not_computed_is_said() {
    let output = place().run(&FILES);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.contains("METEOR") && text.contains("--meteor-jar"),
        "{text}"
    );
    assert!(
        text.contains("SPICE") && text.contains("--spice-dir"),
        "{text}"
    );
    assert!(text.contains("250 images"), "{text}");
}

#[test]
fn karpathys_split_is_read_and_cider_of_one_image_is_explained() {
    let place = Workplace::new();
    let sentence = |raw: &str| json!({"raw": raw, "tokens": ["a", "dog"], "sentid": 1});
    let karpathy = json!({"images": [
        {"cocoid": 1, "filename": "COCO_val2014_000000000001.jpg", "split": "test",
         "sentences": [sentence("A dog."), sentence("The dog sleeps.")]},
        {"cocoid": 2, "split": "restval", "sentences": [sentence("A bus.")]},
    ], "dataset": "coco"});
    std::fs::write(place.path("annotations.json"), karpathy.to_string()).expect("a file");
    // The image by the name of its file.
    let results = r#"[{"image_id": "COCO_val2014_000000000001", "caption": "a dog"}]"#;
    std::fs::write(place.path("results.json"), results).expect("a file");
    let output = place.run(&FILES);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    for part in ["annotations.json", "restval (1 images), test (1 images)"] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    let output = place.run(&[&FILES[..], &["--split", "test", "--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(
        (&document["images"], &document["CIDEr"]),
        (&json!(1), &json!(0.0))
    );
    assert!(stderr(&output).contains("CIDEr"), "{}", stderr(&output));
    let output = place.run(&[&FILES[..], &["--split", "val"]].concat());
    assert!(stderr(&output).contains("`val`"), "{}", stderr(&output));
}

#[test]
fn what_does_not_fit_fails_and_names_it() {
    let place = place();
    let fails = |args: &[&str], found: &str| {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(found), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    };
    let few = FILES.map(|arg| {
        if arg == "results.json" {
            "few.json"
        } else {
            arg
        }
    });
    fails(
        &few,
        "images with references but without a caption: 247 (\"1003\"",
    );
    fails(
        &[&FILES[..], &["--cider-df", "few.json"]].concat(),
        "few.json",
    );
    // The other scores are there all the same.
    let args = [
        "--meteor-jar",
        "meteor-1.5.jar",
        "--spice-dir",
        ".",
        "--per-image",
        "each.jsonl",
        "--overwrite",
    ];
    for (json, computed) in [(true, "\"CIDEr\": "), (false, "CIDEr    ")] {
        let json = if json { &["--json"][..] } else { &[] };
        let output = place.run(&[&FILES[..], &args, json].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        for reason in ["meteor-1.5.jar", "has no spice-1.0.jar"] {
            assert!(stderr(&output).contains(reason), "{}", stderr(&output));
        }
        assert!(stdout(&output).contains(computed), "{}", stdout(&output));
        let each = std::fs::read_to_string(place.path("each.jsonl")).expect("a file");
        assert_eq!(each.lines().count(), 250);
    }
    let subset = place.run(&[&few[..], &["--subset", "--json"]].concat());
    assert!(subset.status.success(), "{}", stderr(&subset));
    let document: Value = serde_json::from_slice(&subset.stdout).expect("one document");
    assert_eq!(document["images"], 3);
}

/// The figures of the Python package eccv-caption, which recorded what it computes of these rankings.
#[test]
fn rankings_are_scored_with_extended_ground_truth() {
    let recorded =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../oscar-tasks/retrieval/tests/recorded");
    let (folder, rankings) = (
        recorded.display().to_string(),
        recorded.join("rankings.json").display().to_string(),
    );
    let place = Workplace::new();
    let score = ["score", "retrieval", "--positives", &folder, "--rankings"];
    let output = place.run(&[&score[..], &[&rankings, "--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let found: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let expected = read(&recorded.join("expected.json"));
    for (name, ways) in expected.as_object().expect("figures") {
        let (annotation, figure) = name.split_once('_').expect("two names");
        for way in ["i2t", "t2i"] {
            let value = found[annotation][way][figure].as_f64().expect("a number");
            let recorded = ways[way].as_f64().expect("a number");
            assert!((value - recorded).abs() < 1e-12, "{name} {way}");
        }
    }
    let text = stdout(&place.run(&[&score[..], &[&rankings]].concat()));
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.contains("mAP@R"), "{text}");

    // A query that is annotated and was not ranked.
    std::fs::write(place.path("few.json"), r#"{"t2i": {"20": [1000, 1007]}}"#).expect("a file");
    let few = place.run(&[&score[..], &["few.json"]].concat());
    support::assert_fails(&few, &["few.json", "t2i", "23"]);
    std::fs::write(place.path("none.json"), "{}").expect("a file");
    let none = place.run(&[&score[..], &["none.json"]].concat());
    support::assert_fails(&none, &["none.json", "i2t"]);
}

#[test]
fn files_that_are_read_are_not_written_over() {
    let place = place();
    for file in ["results.json", "annotations.json"] {
        let before = std::fs::read(place.path(file)).expect("a file");
        let other_path = format!("./{file}");
        let output = place.run(&[&FILES[..], &["--per-image", &other_path]].concat());
        assert_fails(&output, &["--per-image", file]);
        assert_eq!(std::fs::read(place.path(file)).expect("a file"), before);
    }
}

#[test]
fn a_file_that_is_there_stays_unless_it_may_be_replaced() {
    let place = place();
    std::fs::write(place.path("notes.txt"), "mine").expect("a file");
    std::fs::write(place.path("empty.jsonl"), "").expect("a file");
    let score = |more: &[&str]| place.run(&[&FILES[..], more].concat());
    let text = |name: &str| std::fs::read_to_string(place.path(name)).expect("a file");
    let refused = score(&["--per-image", "notes.txt"]);
    assert_fails(&refused, &["--per-image notes.txt", "--overwrite"]);
    assert_eq!(text("notes.txt"), "mine");
    let nothing: &[&str] = &[];
    for (name, more) in [
        ("empty.jsonl", nothing),
        ("notes.txt", &["--overwrite"][..]),
    ] {
        let output = score(&[&["--per-image", name], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(text(name).lines().count(), 250, "{name}");
    }
    let nowhere = score(&["--per-image", "no/such/images.jsonl"]);
    assert_fails(&nowhere, &["--per-image", "no directory no/such"]);
    let alone = score(&["--overwrite"]);
    assert_eq!(alone.status.code(), Some(2), "it would have no effect");
}

#[test]
fn references_by_image_that_are_wrong_are_told_their_form() {
    let place = place();
    for (wrong, found) in [
        (r#"{"1": []}"#, "no image has a caption"),
        (r#"{"1": [5]}"#, "captions by image id"),
        ("{}", "captions by image id"),
    ] {
        std::fs::write(place.path("annotations.json"), wrong).expect("a file");
        assert_fails(&place.run(&FILES), &["annotations.json", found]);
    }
}
