//! Pictures in, answers out: `caption`, `ask`, `match`, and a store built of a folder of pictures.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use bytes::Bytes;
use oscar_core::checkpoint::WeightFile;
use oscar_files::pytorch::{Dtype, StateEntry, write_state_dict};
use oscar_sample::build_sample;
use rstest::rstest;
use serde_json::Value;
use support::{Workplace, assert_fails, json, stderr, stdout, write};

/// What is shipped: six grey boxes of held-out drawings, each a picture.
pub fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/sample")
}

/// A place with the folder `pictures`, a copy of the shipped ones, and the shipped weights.
pub fn place() -> (Workplace, Vec<String>) {
    let place = Workplace::new();
    fs::create_dir(place.path("pictures")).expect("a folder");
    let mut keys = Vec::new();
    for entry in fs::read_dir(sample().join("pictures")).expect("pictures") {
        let path = entry.expect("a picture").path();
        let name = path.file_name().expect("a name");
        fs::copy(&path, place.path("pictures").join(name)).expect("a copy");
        keys.push(
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned(),
        );
    }
    keys.sort();
    (place, keys)
}

pub fn weights(task: &str) -> String {
    sample().join("weights").join(task).display().to_string()
}

/// A file of captions of these images.
fn captions(keys: &[String]) -> String {
    let row = |key: &String| format!("{{\"image\": \"{key}\", \"captions\": [\"one square\"]}}\n");
    keys.iter().map(row).collect()
}

/// The captions that `evaluate` writes for images of a store, in their order.
fn evaluated(place: &Workplace, regions: &str, out: &str) -> String {
    let args = [
        "evaluate",
        "--task",
        "captioning",
        "--data",
        "captions.jsonl",
        "--regions",
    ];
    let checkpoint = weights("captioning");
    let more = [
        regions,
        "--checkpoint",
        &checkpoint,
        "--out",
        out,
        "--set",
        "task.compare=false",
    ];
    let output = place.run(&[&args[..], &more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    fs::read_to_string(place.path(out).join("predictions/captioning.tsv")).expect("captions")
}

#[test]
fn a_folder_of_pictures_is_described_as_the_store_of_its_features() {
    let (place, keys) = place();
    write(&place.path("captions.jsonl"), &captions(&keys));
    // Features that the sample's builder made of whole drawings.
    build_sample(&sample(), &place.path("sample")).expect("the sample");
    let of_features = evaluated(&place, "sample/dev/regions", "features");

    let build = [
        "data",
        "build",
        "regions",
        "pictures",
        "--detector",
        "drawing",
        "--verify",
    ];
    let built = json(&place.run(&[&build[..], &["--out", "regions", "--json"]].concat()));
    assert_eq!(
        (&built["images"], &built["skipped"]["total"]),
        (&6.into(), &0.into())
    );
    assert_eq!(built["verified"]["images"], 6);
    assert_eq!(evaluated(&place, "regions", "pictures"), of_features);

    // And without a store.
    let described = json(&place.run(&["caption", "pictures", "--json"]));
    let rows = described["pictures"].as_array().expect("pictures");
    assert_eq!(rows.len(), 6);
    for (row, line) in rows.iter().zip(of_features.lines()) {
        let (key, captions) = line.split_once('\t').expect("a key");
        let captions: Value = serde_json::from_str(captions).expect("captions");
        assert_eq!(row["picture"], format!("{key}.png"));
        assert_eq!(row["captions"][0]["text"], captions[0]["caption"]);
        assert!(row["objects"][0]["class"].is_string(), "{row:#}");
    }
    let lines = stdout(&place.run(&["caption", "pictures"]));
    let first = format!(
        "{}.png\t{}",
        keys[0],
        rows[0]["captions"][0]["text"].as_str().expect("text")
    );
    assert_eq!(lines.lines().next(), Some(&*first));

    // A detector that is not there.
    let own = weights("captioning");
    let nowhere = ["--checkpoint", &own, "--detector", "nowhere"];
    let other = place.run(&[&["caption", "pictures"], &nowhere[..]].concat());
    assert_fails(&other, &["nowhere", "drawing"]);
}

#[test]
fn one_picture_gives_one_caption_and_a_drawing_of_it() {
    let (place, keys) = place();
    let picture = format!("pictures/{}.png", keys[5]);
    let caption = stdout(&place.run(&["caption", &picture, "--picture", "seen.png"]));
    assert_eq!(caption.lines().count(), 1, "{caption}");
    let drawn = image::open(place.path("seen.png")).expect("a picture");
    // A panel with all boxes, and one for each word, two in a row.
    assert!(drawn.width() > 1600 && drawn.height() > 1600, "{drawn:?}");

    let both = place.run(&["caption", "pictures", "--picture", "seen.png"]);
    assert_fails(&both, &["--picture", "6"]);
    let best = place.run(&["match", &picture, "a black square", "--top", "3"]);
    assert_fails(&best, &["--top", "match"]);
    let again = ["caption", &picture, "--picture", "seen.png"];
    assert_fails(&place.run(&again), &["seen.png", "--overwrite"]);
    let again = place.run(&[&again[..], &["--overwrite"]].concat());
    assert!(again.status.success(), "{}", stderr(&again));
    // The picture itself stays, by whatever path it is named.
    let before = fs::read(place.path(&picture)).expect("a picture");
    let over = format!("./{picture}");
    let itself = place.run(&["caption", &picture, "--picture", &over]);
    assert_fails(&itself, &["--picture", &picture]);
    assert_eq!(fs::read(place.path(&picture)).expect("a picture"), before);
}

/// Fine-tunes weights of a task on the sample in two steps; gives their description.
pub fn finetuned(place: &Workplace, task: &str) -> Value {
    let short = ["epochs=0", "train.steps=2", "train.validate_every=2"];
    let recipe = format!("{task}-mini");
    let mut args = vec!["finetune", "--config", &recipe, "--name", task, "--json"];
    args.extend(short.iter().flat_map(|set| ["--set", *set]));
    let trained = place.run(&args);
    assert!(trained.status.success(), "{}", stderr(&trained));
    let described = fs::read_to_string(place.path(&format!("runs/{task}/best/task.json")));
    serde_json::from_str(&described.expect("a file")).expect("JSON")
}

/// Weights that were trained on the sample name the extractor of their features, so that questions
/// about pictures need no flag, and get the answers that the store's features get.
#[test]
fn questions_and_texts_are_asked_about_pictures() {
    let (place, keys) = place();
    for task in ["vqa", "matching"] {
        assert_eq!(finetuned(&place, task)["extractor"], "drawings");
    }
    let predict = |task: &str, text: &str, key: &str| {
        let args = [
            "predict",
            "--task",
            task,
            "--checkpoint",
            task,
            "--text",
            text,
            "--json",
        ];
        let image = ["--regions", "runs/.sample/dev/regions", "--image", key];
        json(&place.run(&[&args[..], &image].concat()))
    };
    let near = |a: &Value, b: &Value| {
        let (a, b) = (a.as_f64().expect("a number"), b.as_f64().expect("a number"));
        assert!((a - b).abs() < 2e-3, "{a} {b}");
    };
    let question = "is there a square?";
    let asked = json(&place.run(&["ask", "pictures", question, "--checkpoint", "vqa", "--json"]));
    let matched = [
        "match",
        "pictures",
        "one black square",
        "--checkpoint",
        "matching",
        "--json",
    ];
    let matched = json(&place.run(&matched));
    assert_eq!(
        (&asked["task"], &asked["text"]),
        (&"vqa".into(), &question.into())
    );
    for (at, key) in keys.iter().enumerate() {
        let expected = predict("vqa", question, key);
        let answer = &asked["pictures"][at]["answers"][0];
        near(
            &answer["probability"],
            &expected["classes"][0]["probability"],
        );
        let expected = predict("matching", "one black square", key);
        let classes = expected["classes"].as_array().expect("classes");
        let expected = classes
            .iter()
            .find(|class| class["class"] == "match")
            .expect("a class");
        near(&matched["pictures"][at]["match"], &expected["probability"]);
    }
    let picture = format!("pictures/{}.png", keys[0]);
    let top = stdout(&place.run(&[
        "ask",
        &picture,
        question,
        "--checkpoint",
        "vqa",
        "--top",
        "2",
    ]));
    assert_eq!(top.lines().count(), 2, "{top}");
    let one = stdout(&place.run(&["match", &picture, "a square", "--checkpoint", "matching"]));
    let probability: f32 = one.trim().parse().expect("a number");
    assert!((0.0..=1.0).contains(&probability), "{one}");
    // A question needs weights, and those of another task are refused.
    assert_fails(
        &place.run(&["ask", &picture, question]),
        &["--checkpoint", "vqa"],
    );
    let other = place.run(&["match", &picture, "a square", "--checkpoint", "vqa"]);
    assert_fails(&other, &["vqa", "matching"]);
}

/// Scenes need no flag: they are recognised, and captioned and matched by the shipped weights.
#[test]
fn scenes_are_described_and_matched_by_shipped_weights() {
    let place = Workplace::new();
    let pictures = sample().join("scenes/pictures").display().to_string();
    let captions = json(&place.run(&["caption", &pictures, "--json"]));
    let rows = captions["pictures"].as_array().expect("rows");
    assert_eq!(rows.len(), 6, "{captions:#}");
    // A scene by an artist of training, and one by an artist that was held out.
    for (picture, names) in [
        ("near-000017.png", ["pine tree", "panda"]),
        ("far-000000.png", ["hospital", "panda"]),
    ] {
        let row = rows.iter().find(|row| row["picture"] == picture);
        let row = row.unwrap_or_else(|| panic!("{picture} is missing"));
        let text = row["captions"][0]["text"].as_str().expect("a caption");
        assert!(names.iter().all(|name| text.contains(name)), "{text}");
    }
    let text = "two pine trees and a panda";
    let matched = json(&place.run(&["match", &pictures, text, "--json"]));
    for row in matched["pictures"].as_array().expect("rows") {
        let probability = row["match"].as_f64().expect("a number");
        let of_it = row["picture"] == "near-000017.png";
        assert_eq!(probability > 0.5, of_it, "{row:#}");
    }
    let question = place.run(&["ask", &pictures, "is there a dog?"]);
    assert_fails(&question, &["--checkpoint", "vqa"]);
}

/// Adds three files to the pictures: a text, half a picture, and a picture of one pixel.
fn spoil(place: &Workplace, keys: &[String]) {
    write(&place.path("pictures/a-text.jpg"), "hello");
    let half = fs::read(place.path("pictures").join(format!("{}.png", keys[0]))).expect("a file");
    fs::write(place.path("pictures/half.png"), &half[..half.len() / 2]).expect("a file");
    image::RgbImage::new(1, 1)
        .save(place.path("pictures/pixel.png"))
        .expect("a picture");
}

#[test]
fn pictures_that_cannot_be_read_are_one_line_each_and_the_others_are_answered() {
    let (place, keys) = place();
    spoil(&place, &keys);
    fs::create_dir(place.path("empty")).expect("a folder");
    let run = |more: &[&str]| {
        let args = [
            "caption",
            "pictures",
            "missing.jpg",
            "empty",
            "--detector",
            "drawing",
        ];
        place.run(&[&args[..], more].concat())
    };
    let assert_reported = |output: &Output| {
        let errors = stderr(output);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        for name in [
            "a-text.jpg",
            "half.png",
            "pixel.png",
            "missing.jpg",
            "empty",
        ] {
            let lines = errors.lines().filter(|line| line.contains(name));
            assert_eq!(lines.count(), 1, "{name} in {errors}");
        }
        assert!(!errors.contains("panicked"), "{errors}");
    };
    let output = run(&[]);
    assert_reported(&output);
    assert_eq!(stdout(&output).lines().count(), 6);
    let output = run(&["--json"]);
    assert_reported(&output);
    let document: Value = serde_json::from_slice(&output.stdout).expect("one document");
    let rows = document["pictures"].as_array().expect("rows");
    let failed = rows.iter().filter(|row| row["error"].is_string()).count();
    assert_eq!((rows.len(), failed), (10, 4), "{document:#}");

    assert_fails(&place.run(&["caption", "empty"]), &["empty"]);
    // Without a picture that can be read nobody knows which weights are meant: the picture is what is wrong.
    for name in ["missing.jpg", "pictures/a-text.jpg"] {
        let output = place.run(&["caption", name]);
        assert_fails(&output, &[name]);
        assert!(
            !stderr(&output).contains("--checkpoint"),
            "{}",
            stderr(&output)
        );
    }
    let nothing = place.run(&["caption"]);
    assert_eq!(nothing.status.code(), Some(2), "{}", stderr(&nothing));
}

/// A folder with three files that are no drawings goes into a store: they are skipped and listed, or
/// the first one stops it.
#[test]
fn pictures_that_cannot_be_read_are_left_out_of_a_store() {
    let (place, keys) = place();
    spoil(&place, &keys);
    let build = [
        "data",
        "build",
        "regions",
        "pictures",
        "--detector",
        "drawing",
        "--out",
        "store",
    ];
    let stopped = place.run(&[&build[..], &["--on-error", "stop"]].concat());
    assert_fails(&stopped, &["a-text.jpg"]);
    let listed = ["--list-skipped", "skipped.txt", "--json", "--restart"];
    let built = json(&place.run(&[&build[..], &listed].concat()));
    assert_eq!(
        (&built["images"], &built["skipped"]["total"]),
        (&6.into(), &3.into())
    );
    let skipped = fs::read_to_string(place.path("skipped.txt")).expect("a list");
    for (line, name) in skipped.lines().zip(["a-text.jpg", "half.png", "pixel.png"]) {
        assert!(line.contains(name), "{skipped}");
    }
    let features = place.run(&["data", "build", "regions", "pictures", "--out", "other"]);
    assert_fails(&features, &["9 pictures", "detector"]);
}

/// Writes the tensors of a file as PyTorch does.
fn as_published(from: &Path, to: &Path) {
    let file = WeightFile::open(from).expect("weights");
    let weights: Vec<_> = file
        .weights()
        .iter()
        .filter(|weight| weight.tensor.dtype() == Dtype::F32)
        .collect();
    let entries = weights
        .iter()
        .enumerate()
        .map(|(storage, weight)| StateEntry {
            name: weight.name.clone(),
            dtype: Dtype::F32,
            shape: weight.tensor.shape().to_vec(),
            storage,
        });
    let storages = weights.iter().map(|weight| {
        let values = weight.tensor.to_f32().expect("values");
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Bytes::from(bytes)
    });
    let (entries, storages): (Vec<_>, Vec<_>) = (entries.collect(), storages.collect());
    let file = fs::File::create(to).expect("a file");
    write_state_dict(file, &entries, &storages).expect("a PyTorch file");
}

/// A small detector of each kind, in the directory that it was published as.
#[rstest]
#[case::bottom_up_attention("detector_frcnn_alt", "pytorch_model.bin", "bottom-up attention")]
#[case::vinvl("detector_vinvl_x50", "vinvl.pth", "VinVL")]
fn the_directory_of_a_detector_makes_a_store(
    #[case] set: &str,
    #[case] file: &str,
    #[case] name: &str,
) {
    let place = Workplace::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(set);
    let detector = place.path("detector");
    fs::create_dir(&detector).expect("a folder");
    let lists = [
        "config.yaml",
        "objects_vocab.txt",
        "attributes_vocab.txt",
        "labelmap.json",
    ];
    for list in lists.iter().filter(|list| fixture.join(list).exists()) {
        fs::copy(fixture.join(list), detector.join(list)).expect("a copy");
    }
    as_published(&fixture.join("model.safetensors"), &detector.join(file));

    let inspected = json(&place.run(&["model", "inspect", "detector", "--json"]));
    assert!(
        inspected["model"].to_string().contains(name),
        "{}",
        inspected["model"]
    );

    // The set's own pictures, a broken one, and one of another size.
    let pictures = place.path("pictures");
    fs::create_dir(&pictures).expect("a folder");
    let mut count = 1;
    for entry in fs::read_dir(fixture.join("images")).expect("pictures") {
        let path = entry.expect("a picture").path();
        fs::copy(&path, pictures.join(path.file_name().expect("a name"))).expect("a copy");
        count += 1;
    }
    image::RgbImage::from_fn(90, 60, |x, y| image::Rgb([(x * 7) as u8, (x * y) as u8, 9]))
        .save(pictures.join("other.png"))
        .expect("a picture");
    write(&pictures.join("broken.jpg"), "hello");
    let build = [
        "data",
        "build",
        "regions",
        "pictures",
        "--detector",
        "detector",
    ];
    let more = ["--out", "regions", "--verify", "--json"];
    let built = json(&place.run(&[&build[..], &more].concat()));
    assert_eq!(
        (&built["images"], &built["skipped"]["total"]),
        (&count.into(), &1.into())
    );
    assert_eq!(built["verified"]["images"], count);
    let drawn = place.run(&["data", "inspect", "regions", "other", "--json"]);
    let drawn = json(&drawn);
    assert!(drawn.to_string().contains("\"class\""), "{drawn:#}");

    // The weights of one with the settings of the other.
    fs::remove_file(detector.join("config.yaml")).expect("a file");
    let other = match name {
        "VinVL" => "detector_frcnn_alt",
        _ => "detector_vinvl_x50",
    };
    let settings = fixture.with_file_name(other).join("config.yaml");
    fs::copy(settings, detector.join("config.yaml")).expect("a copy");
    let refused = place.run(&[&build[..], &["--out", "other"]].concat());
    assert_fails(&refused, &["detector", "weights"]);
}

/// The weights of the sample without what this project adds are as good: they are then published ones.
#[test]
fn published_weights_describe_pictures_too() {
    let (place, _) = place();
    fs::create_dir(place.path("published")).expect("a folder");
    for name in ["config.json", "vocab.txt", "model.safetensors"] {
        let from = Path::new(&weights("captioning")).join(name);
        fs::copy(from, place.path("published").join(name)).expect("a copy");
    }
    let own = stdout(&place.run(&["caption", "pictures"]));
    let recipe = ["--checkpoint", "published", "--config", "captioning-mini"];
    let published = place.run(&[&["caption", "pictures"], &recipe[..]].concat());
    assert!(published.status.success(), "{}", stderr(&published));
    assert_eq!(stdout(&published), own);
}
