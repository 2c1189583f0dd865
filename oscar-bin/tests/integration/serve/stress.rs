//! Many clients at once, clients that leave, and a server that is stopped.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Reply, Serving};
use super::{best, place};

/// A request that takes the model a while.
fn long(keys: &[String]) -> Value {
    let images: Vec<Value> = keys
        .iter()
        .cycle()
        .take(8)
        .map(|key| json!({"key": key}))
        .collect();
    json!({"images": images, "explain": true, "top": 5})
}

/// The statuses that so many clients get at once.
fn at_once(server: &Serving, clients: usize, question: &Value) -> Vec<u16> {
    std::thread::scope(|scope| {
        let ask = || server.post("/v1/caption", question).status;
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        let statuses = clients
            .into_iter()
            .map(|client| client.join().expect("a status"));
        statuses.collect()
    })
}

#[test]
fn batches_give_the_answers_that_single_requests_get() {
    let (place, keys) = place();
    let captions = |batch: &str| {
        let server = Serving::drawings(&place, &["--max-batch", batch]);
        let captions: Vec<_> = std::thread::scope(|scope| {
            let server = &server;
            let clients: Vec<_> = (0..24)
                .map(|client| {
                    let question = json!({"key": keys[client % keys.len()]});
                    scope.spawn(move || server.post("/v1/caption", &question).json())
                })
                .collect();
            let answers = clients
                .into_iter()
                .map(|client| client.join().expect("an answer"));
            answers
                .flat_map(|answer| best(&answer["images"], "captions"))
                .collect()
        });
        let images = server.counter("oscar_batch_images_sum");
        assert!(images >= 24.0, "{images}");
        captions
    };
    super::assert_alike(&captions("32"), &captions("1"));
}

#[test]
fn a_full_queue_refuses_and_a_client_that_leaves_frees_its_place() {
    let (place, keys) = place();
    let server = Serving::drawings(&place, &["--max-queue", "1", "--max-batch", "1"]);
    let question = long(&keys);
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.extend(at_once(&server, 16, &question));
        if statuses.contains(&429) {
            break;
        }
    }
    assert!(
        statuses.contains(&429) && statuses.contains(&200),
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| [200, 429].contains(status)),
        "{statuses:?}"
    );

    let headers = [("Content-Type", "application/json")];
    let request = server.request(
        "POST /v1/caption",
        &headers,
        question.to_string().as_bytes(),
    );
    let mut left = 0.0;
    for _ in 0..200 {
        let mut streams = [server.connect(), server.connect()];
        for stream in &mut streams {
            stream.write_all(&request).expect("a request");
        }
        drop(streams);
        std::thread::sleep(Duration::from_millis(20));
        left = server.counter("oscar_abandoned_requests_total");
        if left > 0.0 {
            break;
        }
    }
    assert!(left > 0.0);
    // What they asked for takes no place any more.
    let free = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        server.counter("oscar_waiting_requests") == 0.0
    });
    assert!(free);
    let status = server.post("/v1/caption", &json!({"key": keys[0]})).status;
    assert_eq!(status, 200);
}

#[test]
fn a_request_that_waits_too_long_is_given_up() {
    let (place, keys) = place();
    let server = Serving::drawings(&place, &["--timeout", "1", "--max-batch", "1"]);
    let question = long(&keys);
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.extend(at_once(&server, 60, &question));
        if statuses.contains(&503) {
            break;
        }
    }
    assert!(statuses.contains(&503), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    let answered = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        server.post("/v1/caption", &json!({"key": keys[0]})).status == 200
    });
    assert!(answered);
}

#[cfg(unix)]
#[test]
fn a_signal_stops_the_server_after_what_runs() {
    let (place, keys) = place();
    let mut server = Serving::drawings(&place, &[]);
    let headers = [("Content-Type", "application/json")];
    let request = server.request(
        "POST /v1/caption",
        &headers,
        long(&keys).to_string().as_bytes(),
    );
    let mut stream = server.connect();
    stream.write_all(&request).expect("a request");
    // It has been taken in when the device has begun.
    let begun = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        server.counter("oscar_batch_images_count") >= 1.0
    });
    assert!(begun);
    let killed = Command::new("kill")
        .arg(server.child.id().to_string())
        .status();
    assert!(killed.expect("a signal").success());
    let reply = Reply::read(stream);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let ended = server.child.wait().expect("it ends");
    assert_eq!(ended.code(), Some(0));
}
