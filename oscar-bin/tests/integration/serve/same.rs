//! The same answer over HTTP, by the command and from the library.

use std::path::Path;
use std::sync::Arc;

use burn_flex::{Flex, FlexDevice};
use oscar_sample::scenes::scene_reader;
use oscar_task::{Answer, Ask, Seen};
use oscar_vision::drawings::DrawingReader;
use oscar_vision::{Picture, PictureLimits, RegionExtractor};
use serde_json::{Value, json};

use super::client::{Reply, Serving};
use super::{assert_alike, best, encoded, file};
use crate::pictures::{finetuned, place, sample};
use crate::support::{Workplace, json as document};

/// What the library answers about picture files.
fn of_library(
    weights: &Path,
    detector: Arc<dyn RegionExtractor>,
    files: &[Vec<u8>],
    (text, top): (Option<&str>, usize),
) -> Vec<Vec<Answer>> {
    let mut model = oscar_bin::open_predictor::<Flex>(weights, &FlexDevice).expect("weights");
    model.set_extractor(detector);
    let ask = |file: &Vec<u8>| {
        let picture = Picture::decode("a file", file, PictureLimits::default());
        Ask {
            text: text.map(String::from),
            images: vec![Seen::Picture(Arc::new(picture.expect("a picture")))],
            top,
        }
    };
    let asks: Vec<Ask> = files.iter().map(ask).collect();
    model.ask(&asks).expect("answers")
}

/// The first answers.
fn firsts(answers: &[Vec<Answer>]) -> Vec<(String, f64)> {
    let first = |answers: &Vec<Answer>| (answers[0].text.clone(), f64::from(answers[0].score));
    answers.iter().map(first).collect()
}

/// The probability of the statement for each image.
fn matches(images: &Value) -> Vec<f64> {
    let images = images.as_array().expect("images").iter();
    let probability = |image: &Value| image["match"].as_f64().expect("a number");
    images.map(probability).collect()
}

fn matches_of_library(answers: &[Vec<Answer>]) -> Vec<f64> {
    let of_match = |answers: &Vec<Answer>| {
        let found = answers.iter().find(|answer| answer.text == "match");
        f64::from(found.expect("both classes").score)
    };
    answers.iter().map(of_match).collect()
}

fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
}

/// A fresh machine: no flag, the shipped weights, the shipped scenes.
#[test]
fn without_a_flag_scenes_are_described_and_matched_as_by_the_commands_and_the_library() {
    let place = Workplace::new();
    let scenes = sample().join("scenes");
    let pictures = scenes.join("pictures").display().to_string();
    let statement = "two pine trees and a panda";
    let described = document(&place.run(&["caption", &pictures, "--json"]));
    let matched = document(&place.run(&["match", &pictures, statement, "--json"]));
    let captions = best(&described["pictures"], "captions");
    let probabilities = matches(&matched["pictures"]);

    let server = Serving::start(&place, &[]);
    let listed = server.get("/v1/images").json();
    let keys: Vec<&str> = listed["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .flat_map(Value::as_str)
        .collect();
    assert_eq!(keys.len(), 6, "{listed:#}");
    let images: Vec<Value> = keys.iter().map(|key| json!({"key": key})).collect();
    let by_key = server.post("/v1/caption", &json!({"images": images}));
    assert_alike(&best(&by_key.json()["images"], "captions"), &captions);
    let question = json!({"images": images, "text": statement});
    let by_key = server.post("/v1/match", &question).json();
    assert_near(&matches(&by_key["images"]), &probabilities);
    // No weights for questions about scenes, and for finding things in them, are shipped.
    for (path, task) in [("/v1/ask", "vqa"), ("/v1/find", "refer")] {
        let reply = server.post(path, &json!({"key": keys[0], "text": "a panda"}));
        assert_eq!((reply.status, &*reply.kind()), (501, "no_model"), "{path}");
        assert!(
            reply.text().contains(&format!("--task {task}")),
            "{}",
            reply.text()
        );
    }

    let files: Vec<Vec<u8>> = keys
        .iter()
        .map(|key| std::fs::read(scenes.join(format!("pictures/{key}.png"))).expect("a picture"))
        .collect();
    let reader = Arc::new(scene_reader(&scenes).expect("the scenes"));
    let own = |task: &str| scenes.join("weights").join(task);
    let of_captions = of_library(&own("captioning"), reader.clone(), &files, (None, 1));
    assert_alike(&firsts(&of_captions), &captions);
    let of_matches = of_library(&own("matching"), reader, &files, (Some(statement), 2));
    assert_near(&matches_of_library(&of_matches), &probabilities);
}

/// A picture in base64, in a form, by its key, alone and among others.
#[test]
fn drawings_are_described_alike_however_they_are_sent() {
    let (place, keys) = place();
    let described = document(&place.run(&["caption", "pictures", "--json"]));
    let expected = best(&described["pictures"], "captions");

    let server = Serving::drawings(&place, &[]);
    let files: Vec<Value> = keys
        .iter()
        .map(|key| json!({"picture": encoded(&place, key)}))
        .collect();
    let together = server.post("/v1/caption", &json!({"images": files}));
    assert_alike(&best(&together.json()["images"], "captions"), &expected);
    assert_eq!(together.json()["task"], "captioning");
    for (at, key) in keys.iter().enumerate() {
        let alone = &expected[at..=at];
        let one = |reply: Reply| assert_alike(&best(&reply.json()["images"], "captions"), alone);
        one(server.post("/v1/caption", &json!({"picture": encoded(&place, key)})));
        one(server.post("/v1/caption", &json!({"key": key})));
        one(server.form(
            "/v1/caption",
            &[("picture", &file(&place, key)), ("top", b"1")],
        ));
    }
    let url = format!("data:image/png;base64,{}", encoded(&place, &keys[0]));
    let found = server.post("/v1/regions", &json!({"picture": url})).json();
    let objects = &described["pictures"][0]["objects"];
    assert_eq!(
        found["images"][0]["objects"][0]["class"],
        objects[0]["class"]
    );
    assert_eq!(found["images"][0]["objects"][0]["box"], objects[0]["box"]);

    let explained = server.post(
        "/v1/caption",
        &json!({"key": keys[0], "explain": true, "top": 3}),
    );
    let image = &explained.json()["images"][0];
    assert_eq!(image["captions"].as_array().map(Vec::len), Some(3));
    let explanation = &image["explanation"];
    let count = |list: &str| explanation[list].as_array().expect("a list").len();
    assert_eq!(count("attention"), count("tokens") + count("regions"));
    for row in explanation["attention"].as_array().expect("rows") {
        let row = row.as_array().expect("numbers").iter();
        let sum: f64 = row.map(|value| value.as_f64().expect("a number")).sum();
        assert!((sum - 1.0).abs() < 0.02, "{sum}");
    }
}

#[test]
fn questions_and_statements_get_the_answers_of_the_commands_and_the_library() {
    let (place, keys) = place();
    for task in ["vqa", "matching"] {
        finetuned(&place, task);
    }
    let (question, statement) = ("is there a square?", "one black square");
    let command = |name: &str, text: &str, checkpoint: &str, more: &[&str]| {
        let about = [name, "pictures", text, "--checkpoint", checkpoint, "--json"];
        document(&place.run(&[&about[..], more].concat()))
    };
    let asked = command("ask", question, "vqa", &["--top", "2"]);
    let matched = command("match", statement, "matching", &[]);
    let answers = best(&asked["pictures"], "answers");
    let probabilities = matches(&matched["pictures"]);

    let server = Serving::drawings(&place, &["--checkpoint", "vqa", "--checkpoint", "matching"]);
    let images: Vec<Value> = keys
        .iter()
        .map(|key| json!({"picture": encoded(&place, key)}))
        .collect();
    let answered = server.post(
        "/v1/ask",
        &json!({"images": images, "text": question, "top": 2}),
    );
    let answered = answered.json();
    assert_eq!(
        (&answered["model"], &answered["task"]),
        (&json!("vqa"), &json!("vqa"))
    );
    assert_alike(&best(&answered["images"], "answers"), &answers);
    assert_eq!(
        answered["images"][0]["answers"].as_array().map(Vec::len),
        Some(2)
    );
    let scored = json!({"images": images, "text": statement});
    let scored = server.post("/v1/match", &scored).json();
    assert_near(&matches(&scored["images"]), &probabilities);

    let files: Vec<Vec<u8>> = keys.iter().map(|key| file(&place, key)).collect();
    let library = |task: &str, text| {
        let weights = place.path(&format!("runs/{task}/best"));
        of_library(&weights, Arc::new(DrawingReader), &files, (Some(text), 2))
    };
    assert_alike(&firsts(&library("vqa", question)), &answers);
    assert_near(
        &matches_of_library(&library("matching", statement)),
        &probabilities,
    );
}
