//! Splits in their forms, what their examples are, and what is refused.

use crate::common;

use std::collections::HashSet;

use common::{Place, Python, encoder, open, pairs, pickle, refusal, texts};
use oscar_core::input::{AttentionRestriction, ExampleSeed};
use oscar_retrieval::{Retrieval, RetrievalData};
use oscar_task::{ClassData, FinetuneConfig, Role, Target, Task, TaskData};

/// Ids, classes and regions of the rows of an example.
fn rows(data: &RetrievalData, index: usize, seed: u64) -> Vec<(Vec<u32>, usize, Target)> {
    let seed = ExampleSeed { seed, epoch: 0 };
    let rows = data.example(index, seed).unwrap();
    rows.into_iter()
        .map(|row| {
            let sequence = &row.sequences[0];
            let regions = sequence.len() - sequence.input_ids.len();
            (sequence.input_ids.clone(), regions, row.target.unwrap())
        })
        .collect()
}

#[test]
fn official_files_are_read() {
    let place = Place::new(3);
    let captions = Python::Dict(vec![
        (Python::Int(2), texts(&["a red dog", "two dog"])),
        (Python::Int(3), Python::Str("[\"a cat\", \"blue cat\"]")),
        (Python::Int(1), texts(&["green bird"])),
    ]);
    let path = place.write("captions.pt", pickle(&captions));
    let mut split = place.split(&path);
    let all = open(&split, Role::Evaluate).unwrap();
    assert_eq!((all.num_images(), all.width()), (3, 5));

    split.image_keys = Some(place.write("keys.tsv", "3\n1\n"));
    let some = open(&split, Role::Evaluate).unwrap();
    assert_eq!((some.num_images(), some.width()), (2, 3));

    split.image_keys = None;
    let candidates = Python::Dict(vec![
        (Python::Int(1), pairs(&[(1, 0), (3, 1)])),
        (Python::Int(2), Python::Str("[[3, 0], [2, 1]]")),
        (Python::Int(3), pairs(&[(1, 0), (2, 0)])),
    ]);
    split.candidates = Some(place.write("top.pt", pickle(&candidates)));
    let listed = open(&split, Role::Validate).unwrap();
    assert_eq!((listed.len(), listed.width()), (3, 2));
    assert_eq!(listed.rows_per_example(), 2);
    // Image 2 is the first of the captions; its candidates are of image 3 and of its own.
    let classes: Vec<Target> = rows(&listed, 0, 0).into_iter().map(|row| row.2).collect();
    assert_eq!(classes, [Target::Class(0), Target::Class(1)]);
    // Image 3 has no own caption among its candidates.
    let classes: Vec<Target> = rows(&listed, 1, 0).into_iter().map(|row| row.2).collect();
    assert_eq!(classes, [Target::Class(0), Target::Class(0)]);
}

#[test]
fn training_pairs_each_caption_with_its_image_and_with_another() {
    let place = Place::new(5);
    let split = place.split(&place.rows(5));
    let data = open(&split, Role::Train).unwrap();
    assert_eq!((data.len(), data.rows_per_example()), (10, 2));
    let (mut captions, mut images) = (0, 0);
    let mut others = HashSet::new();
    for seed in 0..200 {
        let rows = rows(&data, 0, seed);
        let [(ids, regions, positive), (other, other_regions, negative)] = &rows[..] else {
            panic!("{rows:?}");
        };
        assert_eq!((positive, negative), (&Target::Class(1), &Target::Class(0)));
        assert_ne!(ids, other);
        // The caption ends at the first [SEP].
        let parts = |ids: &[u32]| {
            let end = ids.iter().position(|id| *id == 3).unwrap();
            (ids[..end].to_vec(), ids[end..].to_vec())
        };
        let ((caption, tags), (other_caption, other_tags)) = (parts(ids), parts(other));
        if caption == other_caption {
            // Another image comes with its own tags; image n has n regions, 3 of which are used.
            images += 1;
            assert_ne!(tags, other_tags);
            assert_ne!(regions, other_regions);
        } else {
            captions += 1;
            assert_eq!((&tags, regions), (&other_tags, other_regions));
        }
        others.insert(other.clone());
    }
    assert!(
        (70..=130).contains(&captions),
        "{captions} of {}",
        captions + images
    );
    // 8 captions of other images, 4 other images.
    assert_eq!(others.len(), 12);
    assert_eq!(rows(&data, 3, 7), rows(&data, 3, 7));
}

#[test]
fn a_caption_is_cut_first_and_tags_get_what_it_leaves() {
    let place = Place::new(2);
    let split = place.split(&place.rows(2));
    for (longest, lengths) in [
        (16, [8, 13]),
        (12, [8, 12]),
        (11, [8, 10]),
        (9, [8, 9]),
        (7, [7, 7]),
        (6, [5, 6]),
    ] {
        let encoder = encoder(AttentionRestriction::Clr, longest);
        let data = Retrieval::default()
            .open(&split, Role::Train, &encoder)
            .unwrap();
        // Three words and eight; two tags. [CLS] and, after each text of which something is left,
        // [SEP].
        let found = [0, 1].map(|index| rows(&data, index, 0)[0].0.len());
        assert_eq!(found, lengths, "at most {longest}");
    }
}

#[test]
fn validation_draws_candidates() {
    let place = Place::new(5);
    let split = place.split(&place.rows(5));
    let data = open(&split, Role::Validate).unwrap();
    // 8 captions of other images, and one own.
    assert_eq!((data.len(), data.width()), (5, 9));
    for index in 0..5 {
        let own = rows(&data, index, 0)
            .iter()
            .filter(|row| row.2 == Target::Class(1))
            .count();
        assert_eq!(own, 1);
    }
}

#[test]
fn wrong_captions_are_named() {
    let place = Place::new(2);
    for (text, role, parts) in [
        (
            r#"[{"image": "1", "captions": ["a dog"]}, {"image": "9", "captions": ["a cat"]}]"#,
            Role::Evaluate,
            &["captions", "image `9` is not in", "add its regions"][..],
        ),
        (
            r#"[{"image": "1", "captions": ["a dog", " \n"]}, {"image": "2", "captions": ["a"]}]"#,
            Role::Train,
            &["captions.json:1: ", "an empty `caption 2`"],
        ),
        (
            r#"[{"image": "1", "captions": []}, {"image": "2", "captions": ["a"]}]"#,
            Role::Train,
            &["captions.json:1: no `captions`"],
        ),
        (
            r#"[{"image": "1", "captions": ["a dog"]}]"#,
            Role::Train,
            &["a single image", "at least two"],
        ),
    ] {
        let path = place.write("captions.json", text);
        let found = refusal(&place.split(&path), role);
        for part in parts {
            assert!(found.contains(part), "{part:?}: {found}");
        }
    }
}

#[test]
fn wrong_keys_are_named() {
    let place = Place::new(2);
    let mut split = place.split(&place.rows(2));
    let long = format!("1\n{}\n", "2".repeat(5000));
    for (keys, wanted) in [
        ("1\n7\n", "keys.tsv: line 2: image 7 has no captions"),
        ("1\n2\n1\n", "keys.tsv: line 3: image 1 again"),
        ("\n", "keys.tsv: no key"),
        (&long, "keys.tsv: line 2: more than 4096 bytes"),
    ] {
        split.image_keys = Some(place.write("keys.tsv", keys));
        let found = refusal(&split, Role::Evaluate);
        assert!(found.contains(wanted), "{keys:?}: {found}");
    }
}

#[test]
fn wrong_candidates_are_named() {
    let place = Place::new(2);
    let mut split = place.split(&place.rows(2));
    let good = || (Python::Int(1), pairs(&[(1, 0), (2, 1)]));
    let two = |list| Python::Dict(vec![good(), (Python::Int(2), list)]);
    for (value, wanted) in [
        (
            two(pairs(&[(2, 0), (1, 2)])),
            "candidate 2 of image 2: caption 2 of image 1, which has 2",
        ),
        (
            two(pairs(&[(2, 0), (1, -1)])),
            "where an [image id, number of the caption] is expected",
        ),
        (two(pairs(&[(2, 0), (7, 0)])), "image 7 is not in the split"),
        (two(pairs(&[(2, 0)])), "image 2 has 1 candidates, not 2"),
        (two(pairs(&[])), "no candidates for image 2"),
        (Python::Dict(vec![good()]), "no candidates for image 2"),
        (two(Python::Int(3)), "image 2: a int"),
        (pairs(&[(1, 0)]), "it is a list, not a dict"),
    ] {
        split.candidates = Some(place.write("top.pt", pickle(&value)));
        let found = refusal(&split, Role::Validate);
        assert!(found.contains(wanted), "{wanted:?}: {found}");
        assert!(found.contains("top.pt"), "{found}");
    }
}

#[test]
fn damaged_pt_files_are_refused() {
    let place = Place::new(2);
    let whole = pickle(&Python::Dict(vec![
        (Python::Int(1), texts(&["a dog"])),
        (Python::Int(2), texts(&["a cat"])),
    ]));
    for length in 2..whole.len() {
        let path = place.write("captions.pt", &whole[..length]);
        let found = refusal(&place.split(&path), Role::Evaluate);
        assert!(found.contains("captions.pt"), "cut to {length}: {found}");
    }
    let number = Python::Dict(vec![(Python::Int(1), Python::List(vec![Python::Int(4)]))]);
    let path = place.write("captions.pt", pickle(&number));
    let found = refusal(&place.split(&path), Role::Evaluate);
    assert!(
        found.contains("image 1: a int where a caption is expected"),
        "{found}"
    );
}

#[test]
fn an_epoch_has_as_many_steps_as_published() {
    // 113,287 images with 5 captions: the released weights are those of step 132,780.
    let mut config = FinetuneConfig::<Retrieval> {
        epochs: 30,
        ..FinetuneConfig::default()
    };
    config.train.batch_size = 128;
    assert_eq!(config.with_steps(113_287 * 5).train.steps, 132_780);
}

/// As ROSITA's schedules do.
#[test]
fn a_schedule_may_count_in_epochs() {
    let mut config = FinetuneConfig::<Retrieval> {
        epochs: 15,
        warmup_epochs: 1,
        decay_epochs: vec![2, 4],
        ..FinetuneConfig::default()
    };
    config.train.batch_size = 256;
    let settled = config.clone().with_steps(2_500);
    assert_eq!(settled.train.steps, 150);
    assert_eq!(settled.optimizer.warmup_steps, 10);
    assert_eq!(settled.optimizer.decay_steps, [20, 40]);
    config.decay_epochs = vec![4, 2];
    let refused = config.validate().expect_err("epochs that fall").to_string();
    assert!(refused.contains("decay_epochs"), "{refused}");
}
