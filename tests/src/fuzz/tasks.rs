//! The files that tasks read: annotations of every form, vocabularies, candidates, constraints,
//! kept scores. An input is one file of a split, after the number of the file; the others stay.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use oscar_captioning::constraints::{ConstraintFiles, Constraints};
use oscar_captioning::{CaptionData, Captioning};
use oscar_core::input::{ExampleSeed, PaddingConfig, SequenceConfig, SequenceEncoder, Tokenizer};
use oscar_datasets::answers::AnswerCounts;
use oscar_datasets::questions::count_answers;
use oscar_gqa::Gqa;
use oscar_matching::Matching;
use oscar_nlvr2::{Arrangement, Nlvr2};
use oscar_retrieval::{Fingerprint, Retrieval, ScoreCache};
use oscar_search::{NewIndex, VectorIndex, Vectors};
use oscar_task::{ClassData, Classify, Logits, Role, Split, TaskData};
use oscar_vqa::Vqa;
use serde_json::json;
use tempfile::TempDir;

use super::files;
use super::seeds::{Files, numbered, write_store};
use super::targets::change;

const SEED: ExampleSeed = ExampleSeed { seed: 0, epoch: 0 };

pub(super) const ROLES: [Role; 3] = [Role::Train, Role::Validate, Role::Evaluate];

/// The images `a`, `b` and `7`, which no input changes.
pub(super) fn regions() -> PathBuf {
    static PLACE: OnceLock<TempDir> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let place = tempfile::tempdir().expect("a temporary directory");
        write_store(&place.path().join("store"));
        place
    });
    place.path().join("store")
}

fn tokenizer() -> Arc<Tokenizer> {
    static TOKENIZER: OnceLock<Arc<Tokenizer>> = OnceLock::new();
    let words = "[PAD] [UNK] [CLS] [SEP] [MASK] a dog cat is it ##s red hat yes no";
    let new = || {
        let vocab = words.split(' ').map(String::from).collect();
        Arc::new(Tokenizer::from_vocab(vocab).expect("a vocabulary"))
    };
    TOKENIZER.get_or_init(new).clone()
}

pub(super) fn encoder() -> SequenceEncoder {
    let config = SequenceConfig {
        max_seq_length: 24,
        max_regions: 2,
        ..SequenceConfig::default()
    };
    SequenceEncoder::new(tokenizer(), config, PaddingConfig::default()).expect("an encoder")
}

thread_local! {
    /// Splits that this thread has tried to open, and those that it has opened.
    static OPENED: Cell<[usize; 2]> = const { Cell::new([0, 0]) };
}

pub(super) fn count<T, E>(opened: Result<T, E>) -> Option<T> {
    let [tried, before] = OPENED.get();
    OPENED.set([tried + 1, before + usize::from(opened.is_ok())]);
    opened.ok()
}

/// Opens a split for everything it can be opened for, reads its examples and judges answers.
fn exercise<T: Classify>(task: &T, data: PathBuf, more: impl Fn(&mut T::Split)) {
    let mut split = T::Split::new(data, Some(regions()));
    more(&mut split);
    for role in ROLES {
        let Some(data) = count(task.open(&split, role, &encoder())) else {
            continue;
        };
        for index in 0..data.len().min(16) {
            let _ = data.example(index, SEED);
        }
        let (rows, labels) = (data.len() * data.rows_per_example(), task.class_names());
        if let (0..4096, Ok(labels)) = (rows, labels) {
            let logits = vec![0.5; rows * labels.len()];
            let _ = data.evaluate(&Logits::new(labels.len(), logits));
        }
    }
}

pub(super) fn file(name: &str, content: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.into(), content.into())
}

/// Rows as JSON lines.
pub(super) fn lines(rows: &[serde_json::Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// Answers as a list and as labels, JSON and pickle.
fn answers() -> Files {
    vec![
        file("list.json", r#"["yes", "no", "red"]"#),
        file("labels.json", r#"{"yes": 0, "no": 1, "red": 2}"#),
        file("list.pkl", "(lp0\nVyes\np1\naVno\np2\naVred\np3\na."),
        file(
            "labels.pkl",
            b"\x80\x02}q\x00(X\x03\x00\x00\x00yesq\x01K\x00X\x02\x00\x00\x00noq\x02K\x01u.",
        ),
    ]
}

/// Questions as published, in plain rows and in the official code's.
fn question_files() -> Files {
    let people: Vec<_> = (1..=10)
        .map(|id| json!({"answer": "yes", "answer_confidence": "maybe", "answer_id": id}))
        .collect();
    let published = json!({"info": {}, "questions": [
        {"question_id": 10, "image_id": 7, "question": "is it a dog?"},
    ]});
    let annotations = json!({"annotations": [{
        "question_id": 10, "image_id": 7, "question_type": "is", "answer_type": "yes/no",
        "multiple_choice_answer": "yes", "answers": people,
    }]});
    let plain = lines(&[
        json!({"id": "1", "image": "a", "question": "is it?", "answers": ["yes", "yes", "no"]}),
        json!({"image": "b", "question": "a cat?", "answers": {"yes": 0.3}, "tags": "red hat"}),
        json!({"image": "b", "question": "a dog?", "answer": "no", "question_type": "x"}),
    ]);
    let official = json!([
        {"q": "is it?", "o": "dog;cat", "an": [0, 1], "s": [1.0, 0.3], "img_id": "a", "q_id": 7},
        {"q": "a dog", "o": "", "an": [2], "img_id": "b", "q_id": "0012"},
    ]);
    let mut files = answers();
    files.extend([
        file("published.json", published.to_string()),
        file("annotations.json", annotations.to_string()),
        file("plain.jsonl", plain),
        file("official.json", official.to_string()),
    ]);
    files
}

/// A copy of the files with one changed, and which.
macro_rules! changed {
    ($name:literal, $files:expr, $input:expr) => {{
        static ORIGINAL: OnceLock<Files> = OnceLock::new();
        match change($name, ORIGINAL.get_or_init($files), $input) {
            Some(changed) => changed,
            None => return,
        }
    }};
}

/// Questions, answers and annotations of a split; the last may be missing.
const QUESTIONS: [[&str; 3]; 4] = [
    ["published.json", "list.json", "annotations.json"],
    ["plain.jsonl", "labels.json", ""],
    ["official.json", "list.pkl", ""],
    ["plain.jsonl", "labels.pkl", ""],
];

/// The splits that read the file that was changed.
pub(super) fn concerned<const N: usize>(
    splits: &[[&'static str; N]],
    changed: &str,
) -> Vec<[&'static str; N]> {
    let splits = splits.iter().filter(|split| split.contains(&changed));
    splits.copied().collect()
}

pub(super) fn read_vqa_split(input: &[u8]) {
    let (place, changed) = changed!("vqa", question_files, input);
    for [questions, answers, annotations] in concerned(&QUESTIONS, changed) {
        let task = Vqa {
            answers: Some(place.join(answers)),
            ..Vqa::default()
        };
        exercise(&task, place.join(questions), |split| {
            if !annotations.is_empty() {
                split.add_annotations(place.join(annotations));
            }
        });
    }
}

pub(super) fn question_splits() -> Vec<Vec<u8>> {
    numbered(question_files())
}

pub(super) fn read_gqa_split(input: &[u8]) {
    let (place, changed) = changed!("gqa", question_files, input);
    for [questions, answers, _] in concerned(&QUESTIONS[1..], changed) {
        let task = Gqa {
            answers: Some(place.join(answers)),
            ..Gqa::default()
        };
        exercise(&task, place.join(questions), |_| {});
    }
}

pub(super) fn read_answer_counts(input: &[u8]) {
    let mut counts = AnswerCounts::default();
    let _ = count_answers(&files::file("answers", input), &mut counts);
}

pub(super) fn answer_counts() -> Vec<Vec<u8>> {
    let questions = question_files().into_iter().skip(answers().len());
    questions.map(|(_, content)| content).collect()
}

fn statement_files() -> Files {
    vec![
        file(
            "plain.jsonl",
            lines(&[
                json!({"statement": "a dog", "left": "a", "right": "b", "label": true}),
                json!({"text": "a cat", "left": "b", "right": "a", "label": "False",
                    "tags": {"left": "dog", "right": "hat"}, "identifier": "dev-1-0-0"}),
            ]),
        ),
        file(
            "one.jsonl",
            lines(&[json!({"statement": "a dog", "image": "a", "label": true, "tags": "dog"})]),
        ),
        file(
            "official.json",
            json!([{"q": "a dog", "o": {"left": "dog", "right": ""}, "label": 1,
                "img_id": {"left": "a", "right": "b"}, "identifier": "dev-1-0-1"}])
            .to_string(),
        ),
    ]
}

pub(super) fn read_nlvr2_split(input: &[u8]) {
    let (place, changed) = changed!("nlvr2", statement_files, input);
    let images = match changed {
        "one.jsonl" => Arrangement::Joined,
        _ => Arrangement::Pair,
    };
    exercise(&Nlvr2 { images }, place.join(changed), |_| {});
}

pub(super) fn nlvr2_splits() -> Vec<Vec<u8>> {
    numbered(statement_files())
}

pub(super) fn read_matching_split(input: &[u8]) {
    exercise(&Matching {}, files::file("pairs.jsonl", input), |_| {});
}

pub(super) fn matching_splits() -> Vec<Vec<u8>> {
    let rows = [
        json!({"image": "a", "text": "a dog", "label": true}),
        json!({"image": "b", "text": "a cat", "label": false, "tags": "hat", "id": 3}),
    ];
    let array = serde_json::Value::from(rows.to_vec()).to_string();
    vec![lines(&rows).into_bytes(), array.into_bytes()]
}

fn coco() -> String {
    json!({"images": [{"id": "a", "open_images_id": "x"}, {"id": "b"}], "annotations": [
        {"image_id": "a", "id": 1, "caption": "a dog"},
        {"image_id": "b", "id": 2, "caption": "a red hat"},
        {"image_id": "b", "id": 3, "caption": "it is a cat"},
    ]})
    .to_string()
}

fn retrieval_files() -> Files {
    let rows = [
        json!({"image": "a", "captions": ["a dog", "is it"]}),
        json!({"image": "b", "captions": ["a cat", "a red hat"], "tags": "hat"}),
    ];
    vec![
        file("captions.jsonl", lines(&rows)),
        // {"a": ["dog"], "b": '["cat"]'}.
        file(
            "captions.pt",
            b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02X\x03\x00\x00\x00dogq\x03aX\x01\x00\x00\x00bq\x04X\x07\x00\x00\x00[\"cat\"]q\x05u.",
        ),
        file("coco.json", coco()),
        file("keys.tsv", "a\t0\nb\t1\n"),
        // {"a": [["b", 0], ["a", 0]], "b": '[["a", 0], ["b", 0]]'}.
        file(
            "candidates.pt",
            "(dp0\nVa\n(l(lVb\naI0\naa(lVa\naI0\naasVb\nV[[\"a\", 0], [\"b\", 0]]\ns.",
        ),
    ]
}

pub(super) fn read_retrieval_split(input: &[u8]) {
    let (place, changed) = changed!("retrieval", retrieval_files, input);
    let task = Retrieval::default();
    let splits = [
        ["captions.jsonl", "", ""],
        ["captions.jsonl", "keys.tsv", "candidates.pt"],
        ["captions.pt", "", ""],
        ["coco.json", "keys.tsv", ""],
    ];
    for [captions, keys, candidates] in concerned(&splits, changed) {
        exercise(&task, place.join(captions), |split| {
            let given = |name: &str| match name {
                "" => None,
                name => Some(place.join(name)),
            };
            (split.image_keys, split.candidates) = (given(keys), given(candidates));
        });
    }
}

pub(super) fn retrieval_splits() -> Vec<Vec<u8>> {
    numbered(retrieval_files())
}

fn constraint_files() -> Files {
    let hierarchy = json!({"LabelName": "Entity", "Subcategory": [
        {"LabelName": "Dog"}, {"LabelName": "Hat", "Subcategory": [{"LabelName": "Red"}]},
    ]});
    let boxes = "a\t[{\"rect\": [1, 2, 30, 40], \"class\": \"Dog\", \"conf\": 0.9}, \
                 {\"rect\": [0, 0, 9, 9.5], \"class\": \"red hat\", \"conf\": 0.5}]\nb\t[]\n";
    vec![
        file("boxes.tsv", boxes),
        file("hierarchy.json", hierarchy.to_string()),
        file("tokens.tsv", "dog\tdog\nred\tred\nhat\that,##s\n"),
        file("forms.tsv", "dog\tdog,cat\n"),
    ]
}

fn ask(constraints: &Constraints) {
    for image in ["a", "b"] {
        constraints.of_image(image);
        let _ = constraints.automaton(image, &tokenizer());
    }
}

fn constraints_in(place: &Path, official: bool) -> Option<Constraints> {
    let paths = constraint_files()
        .into_iter()
        .map(|(name, _)| place.join(name));
    let [boxes, hierarchy, tokens, forms] = &paths.collect::<Vec<_>>()[..] else {
        return None;
    };
    let files = ConstraintFiles {
        boxes,
        hierarchy,
        tokens,
        forms,
    };
    Constraints::read(&files, official).ok()
}

pub(super) fn read_constraints(input: &[u8]) {
    let (place, _) = changed!("constraints", constraint_files, input);
    for official in [false, true] {
        if let Some(constraints) = constraints_in(&place, official) {
            ask(&constraints);
        }
    }
}

pub(super) fn constraints() -> Vec<Vec<u8>> {
    numbered(constraint_files())
}

fn captioning_files() -> Files {
    let rows = [
        json!({"image": "a", "caption": "a dog"}),
        json!({"image": "b", "captions": ["a cat", "it is"], "tags": "hat"}),
    ];
    let official = json!([{"image_id": "a", "id": 1, "caption": "a dog"},
        {"image_id": "b", "id": 2, "caption": "a cat"}]);
    let yaml = "caption: coco.json\nlabel: label.tsv\ncbs_box: boxes.tsv\n\
                cbs_constraint: tokens.tsv\ncbs_tokenforms: forms.tsv\n\
                cbs_hierarchy: hierarchy.json\n";
    let mut files = vec![
        file("rows.jsonl", lines(&rows)),
        file("official.json", official.to_string()),
        file("coco.json", coco()),
        file("split.yaml", yaml),
    ];
    files.extend(constraint_files());
    files
}

/// Opens captions as a short captioner reads them.
fn open_captions(file: PathBuf, role: Role) -> Option<CaptionData> {
    let mut task = Captioning {
        max_caption_length: 12,
        ..Captioning::default()
    };
    task.constraints.enabled = file.ends_with("split.yaml");
    let split = oscar_captioning::Split::new(file, Some(regions()));
    count(CaptionData::open(&split, role, &task, encoder()))
}

pub(super) fn read_captioning_split(input: &[u8]) {
    let (place, changed) = changed!("captioning", captioning_files, input);
    let captions = match changed {
        "rows.jsonl" | "official.json" => changed,
        _ => "split.yaml",
    };
    for role in ROLES {
        if let Some(data) = open_captions(place.join(captions), role) {
            describe(&data);
        }
    }
}

fn describe(data: &CaptionData) {
    for index in 0..data.len().min(16) {
        let _ = match data.by_image() {
            true => data.context(index).map(drop),
            false => data.caption(index, SEED).map(drop),
        };
    }
    if let Some(constraints) = data.constraints() {
        ask(constraints);
    }
}

pub(super) fn captioning_splits() -> Vec<Vec<u8>> {
    numbered(captioning_files())
}

/// Scores that a file is asked for.
const SCORES: usize = 10;

fn fingerprint() -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.add(b"scores");
    fingerprint
}

pub(super) fn read_score_cache(input: &[u8]) {
    let directory = files::directory("scores", &[]);
    let open = || ScoreCache::open(&directory, &fingerprint(), SCORES);
    static NAME: OnceLock<std::ffi::OsString> = OnceLock::new();
    let name = NAME.get_or_init(|| {
        let (cache, _) = open().expect("a new file");
        cache.path().file_name().expect("a name").to_os_string()
    });
    std::fs::write(directory.join(name), input).expect("a file");
    if let Ok((_, scores)) = open() {
        assert!(scores.len() <= SCORES, "more scores than were asked for");
    }
}

pub(super) fn score_caches() -> Vec<Vec<u8>> {
    let place = tempfile::tempdir().expect("a temporary directory");
    let (mut cache, _) =
        ScoreCache::open(place.path(), &fingerprint(), SCORES).expect("a new file");
    for scores in [&[1.0, 2.0, 3.0][..], &[4.0, 5.0]] {
        cache.append(scores).expect("it is written");
    }
    vec![std::fs::read(cache.path()).expect("a file")]
}

/// Values of a vector of the index.
const WIDTH: usize = 3;

pub(super) fn read_index(input: &[u8]) {
    let path = files::file("pictures.index", input);
    if let Ok(index) = VectorIndex::open(&path) {
        let key = |row| index.key(row).len();
        assert!((0..index.len()).map(key).sum::<usize>() <= input.len());
        let query = Vectors::new(index.width(), vec![0.5; index.width()]).expect("a vector");
        let found = index.search(&query, 2).expect("a query of this width");
        assert!(found[0].len() <= index.len());
    }
}

pub(super) fn indexes() -> Vec<Vec<u8>> {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("pictures.index");
    let keys = ["a", "", "übung"].map(String::from);
    let new = NewIndex {
        keys: &keys,
        width: WIDTH,
        checkpoint: "weights",
        store: "store",
    };
    let values = (0..keys.len() * WIDTH).map(|at| at as f32 / 9.0).collect();
    let vectors = Vectors::new(WIDTH, values).expect("vectors");
    new.write(&path, |write| write(&vectors)).expect("an index");
    vec![std::fs::read(&path).expect("a file")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::TARGETS;

    /// What refuses everything at opening reads nothing of what is changed.
    #[test]
    fn splits_are_opened_unless_damaged() {
        let splits = TARGETS.iter().filter(|one| one.name.ends_with("_split"));
        let mut seen = 0;
        for target in splits {
            let mut opened = 0;
            for (number, seed) in (target.seeds)().iter().enumerate() {
                OPENED.set([0, 0]);
                (target.run)(seed);
                let [tried, now] = OPENED.get();
                assert!(
                    tried == 0 || now > 0,
                    "{}: {number} is refused",
                    target.name
                );
                opened += now;
            }
            assert!(opened > 0, "{}: nothing is opened", target.name);
            seen += 1;
        }
        assert_eq!(seen, 7);
    }
}
