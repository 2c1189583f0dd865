//! `oscar-bin serve`: the same answers as the commands and the library, and an answer to every kind of
//! bad request.

mod browser;
mod client;
mod hostile;
mod refused;
mod same;
mod search;
mod stress;

use base64_simd::STANDARD;
use serde_json::{Value, json};

use self::client::Serving;
use super::support::{Workplace, json as document};
use crate::pictures::{finetuned, place};

/// A picture of the sample in base64.
fn encoded(place: &Workplace, key: &str) -> String {
    STANDARD.encode_to_string(file(place, key))
}

fn file(place: &Workplace, key: &str) -> Vec<u8> {
    std::fs::read(place.path("pictures").join(format!("{key}.png"))).expect("a picture")
}

/// The text and the probability of the first answer of each image.
fn best(images: &Value, list: &str) -> Vec<(String, f64)> {
    let images = images.as_array().expect("images").iter();
    let best = images.map(|image| {
        let first = &image[list][0];
        let text = first["text"].as_str().expect("a text").to_string();
        (text, first["probability"].as_f64().expect("a number"))
    });
    best.collect()
}

/// Batches of other sizes add in another order.
fn assert_alike(found: &[(String, f64)], expected: &[(String, f64)]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.0, expected.0);
        assert!(
            (found.1 - expected.1).abs() < 1e-4,
            "{found:?} {expected:?}"
        );
    }
}

/// Stored regions are asked about by key, and another model by its name.
#[test]
fn stored_images_get_the_answers_of_the_command_and_models_are_chosen_by_name() {
    let (place, keys) = place();
    for task in ["vqa", "matching"] {
        finetuned(&place, task);
    }
    let question = "is there a square?";
    let regions = "runs/.sample/dev/regions";
    let store = ["--regions", regions, "--images", "pictures"];
    let both = [
        "--checkpoint",
        "matching",
        "--checkpoint",
        "vqa",
        "--checkpoint",
        "runs/vqa/last",
    ];
    let server = Serving::drawings(&place, &[&store[..], &both[..]].concat());
    let of_store = json!({"key": keys[0], "text": question, "top": 2});
    let stored = server.post("/v1/ask", &of_store).json();
    let asked = [
        "predict",
        "--checkpoint",
        "vqa",
        "--text",
        question,
        "--json",
    ];
    let image = ["--regions", regions, "--image", &keys[0]];
    let expected = document(&place.run(&[&asked[..], &image].concat()));
    let found = stored["images"][0]["answers"][0]["probability"].as_f64();
    let expected = expected["classes"][0]["probability"].as_f64();
    let difference = (found.expect("a number") - expected.expect("a number")).abs();
    assert!(difference < 1e-4, "{found:?} {expected:?}");
    let other = json!({"key": keys[0], "text": question, "model": "vqa-2"});
    assert_eq!(server.post("/v1/ask", &other).json()["model"], "vqa-2");
    let of_matching = json!({"key": keys[0], "text": question, "model": "matching"});
    assert_eq!(server.post("/v1/ask", &of_matching).status, 404);

    let listed = server.get("/v1/models").json();
    let names: Vec<&Value> = listed["models"]
        .as_array()
        .expect("models")
        .iter()
        .map(|m| &m["name"])
        .collect();
    assert_eq!(names, ["matching", "vqa", "vqa-2"]);
    assert!(
        listed["models"][0]["parameters"]
            .as_u64()
            .is_some_and(|count| count > 1000)
    );
    assert_eq!(
        listed["detectors"].as_array().map(Vec::len),
        Some(1),
        "{listed:#}"
    );
    // Nothing of the files of the machine is told.
    assert!(
        !listed
            .to_string()
            .contains(place.path("").to_str().expect("a path")),
        "{listed:#}"
    );
}

#[test]
fn the_page_and_the_pictures_are_served() {
    let (place, keys) = place();
    let server = Serving::drawings(&place, &[]);
    let page = server.get("/");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").expect("a policy");
    for part in [
        "default-src 'none'",
        "script-src 'sha256-",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let html = page.text();
    assert!(!html.contains("/*script*/") && !html.contains("/*style*/"));
    for tag in ["<script src", "@import", "url(", "//cdn"] {
        assert!(!html.contains(tag), "{tag} would load something");
    }

    let listed = server.get("/v1/images?limit=2").json();
    assert_eq!(
        (&listed["total"], &listed["pictures"]),
        (&json!(6), &json!(true))
    );
    assert_eq!(listed["keys"], json!(keys[..2]));
    assert_eq!(
        server.get("/v1/images?offset=5").json()["keys"],
        json!(keys[5..])
    );
    let shown = server.get(&format!("/v1/images/{}/picture", keys[0]));
    assert_eq!(shown.header("content-type"), Some("image/png"));
    let original = image::load_from_memory(&file(&place, &keys[0]))
        .expect("a picture")
        .to_rgb8();
    let shown = image::load_from_memory(&shown.body)
        .expect("a picture")
        .to_rgb8();
    assert_eq!(shown, original);
    let small = server.get(&format!("/v1/images/{}/picture?side=20", keys[0]));
    let small = image::load_from_memory(&small.body).expect("a picture");
    assert_eq!(small.width().max(small.height()), 20);
}

#[test]
fn the_description_names_what_is_there_and_requests_are_counted() {
    let (place, keys) = place();
    let server = Serving::drawings(&place, &[]);
    let described = server.get("/openapi.json").json();
    let paths = described["paths"].as_object().expect("paths");
    for path in ["/v1/caption", "/v1/ask", "/v1/match", "/v1/regions"] {
        let content = &paths[path]["post"]["requestBody"]["content"];
        assert!(content["application/json"].is_object(), "{content:#}");
        assert!(content["multipart/form-data"].is_object(), "{content:#}");
    }
    let of_question = &described["components"]["schemas"]["QuestionDocument"]["properties"];
    let fields: Vec<&String> = of_question.as_object().expect("fields").keys().collect();
    assert_eq!(
        fields,
        [
            "explain", "images", "key", "model", "picture", "rerank", "text", "top"
        ]
    );
    for (path, operations) in paths {
        let path = path.replace("{key}", &keys[0]);
        let status = match operations["get"].is_object() {
            true => server.get(&path).status,
            false => {
                server
                    .post(&path, &json!({"key": keys[0], "text": "a square"}))
                    .status
            }
        };
        assert!(status != 404 && status != 405, "{path} {status}");
    }

    server.post("/v1/caption", &json!({"key": keys[0]}));
    let counters = server.get("/metrics");
    let text = counters.text();
    for line in [
        "oscar_requests_total{endpoint=\"/v1/caption\",status=\"200\"} 1",
        "oscar_waiting_requests 0",
        "oscar_resident_memory_bytes ",
        "oscar_batch_images_count ",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert_eq!(server.get("/health").json()["status"], "ok");
}
