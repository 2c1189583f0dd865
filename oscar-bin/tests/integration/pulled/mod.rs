//! Weights of a hub on this machine: pulled, used by name, and used without it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::hub_server::{COMMIT, Hosted, Server, hub};
use serde_json::Value;

use crate::support::official::{examples, place as published};
use crate::support::{Workplace, assert_fails, json as document, stderr, stdout, write};

const SET: &str = "caption_tied_od";

/// A place with a store, and a hub that has the set's weights as `repository`.
fn place(repository: &'static str) -> (Workplace, Server) {
    let place = published(SET, &examples(SET, "gen."));
    let folder = place.path("published");
    let mut files = vec![
        Hosted::large("README.md", "about"),
        Hosted::large("tf_model.h5", "other"),
    ];
    for entry in fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("a file").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        files.push(Hosted::large(&name, fs::read(&path).expect("a file")));
    }
    let server = Server::start(move |request| hub(repository, &files, request));
    (place, server)
}

fn with_hub(place: &Workplace, server: &Server) -> Command {
    let mut program = place.program();
    program
        .env_remove("HF_HUB_OFFLINE")
        .env("HF_ENDPOINT", &server.address);
    program
}

fn run(mut program: Command, args: &[&str]) -> Output {
    program.args(args).output().expect("the program starts")
}

/// The caption of image 2 by the weights called `checkpoint`.
fn predict(program: Command, checkpoint: &str) -> Output {
    let args = [
        "predict",
        "--task",
        "captioning",
        "--checkpoint",
        checkpoint,
        "--json",
    ];
    let more = [
        "--regions",
        "regions",
        "--image",
        "2",
        "--set",
        "task.generation.max_length=10",
    ];
    run(program, &[&args[..], &more].concat())
}

#[test]
fn pulled_weights_are_used_by_name_and_without_the_hub() {
    let (place, server) = place("someone/captioner");
    let expected = document(&predict(place.program(), "published"))["captions"].clone();

    let name = "hub:someone/captioner";
    let pulled = document(&run(
        with_hub(&place, &server),
        &["model", "pull", name, "--json"],
    ));
    let pulled = &pulled["weights"][0];
    assert_eq!(
        (&pulled["commit"], &pulled["revision"]),
        (&COMMIT.into(), &"main".into())
    );
    let directory = Path::new(pulled["directory"].as_str().expect("a directory"));
    assert!(
        directory.starts_with(place.path("huggingface/hub")),
        "{directory:?}"
    );
    let mut files: Vec<String> = fs::read_dir(directory)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("a file")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    files.sort();
    let needed = [
        "added_tokens.json",
        "config.json",
        "pytorch_model.bin",
        "special_tokens_map.json",
        "vocab.txt",
    ];
    assert_eq!(files, needed);

    let before = server.requests().len();
    for program in [place.program(), with_hub(&place, &server)] {
        assert_eq!(document(&predict(program, name))["captions"], expected);
    }
    assert_eq!(server.requests().len(), before, "the cache is enough");
    let inspected = [
        "model",
        "inspect",
        &directory.display().to_string(),
        "--json",
    ];
    assert!(document(&place.run(&inspected)).is_object());
}

#[test]
fn what_a_command_misses_is_downloaded_after_it_is_said() {
    let (place, server) = place("someone/captioner");
    let output = predict(with_hub(&place, &server), "hub:someone/captioner@main");
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stderr(&output);
    for part in ["hub:someone/captioner", "pytorch_model.bin", "KiB"] {
        assert!(said.contains(part), "{said}");
    }
    // It is not there under another revision, which the hub does not have.
    let other = predict(place.program(), "hub:someone/captioner@v2");
    assert_fails(&other, &["hub:someone/captioner@v2", "HF_HUB_OFFLINE"]);
}

/// Files that the cache lacks are not taken for all of them: known weights need what the table says.
#[test]
fn an_interrupted_pull_of_known_weights_is_finished_by_the_next_command() {
    let (place, server) = place("michelecafagna26/vinvl-base-image-captioning");
    let pulled = run(
        with_hub(&place, &server),
        &["model", "pull", "vinvl-captioning", "--json"],
    );
    let pulled = document(&pulled);
    let directory = Path::new(
        pulled["weights"][0]["directory"]
            .as_str()
            .expect("a directory"),
    );
    fs::remove_file(directory.join("pytorch_model.bin")).expect("a link");
    assert_fails(
        &predict(place.program(), "vinvl-captioning"),
        &["pytorch_model.bin"],
    );
    let finished = predict(with_hub(&place, &server), "vinvl-captioning");
    assert!(finished.status.success(), "{}", stderr(&finished));
    let again = predict(place.program(), "vinvl-captioning");
    assert!(again.status.success(), "{}", stderr(&again));
}

#[test]
fn without_a_network_the_files_and_their_addresses_are_named() {
    let place = Workplace::new();
    // A picture that is no drawing of the sample.
    image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8, y as u8, 7]))
        .save(place.path("photo.png"))
        .expect("a picture");
    let captioner =
        "https://huggingface.co/michelecafagna26/vinvl-base-image-captioning/resolve/main";
    let parts = [
        &format!("{captioner}/pytorch_model.bin"),
        &format!("{captioner}/vocab.txt"),
    ];
    let caption = place.run(&["caption", "photo.png"]);
    assert_fails(
        &caption,
        &["HF_HUB_OFFLINE", "huggingface/hub", parts[0], parts[1]],
    );

    let regions = [
        "data",
        "build",
        "regions",
        ".",
        "--out",
        "regions",
        "--detector",
    ];
    let detector = place.run(&[&regions[..], &["vinvl"]].concat());
    let file = "michelecafagna26/vinvl_vg_x152c4/resolve/main/VG-SGG-dicts-vgoi6-clipped.json";
    assert_fails(&detector, &["hub:michelecafagna26/vinvl_vg_x152c4", file]);
    let detector = place.run(&[&regions[..], &["hub:a/b@c"]].concat());
    assert_fails(&detector, &["hub:a/b@c", "/a/b/tree/c"]);
    let wrong = place.run(&[&regions[..], &["hub:a/b/c"]].concat());
    assert_fails(&wrong, &["hub:a/b/c", "OWNER/NAME"]);
    assert_fails(
        &place.run(&["model", "pull", "vinlv"]),
        &["vinlv", "vinvl-captioning"],
    );
    let train = place.run(&["train", "--init", "bert-base-uncased", "--steps", "1"]);
    assert_fails(
        &train,
        &["google-bert/bert-base-uncased/resolve/main/vocab.txt"],
    );
    // What is a directory is not looked for on the hub.
    fs::create_dir(place.path("vinvl")).expect("a directory");
    write(&place.path("vinvl/notes.txt"), "mine");
    let own = place.run(&[&regions[..], &["vinvl"]].concat());
    assert_fails(&own, &["vinvl", "pytorch_model.bin"]);
}

#[test]
fn known_weights_are_listed_with_their_licences() {
    let place = Workplace::new();
    let listed = document(&place.run(&["model", "pull", "--json"]));
    let weights = listed["weights"].as_array().expect("a list");
    assert!(
        weights
            .iter()
            .any(|known| known["name"] == "vinvl" && known["licence"] == "MIT")
    );
    let text = stdout(&place.run(&["model", "pull"]));
    let is_listed = |known: &Value| text.contains(known["name"].as_str().expect("a name"));
    assert!(weights.iter().all(is_listed), "{text}");
}
