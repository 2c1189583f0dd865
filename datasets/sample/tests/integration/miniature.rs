//! Tasks on described boxes: everything said is true, by another reading of the same boxes; no
//! text gives its answer away; the same seed gives the same bytes.

use crate::common;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use common::{message, sample};
use oscar_core::input::Tokenizer;
use oscar_datasets::RegionStore;
use oscar_datasets::rows::read_rows;
use oscar_sample::build_sample;
use oscar_sample::miniature::{DEFAULT_SEED, build_tasks};
use serde_json::Value;

/// The sample, expanded once for all tests of this file.
static EXPANDED: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("sample");
    build_sample(&sample(), &out).unwrap();
    (dir, out)
});

fn expanded(path: &str) -> PathBuf {
    EXPANDED.1.join(path)
}

fn rows(task: &str, split: &str) -> Vec<Value> {
    let path = expanded(&format!("tasks/{task}-{split}.jsonl"));
    read_rows(&path).unwrap()
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} in {row}"))
}

/// An object as the store has it: `black square`, and x1, y1, x2, y2.
type Seen = (String, [f32; 4]);

struct Boxes(Arc<RegionStore>);

impl Boxes {
    fn of(split: &str) -> Self {
        Self(RegionStore::open(&expanded(&format!("{split}/regions"))).unwrap())
    }

    fn objects(&self, key: &str) -> Vec<Seen> {
        let tags = self.0.tags(self.0.find(key).expect(key)).unwrap();
        let seen = |tag: oscar_datasets::Tag| (tag.class, tag.box_px.unwrap());
        tags.into_iter().map(seen).collect()
    }
}

/// Those that a noun means: `circles`, `blue object`, `the black square`.
fn of_noun(noun: &str, objects: &[Seen]) -> Vec<Seen> {
    let words: Vec<&str> = noun
        .split(' ')
        .map(|word| word.trim_end_matches('s'))
        .filter(|word| !["a", "the", "object", "there"].contains(word))
        .collect();
    let meant = |(class, _): &&Seen| {
        words
            .iter()
            .all(|word| class.split(' ').any(|w| w == *word))
    };
    objects.iter().filter(meant).cloned().collect()
}

/// Whether `a` is on the side of `b`: surely (1), surely not (-1), or open to opinion (0).
fn side(a: &Seen, words: &str, b: &Seen) -> i32 {
    let axis = usize::from(["above", "below"].contains(&words));
    let (first, second) = match words {
        "left of" | "above" => (a.1, b.1),
        "right of" | "below" => (b.1, a.1),
        other => panic!("{other}"),
    };
    if first[axis + 2] <= second[axis] {
        1
    } else if first[axis] + first[axis + 2] >= second[axis] + second[axis + 2] {
        -1
    } else {
        0
    }
}

const SIDES: [&str; 4] = ["left of", "right of", "above", "below"];

/// `A SIDE B` at `text`, split.
fn around_side(text: &str) -> Option<(&str, &'static str, &str)> {
    SIDES.into_iter().find_map(|side| {
        let (a, b) = text.split_once(&format!("{side} "))?;
        Some((a.trim(), side, b.trim()))
    })
}

/// The one object beside another, about which there are no two opinions.
fn beside(words: &str, noun: &str, objects: &[Seen]) -> Seen {
    let middle = of_noun(noun, objects);
    assert_eq!(middle.len(), 1, "{noun} of {objects:?}");
    let others = objects.iter().filter(|object| **object != middle[0]);
    let found: Vec<_> = others.filter(|o| side(o, words, &middle[0]) >= 0).collect();
    assert_eq!(found.len(), 1, "{words} {noun} of {objects:?}");
    assert_eq!(side(found[0], words, &middle[0]), 1);
    found[0].clone()
}

fn only(noun: &str, objects: &[Seen]) -> Seen {
    let found = of_noun(noun, objects);
    assert_eq!(found.len(), 1, "{noun} of {objects:?}");
    found[0].clone()
}

fn word(seen: &Seen, index: usize) -> String {
    seen.0.split(' ').nth(index).unwrap().to_string()
}

/// The answer, from the words of the question alone.
fn answer(question: &str, objects: &[Seen]) -> String {
    let yes = |truth: bool| if truth { "yes" } else { "no" }.to_string();
    let there = |noun: &str| !of_noun(noun, objects).is_empty();
    let q = question.strip_suffix('?').unwrap();
    if let Some(noun) = q.strip_prefix("how many ") {
        let count = of_noun(noun.trim_end_matches(" are there"), objects).len();
        return ["zero", "one", "two", "three", "four"][count].into();
    }
    if let Some(rest) = q.strip_prefix("are there both ") {
        let (a, b) = rest.split_once(" and ").unwrap();
        return yes(there(a) && there(b));
    }
    if let Some(rest) = q.strip_prefix("is there either ") {
        let (a, b) = rest.split_once(" or ").unwrap();
        assert!(!(there(a) && there(b)), "{question} of {objects:?}");
        return yes(there(a) || there(b));
    }
    if let Some(rest) = q.strip_prefix("are there more ") {
        let (a, b) = rest.split_once(" than ").unwrap();
        return yes(of_noun(a, objects).len() > of_noun(b, objects).len());
    }
    if let Some(rest) = q.strip_suffix(" of the same colour") {
        let (a, b) = rest
            .strip_prefix("are ")
            .unwrap()
            .split_once(" and ")
            .unwrap();
        return yes(word(&only(a, objects), 0) == word(&only(b, objects), 0));
    }
    if let Some(noun) = q.strip_prefix("is there ") {
        return yes(there(noun));
    }
    if let Some(rest) = q.strip_prefix("what is ") {
        let (_, side, noun) = around_side(rest).unwrap();
        return beside(side, noun, objects).0;
    }
    for (start, index) in [("what colour is ", 0), ("what shape is ", 1)] {
        if let Some(rest) = q.strip_prefix(start) {
            return match around_side(rest) {
                Some((_, side, noun)) => word(&beside(side, noun, objects), index),
                None => word(&only(rest, objects), index),
            };
        }
    }
    let rest = q.strip_prefix("is ").unwrap();
    if let Some((a, words, b)) = around_side(rest) {
        let (a, b) = (of_noun(a, objects), of_noun(b, objects));
        assert!(!a.is_empty() && !b.is_empty(), "{question} of {objects:?}");
        let sides = a.iter().flat_map(|a| b.iter().map(|b| side(a, words, b)));
        let best = sides.max().unwrap();
        assert_ne!(best, 0, "{question} of {objects:?}");
        return yes(best == 1);
    }
    let (rest, second) = rest.split_once(" or ").unwrap();
    let (noun, first) = rest.rsplit_once(' ').unwrap();
    let color = word(&only(noun, objects), 0);
    assert!([first, second].contains(&color.as_str()));
    color
}

fn truth(statement: &str, left: &[Seen], right: &[Seen]) -> bool {
    let noun = |start: &str| statement.strip_prefix(start);
    let shown = |noun: &str| [left, right].map(|side| of_noun(noun, side).len());
    if let Some(rest) = noun("there are more ") {
        let (what, place) = rest.split_once(" in the ").unwrap();
        let [left, right] = shown(what);
        return match place {
            "left image than in the right one" => left > right,
            "right image than in the left one" => right > left,
            other => panic!("{other}"),
        };
    }
    type Truth = fn([bool; 2]) -> bool;
    let wanted: [(&str, Truth); 5] = [
        ("both images show ", |shown| shown == [true, true]),
        ("neither image shows ", |shown| shown == [false, false]),
        ("exactly one image has ", |[left, right]| left != right),
        ("the left image shows ", |[left, _]| left),
        ("the right image shows ", |[_, right]| right),
    ];
    let found = wanted
        .iter()
        .find_map(|(start, holds)| Some((noun(start)?, holds)));
    let (noun, holds) = found.unwrap_or_else(|| panic!("{statement}"));
    holds(shown(noun).map(|count| count > 0))
}

/// How many of each kind a caption says there are.
fn said(caption: &str) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    let mut count = 0;
    let mut color = String::new();
    for word in caption.split(' ') {
        let numbers = [
            "zero", "one", "two", "three", "four", "five", "six", "seven",
        ];
        if word == "a" {
            count = 1;
        } else if let Some(number) = numbers.iter().position(|number| *number == word) {
            count = number;
        } else if ["black", "blue", "yellow"].contains(&word) {
            color = word.to_string();
        } else if let shape @ ("square" | "circle" | "triangle") = word.trim_end_matches('s') {
            assert_eq!(word.ends_with('s'), count > 1, "{caption}");
            *all.entry(format!("{color} {shape}")).or_default() += count;
        }
    }
    all
}

fn shown(objects: &[Seen]) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for (class, _) in objects {
        *all.entry(class.clone()).or_default() += 1;
    }
    all
}

/// How often each text has each answer.
fn answers_by_text(pairs: &[(String, String)]) -> BTreeMap<&str, BTreeMap<&str, usize>> {
    let mut all: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (text, answer) in pairs {
        *all.entry(text).or_default().entry(answer).or_default() += 1;
    }
    all
}

/// Questions and answers of a split, each checked against its image.
fn checked_questions(task: &str, split: &str) -> Vec<(String, String)> {
    let boxes = Boxes::of(split);
    let known: Vec<String> =
        serde_json::from_slice(&fs::read(expanded(&format!("tasks/{task}-answers.json"))).unwrap())
            .unwrap();
    let check = |row: Value| {
        let given = match task {
            "gqa" => text(&row, "answer").to_string(),
            _ => {
                let answers = row["answers"].as_object().unwrap();
                assert_eq!(answers.values().collect::<Vec<_>>(), [&Value::from(1.0)]);
                answers.keys().next().unwrap().clone()
            }
        };
        let question = text(&row, "question");
        assert_eq!(
            given,
            answer(question, &boxes.objects(text(&row, "image"))),
            "{row}"
        );
        assert!(known.contains(&given), "{given}");
        (question.to_string(), given)
    };
    rows(task, split).into_iter().map(check).collect()
}

#[test]
fn answers_are_true_and_no_question_gives_its_own_away() {
    for (task, least) in [("vqa", [8000, 700]), ("gqa", [8000, 700])] {
        for (split, least) in ["train", "dev"].into_iter().zip(least) {
            let pairs = checked_questions(task, split);
            assert!(pairs.len() >= least, "{task} {split}: {}", pairs.len());
            for (question, answers) in answers_by_text(&pairs) {
                let counts: BTreeSet<usize> = answers.values().copied().collect();
                assert!(
                    answers.len() > 1 && counts.len() == 1,
                    "{question}: {answers:?}"
                );
            }
        }
    }
}

#[test]
fn statements_are_judged_right_in_groups_of_two_and_two() {
    for split in ["train", "dev"] {
        let boxes = Boxes::of(split);
        let mut groups: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
        let mut identifiers = HashSet::new();
        for row in rows("nlvr2", split) {
            let (left, right) = (text(&row, "left"), text(&row, "right"));
            let label = row["label"].as_bool().unwrap();
            let statement = text(&row, "statement");
            let found = truth(statement, &boxes.objects(left), &boxes.objects(right));
            assert_eq!(label, found, "{row}");
            let identifier = text(&row, "identifier");
            assert!(identifiers.insert(identifier.to_string()), "{identifier}");
            // As upstream's script groups them: the third field is the pair.
            let fields: Vec<&str> = identifier.split('-').collect();
            assert!(fields.len() == 4 && fields[0] == split, "{identifier}");
            let group = format!("{}-{}", fields[1], fields[3]);
            groups
                .entry(group)
                .or_default()
                .push((statement.to_string(), label));
        }
        assert!(groups.len() >= 200);
        for (group, rows) in groups {
            assert!(rows.iter().all(|(statement, _)| *statement == rows[0].0));
            let yes = rows.iter().filter(|(_, label)| *label).count();
            assert_eq!((rows.len(), yes), (4, 2), "{group}");
        }
    }
}

#[test]
fn captions_match_where_they_are_said_to() {
    for split in ["train", "dev"] {
        let boxes = Boxes::of(split);
        let mut pairs = Vec::new();
        for row in rows("matching", split) {
            let (caption, label) = (text(&row, "text"), row["label"].as_bool().unwrap());
            let own = said(caption) == shown(&boxes.objects(text(&row, "image")));
            assert_eq!(own, label, "{row}");
            pairs.push((caption.to_string(), label.to_string()));
        }
        assert!(pairs.len() >= 900);
        for (caption, labels) in answers_by_text(&pairs) {
            assert_eq!(labels.get("true"), labels.get("false"), "{caption}");
        }

        let mut contents = HashSet::new();
        let retrieval = rows("retrieval", split);
        assert!(if split == "dev" {
            retrieval.len() == 100
        } else {
            retrieval.len() > 2000
        });
        for row in retrieval {
            let objects = shown(&boxes.objects(text(&row, "image")));
            let captions = row["captions"].as_array().unwrap();
            assert_eq!(captions.len(), 3);
            for caption in captions {
                assert_eq!(said(caption.as_str().unwrap()), objects, "{row}");
            }
            // No caption fits another image.
            assert!(contents.insert(format!("{objects:?}")), "{row}");
        }
    }
}

#[test]
fn the_text_alone_is_worth_what_is_said() {
    let info: Value =
        serde_json::from_slice(&fs::read(expanded("tasks/tasks.json")).unwrap()).unwrap();
    for (task, bound) in [
        ("vqa", 0.36),
        ("gqa", 0.45),
        ("nlvr2", 0.5),
        ("matching", 0.5),
    ] {
        let pairs = |split: &str| -> Vec<(String, String)> {
            match task {
                "vqa" | "gqa" => checked_questions(task, split),
                _ => rows(task, split)
                    .iter()
                    .map(|row| {
                        let said = row.get("statement").or(row.get("text")).unwrap();
                        (said.as_str().unwrap().to_string(), row["label"].to_string())
                    })
                    .collect(),
            }
        };
        let (train, dev) = (pairs("train"), pairs("dev"));
        let known = answers_by_text(&train);
        // The best that any guess by text can do on `dev`, knowing its own answers, is more than
        // the reported guess has.
        let mut best = 0;
        let mut guessed = 0;
        for (text, answers) in answers_by_text(&dev) {
            best += answers.values().max().unwrap();
            if let Some(seen) = known.get(text) {
                let most = seen.values().max().unwrap();
                // Of equally common answers the first by spelling.
                let guess = seen.iter().find(|(_, count)| *count == most).unwrap().0;
                guessed += answers.get(guess).unwrap_or(&0);
            }
        }
        let reported = info["tasks"][task]["text_only"]["dev"].as_f64().unwrap();
        let of_dev = |count: usize| count as f64 / dev.len() as f64;
        assert!(reported <= bound, "{task}: {reported}");
        assert!(reported <= of_dev(best) + 1e-9, "{task}: {reported}");
        assert!(reported >= of_dev(guessed) - 1e-9, "{task}: {reported}");
    }
}

#[test]
fn every_word_is_in_the_vocabulary() {
    let tokenizer = Tokenizer::from_vocab_file(expanded("vocab.txt")).unwrap();
    let known: HashSet<String> = fs::read_to_string(expanded("vocab.txt"))
        .unwrap()
        .lines()
        .map(String::from)
        .collect();
    assert!(tokenizer.vocab_size() < 150, "{}", tokenizer.vocab_size());
    for split in ["train", "dev"] {
        for task in ["vqa", "gqa", "nlvr2", "retrieval", "matching"] {
            for row in rows(task, split) {
                let keys = ["question", "statement", "text", "answer"];
                let texts = keys.iter().filter_map(|key| row[*key].as_str());
                let captions = row["captions"].as_array().into_iter().flatten();
                let texts = texts.chain(captions.map(|caption| caption.as_str().unwrap()));
                for word in texts.flat_map(|text| text.trim_end_matches('?').split(' ')) {
                    assert!(known.contains(word), "{word:?} of {row}");
                }
            }
        }
    }
    if let Ok(shipped) = fs::read(sample().join("weights/vocab.txt")) {
        assert!(
            shipped == fs::read(expanded("vocab.txt")).unwrap(),
            "the weights were made with another vocabulary: make them again"
        );
    }
}

fn bytes(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let from = [expanded("train"), expanded("dev")];
    let out = dir.path().join("tasks");
    build_tasks(&from, &out, DEFAULT_SEED, false).unwrap();
    assert!(bytes(&out) == bytes(&expanded("tasks")));
    // A split does not depend on the other.
    let alone = dir.path().join("alone");
    let info = build_tasks(&from[1..], &alone, DEFAULT_SEED, false).unwrap();
    assert!(info.tasks["vqa"].text_only.is_empty());
    assert_eq!(bytes(&alone)["vqa-dev.jsonl"], bytes(&out)["vqa-dev.jsonl"]);
    // Another seed asks otherwise.
    build_tasks(&from, &out, DEFAULT_SEED + 1, true).unwrap();
    assert!(bytes(&out)["vqa-dev.jsonl"] != bytes(&alone)["vqa-dev.jsonl"]);
}

#[test]
fn what_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tasks");
    let build = |from: &[PathBuf]| message(build_tasks(from, &out, 1, false));
    let found = build(&[dir.path().join("nowhere")]);
    assert!(found.contains("nowhere/dataset.json is missing"), "{found}");
    let found = build(&[expanded("dev"), expanded("dev")]);
    assert!(
        found.contains("a second data set of the split dev"),
        "{found}"
    );
    assert!(!out.exists());
    fs::create_dir(&out).unwrap();
    fs::write(out.join("letter.txt"), "x").unwrap();
    let found = build(&[expanded("dev")]);
    assert!(found.contains("already exists"), "{found}");
}
