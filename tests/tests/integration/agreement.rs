//! `data check` and training agree on every documented form of rows: what a check accepts training
//! opens, and what training refuses a check reports, with the same file and line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_captioning::{CaptionData, Captioning};
use oscar_core::input::{PaddingConfig, SequenceConfig, SequenceEncoder, Tokenizer};
use oscar_datasets::check::{CheckOptions, Report, check, of_task};
use oscar_datasets::{Boxes, ImageRegions, JsonlCorpus, StoreOptions, StoreWriter, open_images};
use oscar_gqa::Gqa;
use oscar_matching::Matching;
use oscar_nlvr2::{Arrangement, Nlvr2};
use oscar_retrieval::Retrieval;
use oscar_task::{Oscar, Role, Split, Task};
use oscar_vqa::Vqa;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

/// The rows that docs/my-data.md names, and the official ones, by task.
const FORMS: &[(&str, &[&str])] = &[
    (
        "pretraining",
        &[
            r#"{"image": "a", "text": "a dog"}"#,
            r#"{"image": "b", "text": "a cat"}"#,
        ],
    ),
    (
        "pretraining",
        &[
            r#"{"image": "a", "question": "is it?", "answer": "yes"}"#,
            r#"{"image": "b", "question": "a dog?", "answer": ["no", "red"]}"#,
        ],
    ),
    (
        "vqa",
        &[
            r#"{"image": "a", "question": "is it?", "answers": ["yes", "yes", "no"]}"#,
            r#"{"image": "b", "question": "a dog?", "answers": {"yes": 1.0, "no": 0.3}, "id": 1}"#,
        ],
    ),
    (
        "vqa",
        &[
            r#"{"q": "is it?", "o": "dog;cat", "an": [0, 1], "s": [1.0, 0.3], "img_id": "a", "q_id": 7}"#,
            r#"{"q": "a dog", "o": "", "an": [2], "s": [0.9], "img_id": "b", "q_id": "0012"}"#,
        ],
    ),
    (
        "gqa",
        &[
            r#"{"image": "a", "question": "is it?", "answer": "yes"}"#,
            r#"{"image": "b", "question": "a dog?", "answer": "no", "id": "7", "tags": "red"}"#,
        ],
    ),
    (
        "nlvr2",
        &[
            r#"{"left": "a", "right": "b", "statement": "a dog", "label": true}"#,
            r#"{"left": "b", "right": "a", "statement": "a cat", "label": false, "identifier": "dev-1-0-0"}"#,
        ],
    ),
    (
        "nlvr2",
        &[
            r#"{"image": "a", "statement": "a dog", "label": true, "tags": "dog"}"#,
            r#"{"image": "b", "text": "a cat", "label": 0}"#,
        ],
    ),
    (
        "nlvr2",
        &[
            r#"{"q": "a dog", "o": {"left": "dog", "right": ""}, "label": 1, "img_id": {"left": "a", "right": "b"}}"#,
            r#"{"q": "a cat", "img_id": {"left": "b", "right": "a"}, "label": 0}"#,
        ],
    ),
    (
        "nlvr2",
        &[
            r#"{"sentence": "a dog", "label": "True", "identifier": "dev-1-0-0", "synset": "x"}"#,
            r#"{"sentence": "a dog", "label": "False", "identifier": "dev-1-1-0"}"#,
        ],
    ),
    (
        "retrieval",
        &[
            r#"{"image": "a", "captions": ["a dog", "is it"]}"#,
            r#"{"image": "b", "captions": ["a cat"], "tags": "hat", "id": 2}"#,
        ],
    ),
    (
        "captioning",
        &[
            r#"{"image": "a", "captions": ["a dog", "is it"]}"#,
            r#"{"image": "b", "captions": ["a cat"], "tags": "hat"}"#,
        ],
    ),
    (
        "captioning",
        &[
            r#"{"image_id": "a", "id": 1, "caption": "a dog"}"#,
            r#"{"image_id": "b", "id": 2, "caption": "a cat"}"#,
        ],
    ),
    (
        "matching",
        &[
            r#"{"image": "a", "text": "a dog", "label": true}"#,
            r#"{"image": "b", "text": "a cat", "label": false, "id": 3, "tags": "hat"}"#,
        ],
    ),
];

/// Images `a`, `b`, and those of the pairs `dev-1-0` and `dev-1-1`; and an answer vocabulary.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let options = StoreOptions::new(4);
        let mut store = StoreWriter::create(&place.path("regions"), options).unwrap();
        let pairs = [
            "dev-1-0-img0",
            "dev-1-0-img1",
            "dev-1-1-img0",
            "dev-1-1-img1",
        ];
        for key in ["a", "b"].iter().chain(&pairs) {
            store
                .push(ImageRegions {
                    key,
                    width: 100,
                    height: 100,
                    features: &[0.5, 1.0, 1.5, 2.0],
                    boxes: Boxes::Pixels(&[[0.0, 0.0, 50.0, 100.0]]),
                    tags: &[],
                })
                .unwrap();
        }
        store.finish().unwrap();
        std::fs::write(place.path("answers.json"), r#"["yes", "no", "red"]"#).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, content: &[u8]) -> PathBuf {
        let path = self.path("rows.jsonl");
        // The last one may be mapped.
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn check(&self, task: &str, rows: &Path) -> Report {
        let options = CheckOptions {
            format: Some(of_task(task).unwrap()),
            regions: Some(self.path("regions")),
            progress: false,
            ..CheckOptions::default()
        };
        check(&[rows], &options).unwrap()
    }

    /// Opens a file of rows as training (or scoring) does.
    fn open(&self, task: &str, rows: &Path, role: Role, images: Arrangement) -> Result<(), String> {
        let (regions, answers) = (self.path("regions"), self.path("answers.json"));
        let message = |error: Box<dyn std::error::Error + Send + Sync>| error.to_string();
        match task {
            "pretraining" => {
                let images = open_images(&regions).map_err(|error| error.to_string())?;
                let corpus = JsonlCorpus::open(rows, images).map(drop);
                corpus.map_err(|error| error.to_string())
            }
            "vqa" => {
                let task = Vqa {
                    answers: Some(answers),
                    ..Vqa::default()
                };
                open(&task, rows, regions, role)
            }
            "gqa" => {
                let task = Gqa {
                    answers: Some(answers),
                    ..Gqa::default()
                };
                open(&task, rows, regions, role)
            }
            "nlvr2" => open(&Nlvr2 { images }, rows, regions, role),
            "retrieval" => open(&Retrieval::default(), rows, regions, role),
            "matching" => open(&Matching {}, rows, regions, role),
            _ => {
                let task = Captioning {
                    max_caption_length: 12,
                    ..Captioning::default()
                };
                let split = oscar_captioning::Split::new(rows.into(), Some(regions));
                let data = CaptionData::open(&split, role, &task, encoder());
                data.map(drop).map_err(message)
            }
        }
    }
}

fn open<T: Task<Family = Oscar>>(
    task: &T,
    rows: &Path,
    regions: PathBuf,
    role: Role,
) -> Result<(), String> {
    let split = T::Split::new(rows.into(), Some(regions));
    let data = task.open(&split, role, &encoder());
    data.map(drop).map_err(|error| error.to_string())
}

fn encoder() -> SequenceEncoder {
    let words = "[PAD] [UNK] [CLS] [SEP] [MASK] a dog cat is it ##s red hat yes no";
    let vocab = words.split(' ').map(String::from).collect();
    let tokenizer = Arc::new(Tokenizer::from_vocab(vocab).unwrap());
    let config = SequenceConfig {
        max_seq_length: 24,
        max_regions: 2,
        ..SequenceConfig::default()
    };
    SequenceEncoder::new(tokenizer, config, PaddingConfig::default()).unwrap()
}

/// How the images of a form of NLVR2 are read.
fn arrangement(rows: &[&str]) -> Arrangement {
    match rows[0].contains("\"image\"") {
        true => Arrangement::Joined,
        false => Arrangement::Pair,
    }
}

fn lines(rows: &[impl AsRef<str>]) -> Vec<u8> {
    let lines = rows.iter().map(|row| format!("{}\n", row.as_ref()));
    lines.collect::<String>().into_bytes()
}

#[test]
fn documented_forms_are_accepted_by_both() {
    let place = Place::new();
    for (task, rows) in FORMS {
        let array = format!("[{}]", rows.join(",\n")).into_bytes();
        let mut contents = vec![lines(rows)];
        if *task != "pretraining" {
            contents.push(array);
        }
        for content in contents {
            let path = place.write(&content);
            let report = place.check(task, &path);
            assert!(report.ok, "{task}: {:?}", report.problems);
            let opened = place.open(task, &path, Role::Train, arrangement(rows));
            assert_eq!(opened, Ok(()), "{task}: {}", rows[0]);
        }
    }
}

#[test]
fn damage_is_found_by_both_in_the_same_line() {
    let place = Place::new();
    let damages: [fn(&str) -> String; 6] = [
        |row| row[..row.len() - 3].to_owned(),
        |row| {
            row.replace("\"a\"", "\"nowhere\"")
                .replace("\"b\"", "\"nowhere\"")
        },
        |row| row.replace("dev-1", "dev-9"),
        |row| {
            ["a dog", "a cat", "is it?", "a dog?"]
                .iter()
                .fold(row.to_owned(), |r, t| r.replace(t, " "))
        },
        |row| row.replacen('{', "{\"colour\": 1, ", 1),
        |row| row.replacen("\": ", "\": 7.5, \"", 1),
    ];
    let mut refused = 0;
    for (task, rows) in FORMS {
        for (at, damage) in (0..2).flat_map(|at| damages.iter().map(move |damage| (at, damage))) {
            let mut rows: Vec<String> = rows.iter().map(|row| row.to_string()).collect();
            rows[at] = damage(&rows[at]);
            let path = place.write(&lines(&rows));
            let report = place.check(task, &path);
            let opened = place.open(task, &path, Role::Train, arrangement(&[&rows[0]]));
            assert_eq!(report.ok, opened.is_ok(), "{task}: {rows:?}: {opened:?}");
            if let Err(error) = opened {
                refused += 1;
                let problem = &report.problems[0];
                let line = problem.line.unwrap();
                assert_eq!(line, at + 1, "{problem}");
                let named = format!("rows.jsonl:{line}: ");
                assert!(error.contains(&named), "{named} is not in {error}");
            }
        }
    }
    assert!(refused > 2 * FORMS.len() * 3, "{refused} of them are wrong");
}

#[test]
fn a_check_of_damaged_bytes_accepts_only_what_opens() {
    let place = Place::new();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut accepted = 0;
    for (task, rows) in FORMS {
        let images = arrangement(rows);
        for _ in 0..150 {
            let mut bytes = lines(rows);
            for _ in 0..rng.random_range(1..3) {
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..3) {
                    0 => bytes[at] = rng.random_range(b' '..b'~'),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"\"{}[],: x1"[rng.random_range(0..10)]),
                }
            }
            let path = place.write(&bytes);
            let report = place.check(task, &path);
            let opened = place.open(task, &path, Role::Evaluate, images);
            let text = String::from_utf8_lossy(&bytes);
            match opened {
                Ok(()) => accepted += usize::from(report.ok),
                // Only a recipe names the vocabulary, and how images are read.
                Err(error) if error.contains("vocabulary") || error.contains("task.images") => {}
                Err(error) => assert!(!report.ok, "{task}: {text}: {error}"),
            }
        }
    }
    assert!(accepted > 100, "{accepted} were accepted");
}
