//! Fine-tuned weights as they were published, without a task.json: the official models' own sets go
//! through `evaluate` and `predict` and give the official numbers.

use crate::support;

use std::fs;

use rstest::rstest;
use serde_json::{Value, json};
use support::official::{Tensors, examples, place, words};
use support::{Workplace, assert_fails, json as document, write};

/// Probabilities may differ by rounding.
const TOLERANCE: f64 = 1e-5;

fn softmax(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::MIN, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// Runs `predict` on the published weights.
fn predict(place: &Workplace, task: &str, images: &[&str], more: &[&str]) -> Value {
    let mut args = vec![
        "predict",
        "--task",
        task,
        "--checkpoint",
        "published",
        "--json",
    ];
    args.extend(["--regions", "regions"]);
    args.extend(images.iter().flat_map(|key| ["--image", *key]));
    args.extend(more);
    document(&place.run(&args))
}

/// The probability of each of `classes` in a document of `predict`.
fn probabilities(predicted: &Value, classes: &[String]) -> Vec<f64> {
    let found = predicted["classes"].as_array().expect("classes");
    let of = |class: &String| {
        let found = found.iter().find(|answer| answer["class"] == **class);
        found.expect("the class")["probability"]
            .as_f64()
            .expect("a number")
    };
    classes.iter().map(of).collect()
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < TOLERANCE,
            "{found} is not {expected}"
        );
    }
}

#[rstest]
#[case::vqa("vqa", "seqcls_bce_linear", 17, &[])]
#[case::vqa_of_3129("vqa", "seqcls_kl3129", 3129, &[])]
#[case::gqa("gqa", "seqcls_ce_gqa", 11, &[])]
#[case::retrieval("retrieval", "seqcls_ce_ln", 2, &[])]
#[case::retrieval_by_parts("retrieval", "seqcls_ce_ln", 2, &["--set", "encoder.attention=CR"])]
#[case::matching("matching", "seqcls_ce_ln", 2, &["--config", "matching-base"])]
fn a_published_classifier_gives_the_official_probabilities(
    #[case] task: &str,
    #[case] set: &str,
    #[case] classes: usize,
    #[case] more: &[&str],
) {
    let examples = examples(set, "");
    let place = place(set, &examples);
    let names: Vec<String> = match classes {
        2 => ["no match", "match"].map(String::from).to_vec(),
        _ => (0..classes)
            .map(|class| format!("answer {class}"))
            .collect(),
    };
    write(&place.path("labels.json"), &json!(names).to_string());
    let by_parts = more.iter().any(|set| set.ends_with("=CR"));
    let logits = Tensors::read(set, "expected.safetensors").rows(match by_parts {
        true => "logits_CR",
        false => "logits",
    });
    for (key, (example, logits)) in examples.iter().zip(&logits).enumerate() {
        let key = key.to_string();
        let mut args = vec!["--text", &example.text, "--top", "4000"];
        args.extend(more);
        if classes > 2 {
            args.extend(["--answers", "labels.json"]);
        }
        let predicted = predict(&place, task, &[&key], &args);
        assert_close(&probabilities(&predicted, &names), &softmax(logits));
    }
}

/// The questions with the set's soft scores, and the score of the official best answers.
#[test]
fn published_vqa_weights_are_evaluated_with_the_answer_list_in_their_folder() {
    let set = "seqcls_bce_linear";
    let examples = examples(set, "");
    let place = place(set, &examples);
    let scores = Tensors::read(set, "inputs.safetensors").rows("labels");
    let names: Vec<String> = (0..17).map(|class| format!("answer {class}")).collect();
    write(
        &place.path("published/answers.json"),
        &json!(names).to_string(),
    );
    let rows = examples.iter().zip(&scores).enumerate().map(|(key, (example, scores))| {
        let given = scores.iter().enumerate().filter(|(_, score)| **score > 0.0);
        let (labels, scores): (Vec<usize>, Vec<f64>) = given.map(|(l, s)| (l, *s)).unzip();
        json!({"q": example.text, "o": example.tags.replace(' ', ";"), "an": labels, "s": scores,
            "img_id": key.to_string(), "q_id": key})
    });
    let rows: Vec<Value> = rows.collect();
    write(&place.path("questions.json"), &json!(rows).to_string());
    let args = [
        "evaluate",
        "--task",
        "vqa",
        "--checkpoint",
        "published",
        "--data",
    ];
    let more = [
        "questions.json",
        "--regions",
        "regions",
        "--out",
        "out",
        "--json",
    ];
    let evaluated = document(&place.run(&[&args[..], &more].concat()));

    let logits = Tensors::read(set, "expected.safetensors").rows("logits");
    let best: Vec<usize> = logits
        .iter()
        .map(|logits| {
            (0..17)
                .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
                .expect("one")
        })
        .collect();
    let expected: f64 = best
        .iter()
        .zip(&scores)
        .map(|(best, scores)| scores[*best])
        .sum();
    let accuracy = evaluated["accuracy"].as_f64().expect("an accuracy");
    assert!(
        (accuracy - expected / 4.0).abs() < TOLERANCE,
        "{evaluated:#}"
    );
    let written = fs::read_to_string(place.path("out/predictions/vqa.json")).expect("predictions");
    let written: Value = serde_json::from_str(&written).expect("JSON");
    for (row, best) in written.as_array().expect("rows").iter().zip(best) {
        assert_eq!(row["answer"], format!("answer {best}"));
    }
}

/// Both images of the pair are one: then the official head can be computed from the set's pooled
/// vectors, whose statements differ from image to image.
#[test]
fn a_published_nlvr2_model_gives_the_official_probabilities() {
    let set = "nlvr2_ce_linear";
    let examples = examples(set, "");
    let place = place(set, &examples);
    let pooled = Tensors::read(set, "expected.safetensors").rows("pooled_output");
    let weights = Tensors::read(set, "model.safetensors");
    let (matrix, bias) = (
        weights.rows("classifier.weight"),
        weights.get("classifier.bias").1,
    );
    let names = ["False", "True"].map(String::from);
    for (key, (example, pooled)) in examples.iter().zip(&pooled).enumerate() {
        let logits = matrix.iter().zip(&bias).map(|(row, bias)| {
            let twice = pooled.iter().chain(pooled);
            row.iter().zip(twice).map(|(a, b)| a * b).sum::<f64>() + bias
        });
        let logits: Vec<f64> = logits.collect();
        let key = key.to_string();
        let more = ["--text", &example.text, "--set", "encoder.use_tags=true"];
        let predicted = predict(&place, "nlvr2", &[&key, &key], &more);
        assert_close(&probabilities(&predicted, &names), &softmax(&logits));
    }
}

/// `training_args.bin` of the official script, with these lengths: a pickle of protocol 2.
fn training_args(scst: bool) -> Vec<u8> {
    let mut bytes = b"\x80\x02cargparse\nNamespace\n)\x81}(".to_vec();
    let mut field = |name: &str, value: &[u8]| {
        bytes.push(b'X');
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(value);
    };
    for (name, length) in [("max_seq_a_length", 14), ("max_seq_length", 20)] {
        field(name, &[b'K', length]);
    }
    field("max_img_seq_length", &[b'K', 6]);
    field("max_gen_length", &[b'K', 17]);
    field("add_od_labels", b"\x88");
    field("scst", if scst { b"\x88" } else { b"\x89" });
    bytes.extend(b"ub.");
    bytes
}

const SEARCH: [&str; 4] = [
    "--set",
    "task.generation.max_length=10",
    "--set",
    "task.generation.num_beams=3",
];

#[rstest]
#[case::by_its_training_arguments(true, &[])]
#[case::by_settings(false, &["--set", "task.max_caption_length=14", "--set", "encoder.max_seq_length=20"])]
fn a_published_captioner_writes_the_official_captions(
    #[case] arguments: bool,
    #[case] settings: &[&str],
) {
    let set = "caption_tied_od";
    let examples = examples(set, "gen.");
    let place = place(set, &examples);
    if arguments {
        fs::write(
            place.path("published/training_args.bin"),
            training_args(false),
        )
        .expect("a file");
    }
    let mut rows = String::new();
    for key in 0..examples.len() {
        rows += &format!("{{\"image\": \"{key}\", \"captions\": [\"w5 w6\"]}}\n");
    }
    write(&place.path("captions.jsonl"), &rows);
    let args = [
        "evaluate",
        "--task",
        "captioning",
        "--checkpoint",
        "published",
        "--json",
    ];
    let data = [
        "--data",
        "captions.jsonl",
        "--regions",
        "regions",
        "--out",
        "out",
    ];
    let evaluated = document(&place.run(&[&args[..], &data, &SEARCH, settings].concat()));
    assert_eq!(evaluated["examples"], 4);

    let expected = Tensors::read(set, "expected.safetensors");
    let ids = expected.rows("beam3.ids");
    let scores = expected.rows("beam3.logprobs");
    let written = fs::read_to_string(place.path("out/predictions/captioning.tsv"));
    let written = written.expect("predictions");
    assert_eq!(written.lines().count(), 4);
    for (line, (ids, score)) in written.lines().zip(ids.iter().zip(&scores)) {
        let (_, captions) = line.split_once('\t').expect("a key and captions");
        let captions: Value = serde_json::from_str(captions).expect("JSON");
        assert_eq!(captions[0]["caption"], words(ids), "{line}");
        let conf = captions[0]["conf"].as_f64().expect("a number");
        assert!(
            (conf - score[0].exp()).abs() < TOLERANCE,
            "{conf} is not e^{score:?}"
        );
    }
    // And one image by itself.
    let more = ["--top", "1"];
    let predicted = predict(
        &place,
        "captioning",
        &["2"],
        &[&SEARCH[..], settings, &more].concat(),
    );
    assert_eq!(predicted["captions"][0]["class"], words(&ids[2]));
}

/// After training by reward captions were as long as generated ones: tags had the rest, 20 positions
/// without the 17 of a caption.
#[test]
fn lengths_after_training_by_reward_are_restored_as_officially() {
    let place = place("caption_tied_od", &examples("caption_tied_od", "gen."));
    let lengths = |sequence: &'static str| {
        let settings = ["--set", "task.max_caption_length=14", "--set", sequence];
        let args = [&SEARCH[..], &settings].concat();
        predict(&place, "captioning", &["1"], &args)["captions"].clone()
    };
    let (expected, other) = (
        lengths("encoder.max_seq_length=17"),
        lengths("encoder.max_seq_length=20"),
    );
    assert_ne!(expected, other, "two tags are read instead of five");
    fs::write(
        place.path("published/training_args.bin"),
        training_args(true),
    )
    .expect("a file");
    let restored = predict(&place, "captioning", &["1"], &SEARCH);
    // Batches are padded to another length, which moves the last bits.
    let captions = |found: &Value| -> Vec<(String, f64)> {
        let found = found.as_array().expect("captions");
        let caption = |one: &Value| {
            let text = one["class"].as_str().expect("a text").to_owned();
            (text, one["probability"].as_f64().expect("a number"))
        };
        found.iter().map(caption).collect()
    };
    let (restored, expected) = (captions(&restored["captions"]), captions(&expected));
    assert_eq!(restored.len(), expected.len());
    for (restored, expected) in restored.iter().zip(&expected) {
        assert_eq!(restored.0, expected.0);
        assert!(
            (restored.1 - expected.1).abs() < 1e-6,
            "{restored:?} {expected:?}"
        );
    }
}

#[test]
fn what_published_weights_lack_is_named() {
    let set = "seqcls_bce_linear";
    let examples = examples(set, "");
    let place = place(set, &examples);
    let evaluate = [
        "evaluate",
        "--task",
        "vqa",
        "--checkpoint",
        "published",
        "--data",
        "q.json",
    ];
    let with = |more: &[&str]| place.run(&[&evaluate[..], more].concat());
    assert_fails(&with(&[]), &["published", "--answers"]);
    write(&place.path("labels.json"), "[\"yes\", \"no\"]");
    assert_fails(
        &with(&["--answers", "labels.json"]),
        &["num_labels = 17", "2"],
    );
    assert_fails(
        &with(&["--config", "captioning-base"]),
        &["captioning-base", "vqa"],
    );
    let captioning = [
        "predict",
        "--task",
        "captioning",
        "--checkpoint",
        "published",
    ];
    let other = [&captioning[..], &["--regions", "regions", "--image", "0"]].concat();
    assert_fails(
        &place.run(&other),
        &["published", "classifier of 17 labels"],
    );

    fs::remove_file(place.path("published/vocab.txt")).expect("a file");
    assert_fails(
        &with(&["--answers", "labels.json"]),
        &["published", "no vocab.txt", "200"],
    );
    fs::remove_file(place.path("published/config.json")).expect("a file");
    assert_fails(&with(&[]), &["pytorch_model.bin", "config.json"]);
    fs::remove_file(place.path("published/pytorch_model.bin")).expect("a file");
    assert_fails(
        &with(&[]),
        &["published", "pytorch_model.bin", "model.safetensors"],
    );
    let missing = [
        "predict",
        "--task",
        "vqa",
        "--checkpoint",
        "nowhere",
        "--text",
        "w5",
    ];
    assert_fails(&place.run(&missing), &["nowhere", "runs"]);
}
