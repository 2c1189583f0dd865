//! Texts and images as vectors, and images found by text: the same over HTTP as by the command.

use serde_json::{Value, json};

#[cfg(unix)]
use super::browser::Browser;
use super::client::Serving;
use super::encoded;
use crate::pictures::{finetuned, place, weights};
use crate::support::{Workplace, assert_fails, json as document, stderr};

const REGIONS: &str = "runs/.sample/dev/regions";

/// A place with weights of search in `runs/search`, fine-tuned on drawings in two steps, and the index
/// `drawings.index` of the sample's held-out drawings.
fn indexed() -> (Workplace, Vec<String>) {
    let (place, keys) = place();
    let mut train = vec!["finetune", "--task", "search", "--name", "search"];
    for set in [
        "data.train.captions=sample:tasks/retrieval-train.jsonl",
        "data.train.regions=sample:train/regions",
        "data.validation.captions=sample:tasks/retrieval-dev.jsonl",
        "data.validation.regions=sample:dev/regions",
        "data.test.captions=sample:tasks/retrieval-dev.jsonl",
        "data.test.regions=sample:dev/regions",
        "encoder.max_regions=12",
        "init.checkpoint=sample:weights",
        "task.projection_dim=16",
        "train.steps=2",
        "train.batch_size=8",
        "train.validate_every=2",
    ] {
        train.extend(["--set", set]);
    }
    let build = ["data", "build", "index", "--regions", REGIONS];
    let more = ["--checkpoint", "search", "--out", "drawings.index"];
    for args in [train, [&build[..], &more].concat()] {
        let output = place.run(&args);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    (place, keys)
}

fn start(place: &Workplace) -> Serving {
    let index = ["--checkpoint", "search", "--index", "drawings.index"];
    Serving::start(place, &[&index[..], &["--regions", REGIONS]].concat())
}

fn vectors(answer: &Value) -> Vec<Vec<f64>> {
    let vectors = answer["vectors"].as_array().expect("vectors").iter();
    let numbers = |vector: &Value| {
        let values = vector.as_array().expect("a vector").iter();
        values
            .map(|value| value.as_f64().expect("a number"))
            .collect()
    };
    vectors.map(numbers).collect()
}

#[test]
fn images_are_found_by_text_as_by_the_command_and_by_their_vectors() {
    let (place, keys) = indexed();
    let text = "two black circles";
    let search = [
        "search",
        text,
        "--index",
        "drawings.index",
        "--checkpoint",
        "search",
    ];
    let expected = document(&place.run(&[&search[..], &["--top", "5", "--json"]].concat()));
    let expected = expected["queries"][0]["found"]
        .as_array()
        .expect("pictures");
    let server = start(&place);
    let listed = server.get("/v1/models").json();
    assert_eq!(listed["models"][0]["task"], "search");
    assert_eq!(listed["models"][0]["endpoint"], "/v1/search");

    let answer = server
        .post("/v1/search", &json!({"text": text, "top": 5}))
        .json();
    let found = answer["found"].as_array().expect("images");
    assert_eq!(found.len(), 5);
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found["key"], expected["picture"]);
        let of = |row: &Value| row["similarity"].as_f64().expect("a number");
        assert!(
            (of(found) - of(expected)).abs() < 1e-4,
            "{found} {expected}"
        );
    }
    let form = server.form("/v1/search", &[("text", text.as_bytes()), ("top", b"5")]);
    assert_eq!(form.json(), answer);
    let most = server.post("/v1/search", &json!({"text": text})).json();
    assert_eq!(most["found"].as_array().map(Vec::len), Some(20));

    // An image is as near to itself as the precision of the index allows, stored or sent.
    for question in [
        json!({"key": keys[0], "top": 100}),
        json!({"picture": encoded(&place, &keys[0]), "top": 100}),
    ] {
        let nearest = server.post("/v1/search", &question).json();
        let nearest = nearest["found"].as_array().expect("images");
        let itself = nearest.iter().find(|found| found["key"] == json!(keys[0]));
        let itself = itself.expect("the image itself")["similarity"].as_f64();
        assert!(itself.is_some_and(|near| near > 0.995), "{itself:?}");
    }

    // What was found has the product of the vectors, up to the precision of the index.
    let of_text = server.post("/v1/embed", &json!({"text": text})).json();
    let of_text = vectors(&of_text);
    let images: Vec<Value> = found
        .iter()
        .map(|found| json!({"key": found["key"]}))
        .collect();
    let of_images = vectors(&server.post("/v1/embed", &json!({"images": images})).json());
    assert_eq!((of_text.len(), of_images.len()), (1, 5));
    for (vector, found) in of_images.iter().zip(found) {
        let product: f64 = vector.iter().zip(&of_text[0]).map(|(a, b)| a * b).sum();
        let similarity = found["similarity"].as_f64().expect("a number");
        assert!(
            (product - similarity).abs() < 2e-3,
            "{product} {similarity}"
        );
    }
}

/// As `start`, beside weights of matching, which re-rank.
fn start_with_reranker(place: &Workplace) -> Serving {
    finetuned(place, "matching");
    let weights = ["--checkpoint", "matching", "--checkpoint", "search"];
    let store = ["--index", "drawings.index", "--regions", REGIONS];
    Serving::start(place, &[&weights[..], &store].concat())
}

#[test]
fn what_is_found_is_re_ranked_as_by_the_command() {
    let (place, keys) = indexed();
    let server = start_with_reranker(&place);
    let listed = server.get("/v1/models").json();
    assert_eq!(listed["models"][0]["reranker"], Value::Null);
    assert_eq!(listed["models"][1]["reranker"], "matching");

    let text = "two black circles";
    let found_by = ["search", text, "--checkpoint", "search", "--json"];
    let stores = ["--index", "drawings.index", "--regions", REGIONS];
    let reranker = ["--reranker", "matching", "--rerank", "8", "--top", "10"];
    let expected = document(&place.run(&[&found_by[..], &stores, &reranker].concat()));
    let expected = expected["queries"][0]["found"].as_array();
    let expected = expected.expect("pictures");
    let asked = json!({"text": text, "top": 10, "rerank": 8});
    let answer = server.post("/v1/search", &asked).json();
    assert_eq!(answer["reranker"], "matching");
    let found = answer["found"].as_array().expect("images");
    assert_eq!(found.len(), 10);
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found["key"], expected["picture"], "{answer:#}");
        let score = |row: &Value| row["match_score"].as_f64();
        match (score(found), score(expected)) {
            (Some(found), Some(expected)) => assert!((found - expected).abs() < 1e-3),
            (found, expected) => assert!(at >= 8 && found.is_none() && expected.is_none()),
        }
    }
    let scores: Vec<f64> = found
        .iter()
        .filter_map(|found| found["match_score"].as_f64())
        .collect();
    assert_eq!(scores.len(), 8);
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");

    // The best of more than are wanted, and the same from a form.
    let best = json!({"text": text, "top": 3, "rerank": 8});
    let best = server.post("/v1/search", &best).json();
    assert_eq!(best["found"].as_array().map(Vec::len), Some(3));
    assert_eq!(best["found"][0]["key"], found[0]["key"]);
    let fields: [(&str, &[u8]); 3] = [("text", text.as_bytes()), ("top", b"3"), ("rerank", b"8")];
    let of_form = server.form("/v1/search", &fields).json();
    assert_eq!(of_form["found"][0]["key"], best["found"][0]["key"]);
    let plain = server.post("/v1/search", &json!({"text": text})).json();
    assert!(plain.get("reranker").is_none(), "{plain:#}");
    assert!(plain["found"][0].get("match_score").is_none(), "{plain:#}");

    for (path, status, question) in [
        ("/v1/search", 400, json!({"key": keys[0], "rerank": 8})),
        ("/v1/search", 400, json!({"text": "a", "rerank": "8"})),
        ("/v1/search", 400, json!({"text": "a", "rerank": -1})),
        ("/v1/search", 422, json!({"text": "a", "rerank": 0})),
        ("/v1/search", 422, json!({"text": "a", "rerank": 101})),
        ("/v1/embed", 400, json!({"text": "a", "rerank": 8})),
        (
            "/v1/match",
            400,
            json!({"key": keys[0], "text": "a", "rerank": 8}),
        ),
    ] {
        let reply = server.post(path, &question);
        assert_eq!(reply.status, status, "{path} {question} {}", reply.text());
    }
    let wrong = server.form("/v1/search", &[("text", b"a"), ("rerank", b"many")]);
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("rerank is"), "{}", wrong.text());
}

#[test]
fn what_cannot_be_searched_or_embedded_is_refused() {
    let (place, keys) = indexed();
    let server = start(&place);
    for (path, status, question) in [
        ("/v1/search", 400, json!({})),
        ("/v1/search", 400, json!({"text": " "})),
        ("/v1/search", 400, json!({"text": "a", "key": keys[0]})),
        (
            "/v1/search",
            400,
            json!({"images": [{"key": keys[0]}, {"key": keys[1]}]}),
        ),
        ("/v1/search", 400, json!({"text": "a", "explain": true})),
        ("/v1/search", 404, json!({"text": "a", "model": "other"})),
        ("/v1/search", 404, json!({"key": "nobody"})),
        ("/v1/search", 422, json!({"text": "a", "top": 1000})),
        ("/v1/search", 501, json!({"text": "a", "rerank": 8})),
        ("/v1/search", 422, json!({"picture": "aGVsbG8="})),
        ("/v1/embed", 400, json!({})),
        ("/v1/embed", 400, json!({"text": "a", "key": keys[0]})),
        ("/v1/caption", 501, json!({"key": keys[0]})),
    ] {
        let reply = server.post(path, &question);
        assert_eq!(reply.status, status, "{path} {question} {}", reply.text());
    }
    let found = server
        .post("/v1/search", &json!({"text": "a circle"}))
        .json();
    assert_eq!(found["found"].as_array().map(Vec::len), Some(20));

    // Without an index texts are embedded alone.
    let alone = ["--checkpoint", "search", "--images", "pictures"];
    let without = Serving::start(&place, &alone);
    assert_eq!(without.post("/v1/embed", &json!({"text": "a"})).status, 200);
    let reply = without.post("/v1/search", &json!({"text": "a"}));
    assert_eq!(reply.status, 501);
    assert!(reply.text().contains("--index"), "{}", reply.text());

    // An index of other images, and one without weights.
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--index",
        "drawings.index",
    ];
    let other = [
        "--checkpoint",
        "search",
        "--regions",
        "runs/.sample/train/regions",
    ];
    assert_fails(
        &place.run(&[&serve[..], &other].concat()),
        &["drawings.index"],
    );
    let captioner = weights("captioning");
    let no_weights = ["--checkpoint", &captioner, "--regions", REGIONS];
    assert_fails(
        &place.run(&[&serve[..], &no_weights].concat()),
        &["--checkpoint"],
    );
}

#[cfg(unix)]
#[test]
#[ignore = "needs Chromium, named by OSCAR_CHROMIUM"]
fn what_is_found_is_shown_in_a_browser_and_taken() {
    let (place, _) = indexed();
    let server = start(&place);
    let origin = format!("http://{}/", server.address);
    let mut page = Browser::open(&origin);
    page.wait("document.querySelectorAll('#gallery button').length > 10");
    page.value("document.querySelector('#search select').value = '12'");
    page.submit("#query", "two black circles");
    page.wait("document.querySelectorAll('#found button').length === 12");
    page.picture("search", (1200, 900), false);
    page.picture("search-phone", (390, 844), true);
    page.focus("#found button:nth-child(2)");
    page.press("Enter");
    page.wait("document.querySelector('#found button:nth-child(2)').getAttribute('aria-pressed') === 'true'");
    page.wait("document.querySelectorAll('#marks .box').length > 0");
    page.assert_clean(&origin);
    // Nothing here re-ranks.
    assert_eq!(
        page.value("document.querySelector('#search').rerank.hidden"),
        json!(true)
    );
}

#[cfg(unix)]
#[test]
#[ignore = "needs Chromium, named by OSCAR_CHROMIUM"]
fn what_is_found_is_re_ranked_in_a_browser() {
    let (place, _) = indexed();
    let server = start_with_reranker(&place);
    let origin = format!("http://{}/", server.address);
    let mut page = Browser::open(&origin);
    page.wait("document.querySelectorAll('#gallery button').length > 10");
    page.wait("!document.querySelector('#search').rerank.hidden");
    page.value("document.querySelector('#search').rerank.value = '20'");
    page.submit("#query", "two black circles");
    page.wait("document.querySelectorAll('#found button').length === 12");
    page.wait("document.querySelector('#status').textContent.includes('matching')");
    page.picture("search-rerank", (1200, 900), false);
    page.picture("search-rerank-phone", (390, 844), true);
    page.assert_clean(&origin);
}
