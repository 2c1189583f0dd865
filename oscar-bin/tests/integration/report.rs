//! The page of a run, with and without a browser.

use crate::support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{HEADLESS, Workplace, assert_fails, stderr, stdout};

fn report(place: &Workplace, args: &[&str]) -> (Value, String) {
    let output = place.run(&[&["report", "--json"], args].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let document: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let page = place.path(document["report"].as_str().expect("a path"));
    (document, fs::read_to_string(page).expect("a page"))
}

fn count(page: &str, what: &str) -> usize {
    page.matches(what).count()
}

#[test]
fn a_pre_training_run_is_shown_with_pictures_guesses_and_a_map() {
    let place = Workplace::new();
    // Validated on the sample's own held-out boxes, so that there is enough for a map.
    let trained = place.run(&[
        "train",
        "--config",
        "shapes",
        "--name",
        "first",
        "--set",
        "train.steps=12",
        "--set",
        "train.batch_size=8",
        "--set",
        "train.validate_every=6",
        "--set",
        "optimizer.warmup_steps=2",
        "--set",
        "grounding.examples=0",
    ]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    let (document, page) = report(&place, &["runs/first", "--examples", "3", "--mapped", "60"]);
    assert_eq!(document["task"], "pretraining");
    assert_eq!(document["examples"], 3);
    assert_eq!(document["pictures"], 3, "the sample's pictures are found");
    assert_eq!(document["report"], "runs/first/report.html");

    // Self-contained: nothing but what it links to inside of itself.
    for fetched in ["href=\"http", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    assert_eq!(count(&page, "data:image/png;base64,"), 3);
    assert_eq!(count(&page, "<article class=\"exhibit\">"), 3);
    assert!(count(&page, "\"masked\":{\"truth\":") >= 3);
    assert!(page.contains("mismatched"));
    // As many curves as statistics, among them these.
    for name in ["Loss", "MLM loss", "Contrastive accuracy", "Samples/s"] {
        assert!(
            page.contains(&format!("<figcaption>{name}</figcaption>")),
            "{name}"
        );
    }
    assert!(page.contains("id=\"map\""), "a map of words and regions");
    assert!(page.contains("cosine of a word with regions of its class"));
    // What was set by hand differs from the recipe, and nothing else does.
    let table = page.split("class=\"differences\"").nth(1).expect("a table");
    let table = table.split("</table>").next().expect("its end");
    for (key, value) in [("train.steps", "12"), ("train.batch_size", "8")] {
        assert!(
            table.contains(key) && table.contains(&format!("<td>{value}</td>")),
            "{table}"
        );
    }
    assert!(
        !table.contains("model.") && !table.contains("data."),
        "{table}"
    );

    // The same again, in another place, and without the model.
    let (_, again) = report(
        &place,
        &[
            "runs/first",
            "--examples",
            "3",
            "--mapped",
            "60",
            "--out",
            "again.html",
        ],
    );
    assert_eq!(page, again, "the same run, the same page");
    let (document, plain) = report(&place, &["runs/first", "--examples", "0"]);
    assert_eq!(document["examples"], 0);
    assert!(plain.contains("MLM loss") && !plain.contains("<article"));

    pictures_of_other_images_are_told(&place);
}

/// A page without pictures says why.
fn pictures_of_other_images_are_told(place: &Workplace) {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/sample/scenes/pictures");
    fs::create_dir(place.path("others")).expect("a directory");
    fs::copy(
        sample.join("near-000008.png"),
        place.path("others/mine.png"),
    )
    .expect("a copy");
    let few = ["report", "runs/first", "--examples", "1", "--mapped", "0"];
    let output = place.run(&[&few[..], &["--images", "others"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    for part in ["others", "none of the images", "`mine`"] {
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
}

#[test]
fn fine_tuned_answers_are_shown_beside_what_is_right() {
    let place = Workplace::new();
    for (task, sights) in [
        ("vqa", 1),
        ("nlvr2", 2),
        ("retrieval", 1),
        ("captioning", 1),
    ] {
        let trained = place.run(&[
            "finetune",
            "--task",
            task,
            "--name",
            task,
            "--set",
            "epochs=0",
            "--set",
            "train.steps=4",
            "--set",
            "optimizer.warmup_steps=0",
            "--set",
            "train.validate_every=4",
            "--set",
            "train.batch_size=8",
        ]);
        assert!(trained.status.success(), "{task}: {}", stderr(&trained));
        let run = format!("runs/{task}");
        let (document, page) = report(&place, &[&run, "--examples", "2", "--mapped", "0"]);
        assert_eq!(document["task"], task);
        assert_eq!(count(&page, "<div class=\"sight\">"), 2 * sights, "{task}");
        assert_eq!(document["pictures"], 2 * sights, "{task}");
        assert_eq!(count(&page, "<table class=\"answers\">"), 2, "{task}");
        assert!(page.contains("<p class=\"truth\">"), "{task}");
        assert_ne!(count(&page, "{\"at\":"), 0, "{task}");
    }
}

#[test]
fn what_is_no_run_is_refused() {
    let place = Workplace::new();
    assert_fails(
        &place.run(&["report", "nowhere"]),
        &["cannot find the run nowhere"],
    );
    fs::create_dir(place.path("empty")).expect("a directory");
    assert_fails(
        &place.run(&["report", "empty"]),
        &["empty", "not a run", "config.toml"],
    );
    let small = Workplace::small();
    let trained = small.train("broken", &["--set", "train.steps=2"]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    fs::write(small.path("runs/broken/best/task.json"), "{}").expect("a file");
    let refused = small.run(&["report", "runs/broken"]);
    assert_fails(&refused, &["task.json", "`task`"]);
    assert!(!small.path("runs/broken/report.html").exists());
}

/// The page after its script has run, at an address with this fragment.
fn in_browser(browser: &str, page: &Path, fragment: &str) -> String {
    let profile = tempfile::tempdir().expect("a temporary directory");
    let url = format!("file://{}#{fragment}", page.display());
    let output = Command::new(browser)
        .args(HEADLESS)
        .args([
            "--enable-logging=stderr",
            "--virtual-time-budget=3000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .output()
        .expect("the browser starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !said.contains("Uncaught") && !said.contains("CONSOLE"),
        "{said}"
    );
    String::from_utf8(output.stdout).expect("text")
}

#[test]
#[ignore = "needs Chromium, named by OSCAR_CHROMIUM"]
fn a_browser_shows_what_a_word_attends_to() {
    let browser = std::env::var("OSCAR_CHROMIUM").expect("OSCAR_CHROMIUM names a browser");
    let place = Workplace::small();
    let trained = place.train("seen", &["--set", "train.steps=4"]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    report(&place, &["runs/seen", "--examples", "2", "--mapped", "0"]);
    let page = place.path("runs/seen/report.html");

    let shaded = |dom: &str| count(dom, "--at:");
    let untouched = in_browser(&browser, &page, "");
    assert_eq!(shaded(&untouched), 0);
    assert_eq!(count(&untouched, "<article"), 2);

    // Every position of the one sequence, and of no other, is shaded; the strongest fully.
    let asked = in_browser(&browser, &page, "1.0.2");
    let articles: Vec<&str> = asked.split("</article>").collect();
    let [first, second, _] = articles[..] else {
        panic!("two examples, not {}", articles.len() - 1);
    };
    assert_eq!(count(first, "style=\"--at:"), 0);
    let positions = count(second, "data-at=");
    assert!(positions > 8, "{positions}");
    assert_eq!(shaded(second), positions);
    assert!(count(second, "--at: 1.000") >= 1);
    assert_eq!(count(second, " from\""), 1);
}
