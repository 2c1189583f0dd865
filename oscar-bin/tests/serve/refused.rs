//! Every kind of bad request gets its status, and the server still serves afterwards.

use std::io::{Cursor, Write};
use std::net::Shutdown;
use std::time::Duration;

use image::ImageFormat;
use rstest::rstest;
use serde_json::json;

use super::client::{Reply, Serving};
use super::{encoded, place};
use crate::support::{Workplace, assert_fails};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A caption is still given.
fn assert_serves(server: &Serving, key: &str) {
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
        "{}",
        "null",
        "{\"key\": 3}",
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
        (422, "picture", json!({"picture": bomb()})),
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
        ("/v1/search", ""),
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
    status(404, server.get("/v1/images/..%2F..%2Fetc%2Fpasswd/picture"));
    status(400, server.get("/v1/images?limit=many"));
    status(405, server.get("/v1/caption"));
    status(405, server.send("DELETE /v1/models", &[], b""));
    let plain = [("Content-Type", "text/plain")];
    status(415, server.send("POST /v1/caption", &plain, b"{}"));
    status(415, server.send("POST /v1/caption", &[], b"{}"));
    status(400, server.form("/v1/caption", &[("path", b"/etc/passwd")]));
    status(
        400,
        server.form("/v1/caption", &[("key", key.as_bytes()), ("top", b"many")]),
    );
    let no_boundary = [("Content-Type", "multipart/form-data")];
    status(400, server.send("POST /v1/caption", &no_boundary, b"--a"));
    assert_serves(&server, key);
}

/// A picture of 120 kB that describes 900 million pixels.
fn bomb() -> String {
    let mut bytes = Cursor::new(Vec::new());
    let small = image::GrayImage::new(8, 8);
    small
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("a picture");
    let mut bytes = bytes.into_inner();
    // Width and height in the header, whose checksum has to follow.
    bytes[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    let checksum = crc32(&bytes[12..29]).to_be_bytes();
    bytes[29..33].copy_from_slice(&checksum);
    base64_simd::STANDARD.encode_to_string(bytes)
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (0_u32.wrapping_sub(crc & 1)));
        }
    }
    !crc
}

#[test]
fn connections_that_are_slow_cut_off_or_too_many_do_not_stop_the_server() {
    let (place, keys) = place();
    let limits = [
        "--max-body",
        "1",
        "--client-timeout",
        "1",
        "--max-connections",
        "8",
    ];
    let server = Serving::drawings(&place, &limits);
    let key = &*keys[0];
    let head = |length: &str| {
        format!(
            "POST /v1/caption HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{length}\r\n\r\n",
            server.address
        )
    };
    // 300 MB are refused before they are sent.
    let large = server.raw(head("Content-Length: 300000000").as_bytes());
    assert_eq!((large.status, &*large.kind()), (413, "too_large"));
    // So are those that are not announced, once they are too many.
    let mut chunked = head("Transfer-Encoding: chunked").into_bytes();
    let chunk = [&b"40000\r\n"[..], &[b' '; 0x40000], b"\r\n"].concat();
    for _ in 0..5 {
        chunked.extend_from_slice(&chunk);
    }
    assert_eq!(server.raw(&chunked).status, 413);
    // A body that stops in the middle, and one that is cut off.
    let mut slow = head("Content-Length: 100").into_bytes();
    slow.extend_from_slice(b"{\"key\": ");
    let reply = server.raw(&slow);
    assert_eq!((reply.status, &*reply.kind()), (408, "slow_client"));
    let mut stream = server.connect();
    stream.write_all(&slow).expect("half a body");
    stream.shutdown(Shutdown::Write).expect("the end");
    assert!([0, 400].contains(&Reply::read(stream).status));
    // A header that stops in the middle, and none at all: the connection is closed.
    assert_eq!(server.raw(b"GET /health HTTP/1.1\r\nHost: loc").status, 0);
    assert_eq!(server.raw(b"").status, 0);
    assert_eq!(server.raw(b"\x16\x03\x01 not HTTP\r\n\r\n").status, 400);
    let long = server.send("GET /health", &[("X-Long", &"a".repeat(20_000))], b"");
    assert_eq!(long.status, 431);
    let fields: Vec<(String, &str)> = (0..100).map(|at| (format!("X-{at}"), "a")).collect();
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (&**name, *value))
        .collect();
    assert_eq!(server.send("GET /health", &fields, b"").status, 431);
    assert_serves(&server, key);

    // Connections beyond the limit are told so at once; idle ones are closed after a while.
    let idle: Vec<_> = (0..8).map(|_| server.connect()).collect();
    let refused = (0..50).find(|_| {
        let status = server.get("/health").status;
        std::thread::sleep(Duration::from_millis(10));
        status == 503 || status == 0
    });
    assert!(refused.is_some());
    let closed: Vec<u16> = idle
        .into_iter()
        .map(|stream| Reply::read(stream).status)
        .collect();
    // Those that came while earlier ones were not yet closed were refused themselves.
    assert!(
        closed.iter().all(|status| [0, 503].contains(status)),
        "{closed:?}"
    );
    assert_serves(&server, key);
    assert!(server.counter("oscar_refused_connections_total") >= 1.0);
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
