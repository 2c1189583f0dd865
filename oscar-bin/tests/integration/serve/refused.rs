//! Every kind of bad request gets its status, and the server still serves afterwards.

use rstest::rstest;
use serde_json::json;

use super::client::{Reply, Serving};
use super::{encoded, place};
use crate::support::{Workplace, assert_fails};

pub const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A caption is still given.
pub fn assert_serves(server: &Serving, key: &str) {
    let caption = server.post("/v1/caption", &json!({"key": key})).json();
    assert!(
        caption["images"][0]["captions"][0]["text"].is_string(),
        "{caption:#}"
    );
}

/// A server whose limits are small.
fn limited(place: &Workplace) -> Serving {
    let limits = ["--max-body", "1", "--max-text", "50", "--max-images", "3"];
    Serving::drawings(place, &limits)
}

#[test]
fn what_is_not_a_question_is_malformed() {
    let (place, keys) = place();
    let server = limited(&place);
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(90_000), close.repeat(90_000));
        format!("{{\"images\": {open}{close}}}")
    };
    let (lists, maps) = (deep("[", "]"), deep("{\"a\":", "}"));
    for wrong in [
        "",
        "{",
        "[]",
        "[null, \"a\"]",
        "{}",
        "null",
        "{\"key\": 3}",
        "{\"key\": \"a\", \"key\": \"a\"}",
        "{\"key\": \"a\", \"top\": 1e400}",
        "{\"key\": \"a\", \"top\": 99999999999999999999999}",
        "{\"key\": \"a\", \"top\": -1}",
        "{\"key\": \"a\", \"top\": 1.5}",
        "{\"key\": \"a\", \"top\": NaN}",
        "{\"key\": \"\\ud800\"}",
        "{\"key\": \"a\"} {}",
        "{\"kee\": \"a\"}",
        "{\"images\": []}",
        "{\"images\": [{\"path\": \"/etc/passwd\"}]}",
        "{\"picture\": \"no base64!\"}",
        "{\"picture\": \"data:image/png,abc\"}",
        "{\"key\": \"a\", \"text\": \"a caption takes none\"}",
        &lists,
        &maps,
    ] {
        let reply = server.post_text("/v1/caption", wrong);
        let excerpt = &wrong[..wrong.len().min(60)];
        let found = (reply.status, &*reply.kind());
        assert_eq!(found, (400, "malformed"), "{excerpt} {}", reply.text());
    }
    let bytes = server.send("POST /v1/caption", &[JSON], b"{\"key\": \"\xff\xfe\"}");
    assert_eq!((bytes.status, &*bytes.kind()), (400, "malformed"));
    let explained = server.post("/v1/regions", &json!({"key": keys[0], "explain": true}));
    assert_eq!(explained.status, 400);
    assert_serves(&server, &keys[0]);
}

#[test]
fn questions_that_cannot_be_answered_are_refused_with_their_status() {
    let (place, keys) = place();
    let server = limited(&place);
    let key = &*keys[0];
    let whole = encoded(&place, key);
    let half = &whole[..whole.len() / 8 * 4];
    let four = vec![json!({"key": key}); 4];
    for (status, kind, question) in [
        (404, "unknown", json!({"key": "nobody"})),
        (404, "unknown", json!({"key": "../../../../etc/passwd"})),
        (404, "unknown", json!({"key": key, "model": "none"})),
        (422, "question", json!({"key": key, "top": 0})),
        (422, "question", json!({"key": "k".repeat(600)})),
        (422, "question", json!({"images": four})),
        (422, "question", json!({"key": key, "text": "t".repeat(51)})),
        (422, "picture", json!({"picture": ""})),
        (422, "picture", json!({"picture": "aGVsbG8="})),
        (422, "picture", json!({"picture": half})),
        (
            422,
            "picture",
            json!({"images": [{"picture": half}, {"key": key}]}),
        ),
    ] {
        let reply = server.post("/v1/caption", &question);
        let found = (reply.status, &*reply.kind());
        assert_eq!(found, (status, kind), "{}", reply.text());
    }
    for (path, named) in [
        ("/v1/ask", "vqa"),
        ("/v1/match", "matching"),
        ("/v1/find", "refer"),
        ("/v1/search", "search"),
        ("/v1/embed", "search"),
    ] {
        let reply = server.post(path, &json!({"key": key, "text": "a"}));
        assert_eq!((reply.status, &*reply.kind()), (501, "no_model"), "{path}");
        assert!(reply.text().contains(named), "{}", reply.text());
    }
    assert_serves(&server, key);
}

#[test]
fn wrong_addresses_methods_and_forms_are_refused_with_their_status() {
    let (place, keys) = place();
    let server = limited(&place);
    let key = &*keys[0];
    let status = |status: u16, reply: Reply| assert_eq!(reply.status, status, "{}", reply.text());
    status(404, server.get("/v1/nothing"));
    status(404, server.get("/../../etc/passwd"));
    for outside in [
        "..%2F..%2Fetc%2Fpasswd",
        "%2e%2e%2fetc",
        "..%5C..",
        "%252e%252e%252f",
        "%00",
        "%",
    ] {
        let reply = server.get(&format!("/v1/images/{outside}/picture"));
        assert_eq!(
            (reply.status, &*reply.kind()),
            (404, "unknown"),
            "{outside}"
        );
    }
    let not_utf8 = server.get("/v1/images/%ff/picture");
    assert_eq!((not_utf8.status, &*not_utf8.kind()), (400, "malformed"));
    status(400, server.get("/v1/images?limit=many"));
    status(405, server.get("/v1/caption"));
    status(405, server.send("DELETE /v1/models", &[], b""));
    let plain = [("Content-Type", "text/plain")];
    status(415, server.send("POST /v1/caption", &plain, b"{}"));
    status(415, server.send("POST /v1/caption", &[], b"{}"));
    let compressed = [JSON, ("Content-Encoding", "gzip")];
    status(415, server.send("POST /v1/caption", &compressed, b"{}"));
    for head in ["HEAD /", "HEAD /v1/models"] {
        let reply = server.send(head, &[], b"");
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{head}");
    }
    for other in [
        "HEAD /v1/caption",
        "OPTIONS /v1/caption",
        "TRACE /",
        "FOO /v1/caption",
    ] {
        let reply = server.send(other, &[], b"");
        assert_eq!(reply.status, 405, "{other}");
        assert!(reply.header("allow").is_some(), "{other}");
    }
    status(404, server.send("OPTIONS *", &[], b""));
    assert_serves(&server, key);
}

#[test]
fn forms_that_are_not_questions_are_malformed() {
    let (place, keys) = place();
    let server = limited(&place);
    let key = keys[0].as_bytes();
    let wrong: [&[(&str, &[u8])]; 7] = [
        &[("path", b"/etc/passwd")],
        &[("", key)],
        &[("key", b"\xff\xfe")],
        &[("key", key), ("top", b"many")],
        &[("key", key), ("top", b"1"), ("top", b"2")],
        &[("key", key), ("explain", b"maybe")],
        &[],
    ];
    for fields in wrong {
        let reply = server.form("/v1/caption", fields);
        let found = (reply.status, &*reply.kind());
        assert_eq!(found, (400, "malformed"), "{fields:?} {}", reply.text());
    }
    let form = |kind: &str, body: &[u8]| {
        let reply = server.send("POST /v1/caption", &[("Content-Type", kind)], body);
        assert_eq!((reply.status, &*reply.kind()), (400, "malformed"), "{kind}");
    };
    let of_cut = "multipart/form-data; boundary=cut";
    form("multipart/form-data", b"--a");
    form(of_cut, b"");
    form(
        of_cut,
        b"--cut\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\ndev",
    );
    form(
        of_cut,
        b"--cut\r\nContent-Disposition: form-data\r\n\r\ndev\r\n--cut--\r\n",
    );
    assert_serves(&server, &keys[0]);
}

#[test]
fn other_names_and_origins_are_refused_unless_they_are_allowed() {
    let (place, keys) = place();
    let allowed = [
        "--allow-host",
        "box.lan",
        "--allow-origin",
        "https://app.example",
    ];
    let server = Serving::drawings(&place, &allowed);
    let of_host = |host: &str| server.send("GET /v1/models", &[("Host", host)], b"").status;
    assert_eq!(
        ["localhost", "127.0.0.1:99", "box.lan"].map(of_host),
        [200; 3]
    );
    assert_eq!(
        ["evil.example", "127.0.0.1.evil.example", ""].map(of_host),
        [403; 3]
    );
    let by_target = server.send("GET http://evil.example/v1/models", &[], b"");
    assert_eq!(by_target.status, 403);
    let two = [("Host", "localhost"), ("Host", "evil.example")];
    assert_eq!(server.send("GET /v1/models", &two, b"").status, 400);
    assert_eq!(
        server.send("CONNECT evil.example:443", &[], b"").status,
        403
    );
    // Without a name, as HTTP/1.0 allows.
    assert_eq!(server.raw(b"GET /v1/models HTTP/1.0\r\n\r\n").status, 403);

    let body = json!({"key": keys[0]}).to_string();
    let from = |origin: &str| {
        server.send(
            "POST /v1/caption",
            &[JSON, ("Origin", origin)],
            body.as_bytes(),
        )
    };
    let own = format!("http://{}", server.address);
    assert_eq!(from(&own).status, 200);
    assert_eq!(from(&own).header("access-control-allow-origin"), None);
    assert_eq!(from("https://evil.example").status, 403);
    assert_eq!(from("null").status, 403);
    let other = from("https://app.example");
    assert_eq!(other.status, 200);
    assert_eq!(
        other.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    let preflight = server.send(
        "OPTIONS /v1/caption",
        &[("Origin", "https://app.example")],
        b"",
    );
    assert_eq!(preflight.status, 204);
    let allowed = preflight
        .header("access-control-allow-headers")
        .expect("headers");
    assert!(allowed.contains("content-type"), "{allowed}");
}

#[test]
fn a_token_is_asked_for_and_beyond_this_machine_one_is_needed() {
    let (place, keys) = place();
    let mut program = place.program();
    let server = Serving::start_with(program.env("OSCAR_TOKEN", "the secret"), "0.0.0.0:0");
    let with = |path: &str, token: &str| {
        let token = format!("Bearer {token}");
        server
            .send(&format!("GET {path}"), &[("Authorization", &token)], b"")
            .status
    };
    for path in [
        "/v1/models",
        "/v1/images",
        "/metrics",
        "/openapi.json",
        "/v1/nothing",
    ] {
        let reply = server.get(path);
        assert_eq!(
            (reply.status, &*reply.kind()),
            (401, "unauthorized"),
            "{path}"
        );
        assert_eq!(with(path, "the secre"), 401);
        assert_ne!(with(path, "the secret"), 401);
    }
    assert_eq!(server.get("/").status, 200);
    assert_eq!(server.get("/health").status, 200);
    let refused = server.post("/v1/caption", &json!({"key": keys[0]}));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));

    let open = ["serve", "--listen", "0.0.0.0:0"];
    assert_fails(&place.run(&open), &["--token", "--insecure"]);
    let insecure = Serving::start_with(place.program().arg("--insecure"), "0.0.0.0:0");
    assert_eq!(insecure.get("/v1/models").status, 200);
    // A port that is in use.
    let taken = server.address.to_string();
    assert_fails(&place.run(&["serve", "--listen", &taken]), &[&taken]);
}

#[rstest]
#[case::weights(&["--checkpoint", "nowhere"], &["nowhere"])]
#[case::task(&["--checkpoint", "published"], &["published", "TASK="])]
#[case::store(&["--regions", "nowhere"], &["nowhere"])]
#[case::pictures(&["--images", "nowhere"], &["nowhere"])]
#[case::detector(&["--detector", "nowhere"], &["nowhere", "drawing"])]
#[case::origin(&["--allow-origin", "app.example"], &["app.example", "--allow-origin"])]
fn what_cannot_be_opened_is_named(#[case] args: &[&str], #[case] named: &[&str]) {
    let place = Workplace::new();
    std::fs::create_dir(place.path("published")).expect("a folder");
    assert_fails(
        &place.run(&[&["serve", "--listen", "127.0.0.1:0"], args].concat()),
        named,
    );
}
