//! Opening splits in their forms, and what is wrong with them.

use crate::common;

use common::{Place, contexts, encoder, model, open, refusal, sequences, special, task, tokenizer};
use oscar_captioning::{Captioning, ConstraintSection, Split};
use oscar_core::decode::{GenerationConfig, greedy};
use oscar_core::input::ExampleSeed;
use oscar_core::model::CaptionSteps;
use oscar_task::{Role, Task, TaskData};

/// A row of an official feature table: one region of 2054 zeros.
fn feature_row(key: &str) -> String {
    let values = "A".repeat(10_955) + "=";
    format!("{key}\t{{\"num_boxes\": 1, \"features\": \"{values}\"}}\n")
}

#[test]
fn rows_and_coco_give_the_same() {
    let place = Place::new(3);
    let rows = place.write(
        "rows.jsonl",
        "{\"image\": \"2\", \"captions\": [\"a dog\", \"two dogs\"]}\n{\"image\": \"1\", \"caption\": \"a cat\"}\n",
    );
    let coco = place.write(
        "coco.json",
        r#"{"images": [{"id": 2}, {"id": 1}], "annotations": [{"image_id": 2, "caption": "a dog"},
            {"image_id": 1, "caption": "a cat"}, {"image_id": 2, "caption": "two dogs"}]}"#,
    );
    for captions in [rows, coco] {
        let data = open(&place.split(&captions), Role::Train).unwrap();
        assert_eq!(data.len(), 3);
        let keys: Vec<&str> = data
            .images()
            .iter()
            .map(|image| image.key.as_str())
            .collect();
        assert_eq!(keys, ["2", "1"]);
        let ids: Vec<&[u32]> = data.images()[0]
            .captions
            .iter()
            .map(|c| &c.ids[..])
            .collect();
        assert_eq!(ids, [&[5, 9][..], &[17, 18]]);
        let evaluated = open(&place.split(&captions), Role::Evaluate).unwrap();
        assert_eq!(evaluated.len(), 2);
    }
}

#[test]
fn the_official_layout_is_read_in_place() {
    let place = Place::new(1);
    let features = feature_row("7") + &feature_row("9");
    place.write("val.feature.tsv", features);
    let label = "[{\"class\": \"dog\", \"conf\": 0.9, \"rect\": [1, 2, 3, 4]}]";
    place.write("val.label.tsv", format!("7\t{label}\n9\t[]\n"));
    place.write(
        "val_caption.json",
        r#"[{"image_id": "9", "id": 1, "caption": "a cat"}, {"image_id": "7", "id": 2, "caption": "a dog"}]"#,
    );
    let yaml = place.write(
        "val.yaml",
        "feature: val.feature.tsv\nlabel: val.label.tsv\ncaption: val_caption.json\n",
    );
    let split = Split {
        captions: Some(yaml),
        ..Split::default()
    };
    let data = open(&split, Role::Evaluate).unwrap();
    assert_eq!(data.images()[0].key, "9");
    assert!(data.images()[0].tags.is_empty());
    assert_eq!(data.images()[1].tags, [9]);
    assert_eq!(data.regions(1).unwrap().dim(), 2054);
    // Without captions, the images of the tables are described.
    place.write(
        "test.yaml",
        "feature: val.feature.tsv\nlabel: val.label.tsv\n",
    );
    let split = Split {
        captions: Some(place.path("test.yaml")),
        ..Split::default()
    };
    let data = open(&split, Role::Evaluate).unwrap();
    assert_eq!(data.images().len(), 2);
    let found = refusal(&split, Role::Train, &task());
    assert!(found.contains("test.yaml: `7`: no `captions`"), "{found}");
}

#[test]
fn long_captions_are_learned_in_part() {
    let place = Place::new(3);
    let long = "a dog on grass ".repeat(8);
    let captions = place.write(
        "long.jsonl",
        format!("{{\"image\": \"2\", \"caption\": \"{long}\"}}\n"),
    );
    let data = open(&place.split(&captions), Role::Train).unwrap();
    assert_eq!(data.images()[0].captions[0].ids.len(), 32);
    let encoded = data.caption(0, ExampleSeed { seed: 1, epoch: 0 }).unwrap();
    let words = encoded
        .sequence
        .token_type_ids
        .iter()
        .filter(|kind| **kind == 0);
    // [CLS], 10 words, [SEP].
    assert_eq!(words.count(), 12);
    assert!(encoded.masked.len() <= 3);
}

#[test]
fn images_without_regions_are_described() {
    let place = Place::new(3);
    let data = open(&place.split(&place.rows(3)), Role::Evaluate).unwrap();
    assert!(data.regions(0).unwrap().is_empty());
    let model = model(4);
    for images in [&[0][..], &[0, 2]] {
        let mut steps = CaptionSteps::new(&model, contexts(&data, images), special().mask);
        let captions = greedy(&mut steps, &GenerationConfig::greedy(10), special());
        assert_eq!(captions.len(), images.len());
        assert!(captions.iter().all(|caption| caption.score.is_finite()));
    }
}

#[test]
fn wrong_splits_are_refused() {
    let place = Place::new(3);
    let task = task();
    let write = |text: &str| place.split(&place.write("wrong.jsonl", text));
    for (text, role, wanted) in [
        (
            "{\"image\": \"1\", \"captions\": [\"a dog\", \" \"]}",
            Role::Evaluate,
            "an empty `caption 2`",
        ),
        (
            "{\"image\": \"1\", \"captions\": []}",
            Role::Validate,
            "no `captions`",
        ),
        (
            "{\"image\": \"8\", \"caption\": \"a dog\"}",
            Role::Train,
            "image `8` is not in",
        ),
    ] {
        let found = refusal(&write(text), role, &task);
        assert!(
            found.contains("wrong.jsonl:1: ") && found.contains(wanted),
            "{found}"
        );
    }
    let found = refusal(&Split::default(), Role::Train, &task);
    assert!(found.contains("`captions` is not set"), "{found}");
    let split = Split {
        captions: Some(place.rows(2)),
        ..Split::default()
    };
    let found = refusal(&split, Role::Train, &task);
    assert!(found.contains("`regions` is not set"), "{found}");
    let constrained = Captioning {
        constraints: ConstraintSection {
            enabled: true,
            ..ConstraintSection::default()
        },
        ..task
    };
    let found = refusal(&place.split(&place.rows(2)), Role::Evaluate, &constrained);
    assert!(found.contains("`constraint_boxes` is not set"), "{found}");
}

#[test]
fn a_constraint_word_that_cannot_be_said_is_an_error() {
    let place = Place::new(3);
    let split = Split {
        constraint_boxes: Some(place.write(
            "boxes.tsv",
            "1\t[{\"rect\": [0, 0, 9, 9], \"class\": \"Dog\", \"conf\": 0.9}]\n\
             2\t[{\"rect\": [0, 0, 9, 9], \"class\": \"Yak\", \"conf\": 0.9}]\n",
        )),
        constraint_hierarchy: Some(place.write("tree.json", "{\"LabelName\": \"Entity\"}")),
        constraint_tokens: Some(place.write("tokens.tsv", "dog\tdog\nyak\tyak\n")),
        constraint_forms: Some(place.write("forms.tsv", "dog\tdog,dogs\n")),
        ..place.split(&place.rows(3))
    };
    let task = Captioning {
        constraints: ConstraintSection {
            enabled: true,
            ..ConstraintSection::default()
        },
        ..task()
    };
    let data = task.open(&split, Role::Evaluate, &sequences()).unwrap();
    let constraints = data.constraints().unwrap();
    let tokenizer = tokenizer();
    // Image 0 has no row of boxes.
    assert_eq!(constraints.automaton("0", &tokenizer).unwrap().len(), 1);
    let dog = constraints.automaton("1", &tokenizer).unwrap();
    assert_eq!(dog.next(0, 18), [1]);
    let found = constraints
        .automaton("2", &tokenizer)
        .unwrap_err()
        .to_string();
    assert!(
        found.contains("tokens.tsv: the constraint word `yak` is not in the vocabulary")
            && found.contains("image 2"),
        "{found}"
    );
}

#[test]
fn masks_are_the_published_ones() {
    let encoder = encoder();
    let place = Place::new(3);
    let data = open(&place.split(&place.rows(3)), Role::Train).unwrap();
    let image = data.regions(2).unwrap();
    let mut seen = [false; 6];
    for seed in 0..200 {
        let mut rng = ExampleSeed { seed, epoch: 0 }.rng(0);
        let caption = encoder
            .encode(String::new(), &[5, 9, 12, 13], &[15], &image, &mut rng)
            .unwrap();
        // 0.15 of six tokens is one.
        assert_eq!(caption.masked.len(), 1);
        let target = caption.masked[0];
        assert_eq!(target.label, [2, 5, 9, 12, 13, 3][target.position as usize]);
        seen[target.position as usize] = true;
        assert_eq!(caption.sequence.input_ids[6..], [15, 3]);
    }
    assert_eq!(
        seen,
        [false, true, true, true, true, true],
        "never [CLS], but [SEP]"
    );
}
