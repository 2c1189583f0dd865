//! The tasks on scenes: everything said is true, by another reading of the scene graphs, and no text
//! gives its answer away.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use common::{message, sample};
use oscar_core::input::Tokenizer;
use oscar_datasets::rows::read_rows;
use oscar_sample::miniature::{TasksInfo, build_tasks};
use oscar_sample::scenes::{ScenesOptions, build_scenes};
use serde_json::Value;

const COUNT: usize = 400;

/// Two splits, and the tasks on them.
static BUILT: LazyLock<(tempfile::TempDir, TasksInfo)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let from = ["train", "near"].map(|split| {
        let options = ScenesOptions {
            pictures: false,
            ..ScenesOptions::new(split, COUNT, 42)
        };
        let out = dir.path().join(split);
        build_scenes(&sample().join("scenes"), &out, &options).unwrap();
        out
    });
    let info = build_tasks(&from, &dir.path().join("tasks"), 42, false).unwrap();
    (dir, info)
});

fn built(name: &str) -> PathBuf {
    BUILT.0.path().join(name)
}

fn rows(task: &str) -> Vec<Value> {
    read_rows(&built(&format!("tasks/{task}-near.jsonl"))).unwrap()
}

/// The objects of each scene, as its graph has them.
static OBJECTS: LazyLock<BTreeMap<String, Vec<Value>>> = LazyLock::new(|| {
    let graphs: Vec<Value> = read_rows(&built("near/scenes.jsonl")).unwrap();
    let objects = |graph: Value| {
        let key = graph["image"].as_str().unwrap().to_string();
        (key, graph["objects"].as_array().unwrap().clone())
    };
    graphs.into_iter().map(objects).collect()
});

fn objects(key: &Value) -> &'static [Value] {
    &OBJECTS[key.as_str().unwrap()]
}

/// Whether `noun` of a question or statement means the object.
fn is_meant(noun: &str, object: &Value) -> bool {
    let animals = ["animal", "bird", "sea animal", "insect"];
    let category = object["category"].as_str().unwrap();
    match noun.strip_suffix('s').unwrap_or(noun) {
        "animal" => animals.contains(&category),
        class @ ("bird" | "vehicle" | "building") => category == class,
        _ => object["name"] == noun || object["plural"] == noun,
    }
}

/// How many objects of a scene `noun` means, its article left out.
fn count(noun: &str, key: &Value) -> usize {
    let mut articles = ["a ", "an ", "some ", "any "].into_iter();
    let noun = articles
        .find_map(|article| noun.strip_prefix(article))
        .unwrap_or(noun);
    objects(key)
        .iter()
        .filter(|object| is_meant(noun, object))
        .count()
}

fn place(object: &Value) -> [i64; 4] {
    std::array::from_fn(|at| object["box"][at].as_i64().unwrap())
}

fn truth(yes: bool) -> String {
    if yes { "yes" } else { "no" }.into()
}

/// Whether the object is wholly on the side of `middle` that `text` names.
fn is_beside(text: &str, object: &Value, middle: [i64; 4]) -> bool {
    let [x1, y1, x2, y2] = place(object);
    match text {
        text if text.contains("left of") => x2 <= middle[0],
        text if text.contains("right of") => x1 >= middle[2],
        text if text.contains("above") => y2 <= middle[1],
        _ => y1 >= middle[3],
    }
}

/// The answer that the graph gives to a question, and the form of the question.
fn answer(question: &str, key: &Value) -> (&'static str, String) {
    let text = question.strip_suffix(" ?").unwrap();
    let after = |start: &str| text.strip_prefix(start);
    if let Some(noun) = after("how many ") {
        let count = count(noun.strip_suffix(" are there").unwrap(), key);
        return ("how many", ["zero", "one", "two", "three"][count].into());
    }
    if let Some((a, b)) = after("are there both ").map(|pair| pair.split_once(" and ").unwrap()) {
        return ("both", truth(count(a, key) > 0 && count(b, key) > 0));
    }
    if let Some((a, b)) = after("are there more ").map(|pair| pair.split_once(" than ").unwrap()) {
        return ("more", truth(count(a, key) > count(b, key)));
    }
    if let Some(noun) = after("is there ").or(after("are there ")) {
        return ("is there", truth(count(noun, key) > 0));
    }
    if let Some(pair) = after("is ") {
        let sides = [
            " to the left of ",
            " to the right of ",
            " above ",
            " below ",
        ];
        let side = sides.into_iter().find(|side| pair.contains(side)).unwrap();
        let (a, b) = pair.split_once(side).unwrap();
        let of = |noun: &str| {
            let noun = noun.split_once(' ').unwrap().1.to_string();
            objects(key)
                .iter()
                .filter(move |object| is_meant(&noun, object))
        };
        let related = of(a).any(|a| of(b).any(|b| a != b && is_beside(side, a, place(b))));
        return ("related", truth(related));
    }
    let (form, attribute) = match after("what category is the thing ") {
        Some(_) => ("category", "category"),
        None => ("what", "name"),
    };
    let anchor = text.rsplit_once("the ").unwrap().1;
    let middle = objects(key)
        .iter()
        .find(|object| object["name"] == anchor)
        .unwrap();
    let beside = objects(key)
        .iter()
        .filter(|object| is_beside(text, object, place(middle)));
    let found: BTreeSet<&str> = beside
        .map(|object| object[attribute].as_str().unwrap())
        .collect();
    assert_eq!(found.len(), 1, "{question} {key}");
    (form, found.into_iter().next().unwrap().into())
}

#[test]
fn answers_are_true() {
    let mut forms: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows("vqa").into_iter().chain(rows("gqa")) {
        let given = match row.get("answer") {
            Some(answer) => answer.as_str().unwrap(),
            None => row["answers"].as_object().unwrap().keys().next().unwrap(),
        };
        let (form, wanted) = answer(row["question"].as_str().unwrap(), &row["image"]);
        assert_eq!(given, wanted, "{row}");
        *forms.entry(form).or_default() += 1;
    }
    assert_eq!(forms.len(), 7, "{forms:?}");
}

#[test]
fn statements_are_true_or_not_as_labelled() {
    let rows = rows("nlvr2");
    for row in &rows {
        let statement = row["statement"].as_str().unwrap();
        let shown = |noun: &str| (count(noun, &row["left"]), count(noun, &row["right"]));
        let after = |start: &str| statement.strip_prefix(start).map(shown);
        let truth = if let Some((left, right)) = after("both images show ") {
            left > 0 && right > 0
        } else if let Some((left, right)) = after("neither image shows ") {
            left + right == 0
        } else if let Some((left, right)) = after("exactly one image has ") {
            (left > 0) != (right > 0)
        } else if let Some((left, _)) = after("the left image shows ") {
            left > 0
        } else if let Some((_, right)) = after("the right image shows ") {
            right > 0
        } else {
            let rest = statement.strip_prefix("there are more ").unwrap();
            let (noun, side) = rest.split_once(" in the ").unwrap();
            let (left, right) = shown(noun);
            if side.starts_with("left") {
                left > right
            } else {
                left < right
            }
        };
        assert_eq!(row["label"].as_bool().unwrap(), truth, "{row}");
    }
    assert!(rows.len() > COUNT / 2, "{}", rows.len());
}

#[test]
fn texts_alone_tell_little_and_are_in_the_vocabulary() {
    // Questions of what is beside a thing are rarely seen twice here; the others are balanced.
    for (task, most) in [
        ("vqa", 0.5),
        ("gqa", 0.5),
        ("nlvr2", 0.5),
        ("matching", 0.5),
    ] {
        let blind = BUILT.1.tasks[task].text_only["near"];
        assert!(blind <= most + 1e-9, "{task}: {blind}");
    }
    let tokenizer = Tokenizer::from_vocab_file(built("near/vocab.txt")).unwrap();
    let known = |text: &str| {
        let pieces = tokenizer.tokens(text);
        let letter = |piece: &str| piece.len() == 1 && !["a", "i", ",", "?"].contains(&piece);
        let spelled = |piece: &&str| piece.starts_with("##") && *piece != "##s" || letter(piece);
        assert_eq!(
            pieces.iter().copied().find(|piece| spelled(piece)),
            None,
            "{text}: {pieces:?}"
        );
    };
    for task in ["vqa", "gqa", "nlvr2", "retrieval", "matching"] {
        let rows = rows(task);
        assert!(!rows.is_empty(), "{task}");
        for row in rows {
            let texts = ["question", "answer", "statement", "text"].map(|key| row[key].as_str());
            texts.into_iter().flatten().for_each(known);
            let captions = row["captions"].as_array();
            captions
                .into_iter()
                .flatten()
                .for_each(|text| known(text.as_str().unwrap()));
        }
    }
}

#[test]
fn data_sets_of_two_kinds_are_not_mixed() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    let head = r#"{"format": "oscar-nlvr1", "split": "dev"}"#;
    fs::write(other.join("dataset.json"), head).unwrap();
    let found = message(build_tasks(
        &[built("near"), other],
        &dir.path().join("x"),
        42,
        false,
    ));
    assert!(
        found.contains("other") && found.contains("oscar-scenes"),
        "{found}"
    );
}
