//! What came with ROSITA: referring expressions in every form, annotations with scene graphs, word vectors.

use std::sync::OnceLock;

use oscar_core::input::WordVectors;
use oscar_datasets::{OfficialCorpusOptions, open_corpus};
use oscar_refer::Refer;
use oscar_task::{Split as _, Task, TaskData};
use serde_json::json;

use super::files;
use super::seeds::{Files, numbered};
use super::targets::change;
use super::tasks::{ROLES, concerned, count, encoder, file, lines, regions};

/// Expressions as rows, in ROSITA's form, and in REFER's two files.
fn expression_files() -> Files {
    let rows = [
        json!({"image": "a", "expression": "a dog", "box": [1, 2, 30, 40]}),
        json!({"image": "b", "expression": "it is red", "box": [0.5, 0, 9, 9.5], "width": 64,
            "height": 48, "tags": "hat", "id": 3}),
    ];
    let official = json!({"type": "rec", "text": "a dog", "text_id": 1, "img_file": "a", "img_id": "a",
        "gt_boxes": [1.0, 2.0, 30.0, 40.0], "image_h": 48, "image_w": 64});
    let instances = json!({
        "images": [{"id": 7, "width": 64, "height": 48, "file_name": "7.jpg"}],
        "annotations": [{"id": 5, "image_id": 7, "bbox": [1.0, 2.0, 30.0, 20.0]}],
    });
    // A reference with one sentence.
    let pickle = "(lp0\n(dS'ref_id'\nI1\nsS'ann_id'\nI5\nsS'image_id'\nI7\nsS'split'\nS'train'\n\
                  sS'sentences'\n(l(dS'sent_id'\nI2\nsS'sent'\nS'red dog'\nsasa.";
    vec![
        file("rows.jsonl", lines(&rows)),
        file("official.json", json!({"train": [official]}).to_string()),
        file("refs.p", pickle),
        file("instances.json", instances.to_string()),
    ]
}

pub(super) fn read_refer_split(input: &[u8]) {
    static ORIGINAL: OnceLock<Files> = OnceLock::new();
    let original = ORIGINAL.get_or_init(expression_files);
    let Some((place, changed)) = change("refer", original, input) else {
        return;
    };
    let splits = [
        ["rows.jsonl", ""],
        ["official.json", ""],
        ["refs.p", "instances.json"],
    ];
    for [expressions, _] in concerned(&splits, changed) {
        let split = oscar_refer::Split::new(place.join(expressions), Some(regions()));
        for role in ROLES {
            let Some(data) = count(Refer::default().open(&split, role, &encoder())) else {
                continue;
            };
            for index in 0..data.len().min(16) {
                if let Ok(example) = data.example(index)
                    && let Some(truth) = example.truth
                {
                    example.candidates.targets(truth);
                }
            }
        }
    }
}

pub(super) fn refer_splits() -> Vec<Vec<u8>> {
    numbered(expression_files())
}

/// Annotations of images of the store that no input changes.
pub(super) fn read_rosita_corpus(input: &[u8]) {
    let path = files::file("rosita.tsv", input);
    let options = OfficialCorpusOptions::default();
    if let Ok(corpus) = open_corpus(&path, &regions(), options) {
        (0..corpus.rows.len().min(64)).for_each(|row| {
            let _ = corpus.rows.get(row);
        });
    }
}

pub(super) fn rosita_corpora() -> Vec<Vec<u8>> {
    let graph = json!({"objs": [[[1]], [[5]]], "attrs": [[[1], [0]]], "rels": [[[1], [2, 3], [5]]],
        "mixed": []});
    let row = |text: &str, answers: &str, graph: &str| {
        let text = json!(text);
        format!("itm\tcoco\ttrain\t1\t{text}\t{text}\tcoco\t7\ta\t{{}}\t{answers}\t{graph}\n")
    };
    let text = "red dog left of the hat";
    let captions =
        row(text, "null\tnull", &graph.to_string()) + &row("a dog", "null\tnull", "null");
    let question = row("is it a dog?", "\"yes\"\t[\"yes\", \"no\"]", "");
    vec![captions.into_bytes(), question.into_bytes()]
}

pub(super) fn read_word_vectors(input: &[u8]) {
    let _ = WordVectors::read(input, |_| true);
}

pub(super) fn word_vectors() -> Vec<Vec<u8>> {
    vec![b"dog 0.5 -1 2e-3\nhat 1 0 0\n, 0 0 1\n".to_vec()]
}

#[cfg(test)]
mod tests {
    use oscar_datasets::RegionStore;

    use super::super::seeds::write_store;
    use super::*;

    /// A target whose seeds are refused reads nothing of what is changed.
    #[test]
    fn annotations_are_read_unless_damaged() {
        let place = tempfile::tempdir().unwrap();
        let store = place.path().join("store");
        write_store(&store);
        for (number, seed) in rosita_corpora().into_iter().enumerate() {
            let path = place.path().join(format!("{number}.tsv"));
            std::fs::write(&path, seed).unwrap();
            let corpus = open_corpus(&path, &store, OfficialCorpusOptions::default()).unwrap();
            for row in 0..corpus.rows.len() {
                corpus.rows.get(row).unwrap();
            }
        }
        let store = RegionStore::open(&store).unwrap();
        assert_eq!(store.labels(0).unwrap().objects, [0]);
    }
}
