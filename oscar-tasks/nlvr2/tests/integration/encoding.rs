//! What the model reads of a statement and its images.

use crate::common;

use common::Place;
use oscar_core::input::{EncodedSequence, ExampleSeed};
use oscar_nlvr2::{Arrangement, Nlvr2Data, Split};
use oscar_task::{ClassData, Role, Target};

const ROW: &str = r#"{"left": "b", "right": "a", "statement": "there is a cat", "label": true}"#;

struct Read {
    text: String,
    types: Vec<u8>,
    regions: Vec<f32>,
}

/// What is read of `ROW`, sequence by sequence.
fn read(place: &Place, arrangement: Arrangement, tags: bool, longest: usize) -> Vec<Read> {
    std::fs::write(place.path("rows"), ROW).unwrap();
    let split = Split {
        statements: Some(place.path("rows")),
        regions: Some(place.path("regions")),
    };
    let encoder = place.encoder(tags, longest);
    let data = Nlvr2Data::open(&split, arrangement, Role::Train, encoder.clone()).unwrap();
    let mut rows = data.example(0, ExampleSeed { seed: 1, epoch: 0 }).unwrap();
    assert_eq!(rows.len(), 1);
    let row = rows.remove(0);
    assert_eq!(row.target, Some(Target::Class(1)));
    let words = |sequence: &EncodedSequence| {
        let words: Vec<String> = sequence
            .input_ids
            .iter()
            .map(|id| {
                encoder
                    .tokenizer()
                    .token(*id)
                    .unwrap_or_default()
                    .to_string()
            })
            .collect();
        words.join(" ")
    };
    row.sequences
        .iter()
        .map(|sequence| Read {
            text: words(sequence),
            types: sequence.token_type_ids.clone(),
            regions: first_values(sequence),
        })
        .collect()
}

/// The first value of each region, which tells the images apart.
fn first_values(sequence: &EncodedSequence) -> Vec<f32> {
    let mut values = Vec::new();
    for (image, count) in &sequence.regions {
        let mut own = vec![0.0; count * image.dim()];
        image.copy_into(&mut own).unwrap();
        values.extend(own.chunks(image.dim()).map(|region| region[0]));
    }
    values
}

#[test]
fn a_pair_has_two_sequences_left_first() {
    let place = Place::usual();
    let [left, right] = &read(&place, Arrangement::Pair, false, 16)[..] else {
        panic!("two sequences")
    };
    for side in [left, right] {
        assert_eq!(side.text, "[CLS] there is a cat [SEP]");
        assert_eq!(side.types, [0; 6]);
    }
    assert_eq!(
        (&left.regions[..], &right.regions[..]),
        (&[1.0, 1.0][..], &[0.0, 0.0][..])
    );
}

#[test]
fn tags_stand_with_their_own_image() {
    let place = Place::usual();
    let [left, right] = &read(&place, Arrangement::Pair, true, 16)[..] else {
        panic!("two sequences")
    };
    assert_eq!(left.text, "[CLS] there is a cat [SEP] dog old dog [SEP]");
    assert_eq!(left.types, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(right.text, "[CLS] there is a cat [SEP] cat [SEP]");
}

#[test]
fn joined_images_stand_in_one_sequence_left_first() {
    let place = Place::usual();
    let [both] = &read(&place, Arrangement::Joined, true, 16)[..] else {
        panic!("one sequence")
    };
    assert_eq!(
        both.text,
        "[CLS] there is a cat [SEP] dog old dog cat [SEP]"
    );
    assert_eq!(both.regions, [1.0, 1.0, 0.0, 0.0]);
}

/// The official code shortens the statement in place where the left image has many tags, and gives
/// the right image what is left of it.
#[test]
fn a_statement_cut_beside_the_left_tags_is_whole_beside_the_right_ones() {
    let place = Place::new(&[
        ("a", &["cat"]),
        ("b", &["one", "two", "three", "four", "five"]),
    ]);
    let [left, right] = &read(&place, Arrangement::Pair, true, 9)[..] else {
        panic!("two sequences")
    };
    assert_eq!(left.text, "[CLS] there is a [SEP] one two three [SEP]");
    assert_eq!(right.text, "[CLS] there is a cat [SEP] cat [SEP]");
}
