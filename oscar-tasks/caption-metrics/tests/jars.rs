//! METEOR and SPICE: the official jars where they are, and what happens when they fail.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oscar_caption_metrics::jars::{JarOptions, meteor, spice};
use oscar_caption_metrics::{Candidates, Captions, References, Unmatched};
use serde_json::Value;
use tempfile::TempDir;

fn captions() -> Captions {
    let pairs = |texts: [&str; 2]| {
        let numbered = texts.into_iter().enumerate();
        numbered
            .map(|(id, text)| (id.to_string(), text.to_owned()))
            .collect::<Vec<_>>()
    };
    let candidates = Candidates::of(pairs(["A dog runs.", "Two cats."])).unwrap();
    let references = References::of(pairs(["The dog is running.", "Two cats."])).unwrap();
    Captions::join(candidates, references, Unmatched::Refuse)
        .unwrap()
        .tokenized()
}

/// A shell script in the place of Java, and something in the place of the jars.
struct Fake {
    place: TempDir,
    options: JarOptions,
}

impl Fake {
    fn new(script: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let java = place.path().join("java");
        std::fs::write(&java, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&java, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(place.path().join("lib")).unwrap();
        for name in [
            "spice-1.0.jar",
            "lib/stanford-corenlp-3.6.0.jar",
            "lib/stanford-corenlp-3.6.0-models.jar",
        ] {
            std::fs::write(place.path().join(name), "").unwrap();
        }
        let options = JarOptions {
            java: java.into(),
            patience: Duration::from_secs(20),
        };
        Self { place, options }
    }

    fn jar(&self) -> PathBuf {
        self.place.path().join("spice-1.0.jar")
    }

    fn meteor(&self) -> Result<(f64, Vec<f64>), String> {
        meteor(&self.jar(), &captions(), &self.options).map_err(|error| error.to_string())
    }

    fn spice(&self) -> Result<Vec<f64>, String> {
        spice(self.place.path(), &captions(), &self.options).map_err(|error| error.to_string())
    }
}

#[test]
fn meteor_is_asked_as_the_evaluation_asks() {
    // Answers with what it was asked, where the evaluation sends it back.
    let fake = Fake::new(
        r#"echo "$@" > arguments
        while read -r line; do
            echo "$line" >> asked
            case "$line" in
                EVAL*) printf '0.25\n0.5\n0.375\n' ;;
                *) echo "1.0 2.0" ;;
            esac
        done"#,
    );
    assert_eq!(fake.meteor(), Ok((0.375, vec![0.25, 0.5])));
    let read = |name| std::fs::read_to_string(fake.place.path().join(name)).unwrap();
    assert_eq!(
        read("asked"),
        "SCORE ||| the dog is running ||| a dog runs\nSCORE ||| two cats ||| two cats\n\
         EVAL ||| 1.0 2.0 ||| 1.0 2.0\n"
    );
    assert!(
        read("arguments").trim().ends_with("- - -stdio -l en -norm"),
        "{}",
        read("arguments")
    );
}

#[test]
fn a_jar_that_dies_is_quoted() {
    let fake = Fake::new("read -r line; echo 'no data here' >&2; exit 3");
    for error in [fake.meteor().unwrap_err(), fake.spice().unwrap_err()] {
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("no data here"), "{error}");
    }
}

#[test]
fn a_jar_that_hangs_is_killed() {
    let mut fake = Fake::new("echo $$ > pid; exec sleep 600");
    fake.options.patience = Duration::from_millis(1500);
    for metric in ["METEOR", "SPICE"] {
        let error = match metric {
            "METEOR" => fake.meteor().unwrap_err(),
            _ => fake.spice().unwrap_err(),
        };
        assert!(
            error.contains(metric) && error.contains("no answer"),
            "{error}"
        );
        // On a busy machine it may have been killed before it could say which process it is.
        if let Ok(pid) = std::fs::read_to_string(fake.place.path().join("pid")) {
            let process = Path::new("/proc").join(pid.trim());
            assert!(!process.exists(), "{metric} still runs");
        }
    }
}

#[test]
fn nonsense_is_no_score() {
    let fake = Fake::new("while read -r line; do echo what; echo how; done");
    let error = fake.meteor().unwrap_err();
    assert!(error.contains("expected a score"), "{error}");
    let fake = Fake::new(r#"while [ "$1" != -out ]; do shift; done; echo '[]' > "$2""#);
    let error = fake.spice().unwrap_err();
    assert!(error.contains("scores of 0 of 2 captions"), "{error}");
    let fake = Fake::new("true");
    let error = fake.spice().unwrap_err();
    assert!(error.contains("the jar wrote no scores"), "{error}");
}

#[test]
fn spice_scores_are_read() {
    let fake = Fake::new(
        r#"while [ "$1" != -out ]; do shift; done
        echo '[{"image_id": 1, "scores": {"All": {"f": 0.5, "pr": 1.0}, "Object": {"f": null}}},
               {"image_id": 0, "scores": {"All": {"f": 0.25}}}]' > "$2""#,
    );
    assert_eq!(fake.spice(), Ok(vec![0.25, 0.5]));
}

#[test]
fn what_is_missing_is_named() {
    let mut fake = Fake::new("true");
    std::fs::remove_file(
        fake.place
            .path()
            .join("lib/stanford-corenlp-3.6.0-models.jar"),
    )
    .unwrap();
    let error = fake.spice().unwrap_err();
    assert!(
        error.contains("has no lib/stanford-corenlp-3.6.0-models.jar"),
        "{error}"
    );
    let none = fake.place.path().join("meteor-1.5.jar");
    let error = meteor(&none, &captions(), &fake.options)
        .unwrap_err()
        .to_string();
    assert!(error.contains("meteor-1.5.jar"), "{error}");
    fake.options.java = "no-java-of-this-name".into();
    let error = fake.meteor().unwrap_err();
    assert!(
        error.contains("there is no `no-java-of-this-name` on the path"),
        "{error}"
    );
}

/// METEOR of the captions of the parity suite's fixture is that of the COCO caption evaluation.
#[test]
#[ignore = "runs METEOR; OSCAR_METEOR_JAR names meteor-1.5.jar"]
fn meteor_scores_are_those_of_the_evaluation() {
    let jar = PathBuf::from(std::env::var_os("OSCAR_METEOR_JAR").expect("OSCAR_METEOR_JAR"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/captions");
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(folder.join(name)).expect("a file");
        serde_json::from_str(&text).expect("JSON")
    };
    let (mut candidates, mut references) = (Vec::new(), Vec::new());
    for image in read("captions.json")["images"].as_array().expect("a list") {
        let text = |text: &Value| {
            (
                image["id"].to_string(),
                text.as_str().expect("a text").to_owned(),
            )
        };
        candidates.push(text(&image["cand"]));
        references.extend(image["refs"].as_array().expect("a list").iter().map(text));
    }
    let (candidates, references) = (Candidates::of(candidates), References::of(references));
    let captions =
        Captions::join(candidates.unwrap(), references.unwrap(), Unmatched::Refuse).unwrap();
    let (corpus, scores) = meteor(&jar, &captions.tokenized(), &JarOptions::default()).unwrap();
    let expected = read("scores.json");
    let same = |got: f64, wanted: &Value| (got - wanted.as_f64().unwrap()).abs() < 1e-15;
    assert!(same(corpus, &expected["corpus"]["METEOR"]), "{corpus}");
    for (id, score) in captions.ids().iter().zip(scores) {
        assert!(
            same(score, &expected["per_image"][id]["METEOR"]),
            "{id}: {score}"
        );
    }
}
