//! Clients that mean harm: pictures that are bombs, connections that are slow, cut off, too many or
//! not HTTP. Each gets its status, or is cut off, and the server still serves.

use std::io::{Cursor, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use base64_simd::STANDARD;
use image::{GrayImage, ImageFormat};
use serde_json::json;

use super::client::{Reply, Serving};
use super::place;
use super::refused::{JSON, assert_serves};

/// A small picture.
fn small(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = image::DynamicImage::from(GrayImage::new(8, 8)).to_rgb8();
    picture.write_to(&mut bytes, format).expect("a picture");
    bytes.into_inner()
}

/// Small files that describe 900 million pixels.
fn bombs() -> [(&'static str, Vec<u8>); 4] {
    const SIDE: u16 = 30_000;
    let mut png = small(ImageFormat::Png);
    // Width and height in the header, whose checksum has to follow.
    png[16..20].copy_from_slice(&u32::from(SIDE).to_be_bytes());
    png[20..24].copy_from_slice(&u32::from(SIDE).to_be_bytes());
    let checksum = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&checksum);

    let mut gif = small(ImageFormat::Gif);
    gif[6..8].copy_from_slice(&SIDE.to_le_bytes());
    gif[8..10].copy_from_slice(&SIDE.to_le_bytes());

    let mut jpeg = small(ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|two| two == [0xff, 0xc0]);
    let frame = frame.expect("the header of a baseline frame");
    jpeg[frame + 5..frame + 7].copy_from_slice(&SIDE.to_be_bytes());
    jpeg[frame + 7..frame + 9].copy_from_slice(&SIDE.to_be_bytes());

    // The header of the extended format before the small picture.
    let picture = small(ImageFormat::WebP);
    let side = &u32::from(SIDE - 1).to_le_bytes()[..3];
    let extended = [&b"VP8X\x0a\0\0\0\0\0\0\0"[..], side, side, &picture[12..]].concat();
    let length = u32::try_from(4 + extended.len()).expect("a small file");
    let webp = [b"RIFF", &length.to_le_bytes()[..], b"WEBP", &extended].concat();
    [("PNG", png), ("GIF", gif), ("JPEG", jpeg), ("WebP", webp)]
}

/// A GIF of 60 kB with 4000 frames of a million pixels.
fn frames() -> Vec<u8> {
    let mut bytes = b"GIF89a\xe8\x03\xe8\x03\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    for _ in 0..4000 {
        bytes.extend(b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0");
    }
    bytes.push(b';');
    bytes
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
fn pictures_that_grow_when_they_are_decoded_are_refused_by_their_headers() {
    let (place, keys) = place();
    let server = Serving::drawings(&place, &[]);
    assert_serves(&server, &keys[0]);
    let before = server.counter("oscar_resident_memory_bytes");
    let post = |file: &[u8]| {
        let question = json!({"picture": STANDARD.encode_to_string(file)});
        server.post("/v1/caption", &question)
    };
    for (format, bomb) in bombs() {
        let reply = post(&bomb);
        let found = (reply.status, &*reply.kind());
        assert_eq!(found, (422, "picture"), "{format} {}", reply.text());
        assert!(reply.text().contains("30000"), "{format} {}", reply.text());
    }
    // All frames would take 12 GB; the first one shows nothing that the detector knows.
    let reply = post(&frames());
    assert_eq!((reply.status, &*reply.kind()), (422, "picture"));
    let taken = server.counter("oscar_resident_memory_bytes") - before;
    assert!(taken < 5e8, "{taken}");
    assert_serves(&server, &keys[0]);
}

/// A server whose limits are small, and the head of a request to it.
fn limited(place: &crate::support::Workplace) -> (Serving, impl Fn(&str) -> Vec<u8>) {
    let limits = ["--max-body", "1", "--client-timeout", "1"];
    let server = Serving::drawings(place, &limits);
    let address = server.address;
    let head = move |more: &str| {
        format!(
            "POST /v1/caption HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             {more}\r\n\r\n"
        )
        .into_bytes()
    };
    (server, head)
}

#[test]
fn bodies_and_headers_that_are_too_large_or_cut_off_get_their_status() {
    let (place, keys) = place();
    let (server, head) = limited(&place);
    // 300 MB are refused before they are sent, whether or not the client waits for that.
    for more in ["", "Expect: 100-continue\r\n"] {
        let large = server.raw(&head(&format!("{more}Content-Length: 300000000")));
        assert_eq!((large.status, &*large.kind()), (413, "too_large"));
    }
    // So are those that are not announced, once they are too many.
    let mut chunked = head("Transfer-Encoding: chunked");
    let chunk = [&b"40000\r\n"[..], &[b' '; 0x40000], b"\r\n"].concat();
    for _ in 0..5 {
        chunked.extend_from_slice(&chunk);
    }
    assert_eq!(server.raw(&chunked).status, 413);
    let cut = [head("Content-Length: 100"), b"{\"key\": ".to_vec()].concat();
    let mut stream = server.connect();
    stream.write_all(&cut).expect("half a body");
    stream.shutdown(Shutdown::Write).expect("the end");
    assert!([0, 400].contains(&Reply::read(stream).status));

    for length in [20_000, 1 << 20] {
        let long = server.send("GET /health", &[("X-Long", &"a".repeat(length))], b"");
        assert_eq!(long.status, 431, "{length}");
    }
    let names: Vec<String> = (0..100).map(|at| format!("X-{at}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "a")).collect();
    assert_eq!(server.send("GET /health", &fields, b"").status, 431);
    let address = format!("GET /{}", "a".repeat(100_000));
    assert_eq!(server.send(&address, &[], b"").status, 431);
    assert_serves(&server, &keys[0]);
}

/// Sends a byte now and then until the server has closed the connection.
fn drip(mut stream: &std::net::TcpStream) -> bool {
    (0..400).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(b"a").is_err()
    })
}

#[test]
fn clients_that_send_or_read_slowly_are_cut_off() {
    let (place, keys) = place();
    let (server, head) = limited(&place);
    // A header that stops in the middle, none at all, and one that takes forever.
    assert_eq!(server.raw(b"GET /health HTTP/1.1\r\nHost: loc").status, 0);
    assert_eq!(server.raw(b"").status, 0);
    let mut stream = server.connect();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nX-A: ")
        .expect("a beginning");
    assert!(drip(&stream), "the header may take any time");
    // The same of a body.
    let stopped = [head("Content-Length: 100"), b"{\"key\": ".to_vec()].concat();
    let reply = server.raw(&stopped);
    assert_eq!((reply.status, &*reply.kind()), (408, "slow_client"));
    let mut stream = server.connect();
    stream
        .write_all(&head("Content-Length: 100000"))
        .expect("a header");
    let reading = stream.try_clone().expect("the same connection");
    let reply = std::thread::spawn(move || Reply::read(reading));
    assert!(drip(&stream), "the body may take any time");
    assert_eq!(reply.join().expect("a reply").status, 408);

    // 75 MB of answers that nobody takes.
    let mut stream = server.connect();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream
        .write_all(request.repeat(3000).as_bytes())
        .expect("requests");
    let closed = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        server.counter("oscar_connections") <= 1.0
    });
    assert!(closed, "the answers may take any time");
    let mut taken = Vec::new();
    let _ = stream.read_to_end(&mut taken);
    let answers = String::from_utf8_lossy(&taken)
        .matches("HTTP/1.1 200")
        .count();
    assert!((1..3000).contains(&answers), "{answers}");
    assert_serves(&server, &keys[0]);
}

#[test]
fn what_is_not_quite_http_is_refused_and_what_is_odd_is_answered() {
    let (place, keys) = place();
    let (server, head) = limited(&place);
    let host = format!("Host: {}\r\n", server.address);
    for wrong in [
        "\x16\x03\x01 not HTTP\r\n\r\n".to_string(),
        format!("GET /health HTTP/2.0\r\n{host}\r\n"),
        format!("GET /health HTTP/1.1\r\n{host}X-A: a\0b\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\n{host}X-A : a\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\n{host}X-A: a\r\n b\r\n\r\n"),
    ] {
        assert_eq!(server.raw(wrong.as_bytes()).status, 400, "{wrong:?}");
    }
    for length in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: gzip",
    ] {
        let request = [head(length), b"{}".to_vec()].concat();
        assert_eq!(server.raw(&request).status, 400, "{length}");
    }
    let not_chunks = [
        head("Transfer-Encoding: chunked"),
        b"zz\r\n{}\r\n0\r\n\r\n".to_vec(),
    ];
    assert_eq!(server.raw(&not_chunks.concat()).status, 400);

    // Of two lengths of a body the chunks count, in whichever order they are named.
    let question = json!({"key": keys[0]}).to_string();
    let chunks = format!("{:x}\r\n{question}\r\n0\r\n\r\n", question.len());
    for both in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
    ] {
        let close = format!("{both}\r\nConnection: close");
        let request = [head(&close), chunks.clone().into_bytes()].concat();
        assert_eq!(server.raw(&request).status, 200, "{both}");
    }
    let length = format!("Content-Length: {}\r\nConnection: close", question.len());
    let waits = [
        head(&format!("Expect: 100-continue\r\n{length}")),
        question.into_bytes(),
    ]
    .concat();
    let reply = server.raw(&waits);
    assert_eq!(reply.status, 100);
    assert!(reply.text().starts_with("HTTP/1.1 200"), "{}", reply.text());
    let old = format!("GET /health HTTP/1.0\r\n{host}\r\n");
    assert_eq!(server.raw(old.as_bytes()).status, 200);

    // Requests that do not wait for the answers before them.
    let one = |more: &str| format!("GET /health HTTP/1.1\r\n{host}{more}\r\n");
    let three = [one(""), one(""), one("Connection: close\r\n")].concat();
    let reply = server.raw(three.as_bytes());
    assert_eq!(reply.text().matches("HTTP/1.1 200").count(), 2);
    assert_serves(&server, &keys[0]);
}

#[test]
fn ten_thousand_connections_beyond_the_limit_are_refused() {
    const HELD: usize = 64;
    const CLIENTS: usize = 16;
    const EACH: usize = 10_000 / CLIENTS;
    let (place, keys) = place();
    let limit = HELD.to_string();
    let limits = ["--max-connections", &limit, "--client-timeout", "100"];
    let server = Serving::drawings(&place, &limits);
    let held: Vec<_> = (0..HELD).map(|_| server.connect()).collect();
    let refused: usize = std::thread::scope(|scope| {
        let client = || {
            let statuses = (0..EACH).map(|_| Reply::read(server.connect()).status);
            statuses.filter(|status| *status == 503).count()
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let counts = clients.into_iter().map(|client| client.join());
        counts.map(|count| count.expect("a count")).sum()
    });
    assert_eq!(refused, CLIENTS * EACH);
    drop(held);
    let free = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        server.get("/health").status == 200
    });
    assert!(free);
    assert_serves(&server, &keys[0]);
    let counted = server.counter("oscar_refused_connections_total");
    assert!(counted >= (CLIENTS * EACH) as f64, "{counted}");
}

#[test]
fn idle_connections_are_closed_and_free_their_place() {
    let (place, keys) = place();
    let limits = ["--max-connections", "8", "--client-timeout", "1"];
    let server = Serving::drawings(&place, &limits);
    let idle: Vec<_> = (0..8).map(|_| server.connect()).collect();
    let closed = idle.into_iter().map(|stream| Reply::read(stream).status);
    assert!(closed.into_iter().all(|status| status == 0));
    assert_serves(&server, &keys[0]);
    let body = json!({"key": keys[0]}).to_string();
    let asked = server.send("POST /v1/caption", &[JSON], body.as_bytes());
    assert_eq!(asked.status, 200);
}
